package devworkspace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"local/kubernetes/notify"
)

// options are the command line.
type options struct {
	kubeconfig, address, certificate, key, authority, platform string
}

// NewCommand makes the command `devworkspace-controller`, the test double of the
// DevWorkspace Operator. It works until the context ends, SIGINT or SIGTERM comes,
// and then succeeds. It fails at once for a kubeconfig or a certificate that can't
// be read, or an address that is in use; while the operator's objects or the API
// server are missing, it waits. Once it answers, `/readyz` does, and the socket
// that NOTIFY_SOCKET names is told READY=1.
func NewCommand(ctx context.Context) *cobra.Command {
	var options options
	command := &cobra.Command{
		Use:           "devworkspace-controller",
		Short:         "Test double of the DevWorkspace Operator 0.42.0, which plays back a recording",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return run(ctx, options)
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.kubeconfig, "kubeconfig", "",
		"file that says how to reach the API server, as an administrator")
	flags.StringVar(&options.address, "bind-address", "",
		"address and port for the API server's calls, like 10.0.0.1:9443; the certificate must be for this address")
	flags.StringVar(&options.certificate, "tls-cert-file", "", "certificate to serve with")
	flags.StringVar(&options.key, "tls-private-key-file", "", "key of the certificate")
	flags.StringVar(&options.authority, "tls-ca-file", "",
		"certificate of the authority that signed it, for the API server")
	flags.StringVar(&options.platform, "platform", "openshift",
		"what the operator finds its cluster to be: openshift or kubernetes")
	for _, name := range []string{
		"kubeconfig", "bind-address", "tls-cert-file", "tls-private-key-file", "tls-ca-file",
	} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return command
}

func run(ctx context.Context, options options) error {
	klog.InfoS("This is a test double of the DevWorkspace Operator 0.42.0: it plays back a recording, " +
		"and refuses what was not recorded")
	on, err := platformOf(options.platform)
	if err != nil {
		return err
	}
	admin, err := clientcmd.BuildConfigFromFlags("", options.kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	// Workspaces wait for each request: no limit of our own.
	admin.QPS = -1
	authority, err := os.ReadFile(options.authority)
	if err != nil {
		return fmt.Errorf("--tls-ca-file: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(options.certificate, options.key)
	if err != nil {
		return fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	listener, err := net.Listen("tcp", options.address)
	if err != nil {
		return fmt.Errorf("--bind-address: %w", err)
	}
	listener = tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
	})
	// Closed too where the server does not come to serve.
	defer listener.Close()
	endpoint := endpoint{base: "https://" + options.address, authority: authority}
	return serve(ctx, admin, on, listener, endpoint)
}

// serve becomes the operator's service account, answers the API server, and plays
// until the context ends.
func serve(
	ctx context.Context, admin *rest.Config, on platform, listener net.Listener, endpoint endpoint,
) error {
	operator, err := becomeOperator(ctx, admin)
	if err != nil || operator == nil {
		return err
	}
	client, err := dynamic.NewForConfig(operator)
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(operator)
	if err != nil {
		return err
	}
	cluster := cluster{client: client, on: on}
	server := &server{cluster: cluster, kube: kube}
	web := &http.Server{Handler: server.handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(listener) }()
	defer web.Close()
	if !until(ctx, "the API server does not ask for conversions yet", func() error {
		administrator, err := dynamic.NewForConfig(admin)
		if err != nil {
			return err
		}
		return serveConversion(ctx, administrator, endpoint)
	}) {
		return nil
	}
	if !until(ctx, "the API server does not ask for admission yet", func() error {
		return serveAdmission(ctx, kube, endpoint)
	}) {
		return nil
	}
	player := newPlayer(cluster)
	if !player.start(ctx) {
		return nil
	}
	server.isReady.Store(true)
	notify.Ready()
	klog.InfoS("The test double answers", "address", endpoint.base)
	go player.work(ctx)
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return fmt.Errorf("the server for the API server's calls ended: %w", err)
	}
}

// becomeOperator waits for the operator's service account, and returns how to act
// as it; nil where the context ended before.
func becomeOperator(ctx context.Context, admin *rest.Config) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	var operator *rest.Config
	until(ctx, "the operator's service account gives no token yet", func() error {
		token, err := operatorToken(ctx, client)
		if err != nil {
			return err
		}
		operator = rest.AnonymousClientConfig(admin)
		operator.BearerToken = token
		operator.UserAgent = "devworkspace-controller-test-double"
		return nil
	})
	return operator, nil
}

// until tries at the start what others have to make possible, until it succeeds or
// the context ends. Each new reason for waiting is logged.
func until(ctx context.Context, what string, try func() error) bool {
	last := ""
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(context.Context) (bool, error) {
		err := try()
		if err != nil && err.Error() != last && !errors.Is(err, context.Canceled) {
			last = err.Error()
			klog.InfoS(what, "why", last)
		}
		return err == nil, nil
	})
	return err == nil
}
