// Package policy stands in for OpenShift's cluster-policy-controller. It gives
// each namespace its ranges of ids and its SELinux level, and keeps its Pod
// Security labels at what the namespace's service accounts may run.
//
// The rules are those of github.com/openshift/cluster-policy-controller, branches
// release-4.18 to release-5.1, written anew. Recordings of the real program in
// `fixtures/recordings/namespaces` say whether they are right. Left out: quotas,
// certificate requests, leader election and events.
package policy

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
)

// NewCommand makes the command `cluster-policy-controller`. It works until the
// context ends, SIGINT or SIGTERM comes, and then succeeds. It fails at once for a
// release that is not known or a kubeconfig that can't be read; while the API
// server is away, it waits.
func NewCommand(ctx context.Context) *cobra.Command {
	var kubeconfig, release string
	var enforce bool
	command := &cobra.Command{
		Use:           "cluster-policy-controller",
		Short:         "Stand-in for OpenShift's controller of ranges and Pod Security labels",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(*cobra.Command, []string) error {
			options := options{modes: advisingModes}
			if enforce {
				options.modes = enforcingModes
			}
			var err error
			if options.release, err = ParseRelease(release); err != nil {
				return fmt.Errorf("--release: %w", err)
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("--kubeconfig: %w", err)
			}
			// Namespaces wait for each request: no limit of our own.
			config.QPS = -1
			config.UserAgent = rangeManager
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return run(ctx, config, options)
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server, and as whom")
	flags.StringVar(&release, "release", "", "OpenShift release to stand in for, like 4.20, or "+Newest)
	flags.BoolVar(&enforce, "enforce", true, "sync the label of the mode enforce too, not only audit and warn")
	for _, name := range []string{"kubeconfig", "release"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return command
}
