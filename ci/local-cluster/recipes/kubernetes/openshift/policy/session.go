package policy

import (
	"context"
	"net/http"
	"sync"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// resync is how often everything is looked at again.
const resync = 10 * time.Minute

// options say what the stand-in does.
type options struct {
	release Release
	modes   []string
}

// run works until the context ends. A session ends when the API server can't be
// reached; the next one starts as soon as it is ready again, with fresh watches.
// Old ones would wait for half a minute in the end, and namespaces with them.
func run(ctx context.Context, config *rest.Config, options options) error {
	for ctx.Err() == nil {
		session, lost := context.WithCancel(ctx)
		err := runSession(session, lost, config, options)
		lost()
		if err != nil {
			return err
		}
		if ctx.Err() == nil {
			klog.InfoS("The API server is away")
		}
	}
	klog.InfoS("Ended")
	return nil
}

// clients talk to the API server for one session.
type clients struct {
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
}

// runSession works until the context ends. It fails only where another try would
// fail too.
func runSession(ctx context.Context, lost context.CancelFunc, config *rest.Config, options options) error {
	waiting, err := clientsFor(config)
	if err != nil {
		return err
	}
	if retry(ctx, "reach the API server", waiting.ready) != nil {
		return nil
	}
	watched := rest.CopyConfig(config)
	watched.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return lossNotice{next: next, lost: lost}
	})
	clients, err := clientsFor(watched)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	return start(ctx, &all, clients, options)
}

// start starts the controllers and waits for the end of the context. The caller
// waits for what still runs.
func start(ctx context.Context, all *sync.WaitGroup, clients clients, options options) error {
	cluster := informers.NewSharedInformerFactory(clients.kubernetes, resync)
	constraints := dynamicinformer.NewDynamicSharedInformerFactory(clients.dynamic, resync)
	resource := securityv1.GroupVersion.WithResource(constraintResource)
	ofConstraints := constraints.ForResource(resource).Informer()

	namespaces := cluster.Core().V1().Namespaces()
	client := clients.kubernetes.CoreV1().Namespaces()
	ranges, err := newRangeController(options.release, DefaultSpace, newClusterStore(clients.dynamic), client, namespaces)
	if err != nil {
		return err
	}
	ofKubernetes, err := newPrivilegedController(client, namespaces)
	if err != nil {
		return err
	}
	ofLabels, err := newLabelController(options.release, options.modes, client, cluster, ofConstraints)
	if err != nil {
		return err
	}
	cluster.Start(ctx.Done())
	defer cluster.Shutdown()
	defer constraints.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), namespaces.Informer().HasSynced) {
		return nil
	}
	klog.InfoS("Started", "release", options.release, "modes", options.modes)
	for _, work := range []func(context.Context){ranges.run, ofKubernetes.run, func(ctx context.Context) {
		// A watch on a resource that is not defined yet waits longer each time.
		served := func(ctx context.Context) error {
			_, err := clients.dynamic.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
			return err
		}
		if retry(ctx, "list the constraints", served) != nil {
			return
		}
		constraints.Start(ctx.Done())
		cluster.WaitForCacheSync(ctx.Done())
		if cache.WaitForCacheSync(ctx.Done(), ofConstraints.HasSynced) {
			ofLabels.run(ctx)
		}
	}} {
		all.Add(1)
		go func() { defer all.Done(); work(ctx) }()
	}
	<-ctx.Done()
	return nil
}

func clientsFor(config *rest.Config) (clients, error) {
	ofKubernetes, err := kubernetes.NewForConfig(config)
	if err != nil {
		return clients{}, err
	}
	ofAll, err := dynamic.NewForConfig(config)
	if err != nil {
		return clients{}, err
	}
	return clients{kubernetes: ofKubernetes, dynamic: ofAll}, nil
}

func (c clients) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.kubernetes.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// lossNotice tells when a request gets no answer, other than one that was given up
// on this side.
type lossNotice struct {
	next http.RoundTripper
	lost func()
}

// RoundTrip passes a request on.
func (n lossNotice) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(request)
	if err != nil && request.Context().Err() == nil {
		n.lost()
	}
	return response, err
}
