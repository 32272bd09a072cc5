package policy

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1informers "k8s.io/client-go/informers/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// privilegedController keeps the labels of the few namespaces of Kubernetes itself
// at privileged, whoever else sets them.
type privilegedController struct {
	client corev1client.NamespaceInterface
	lister corev1listers.NamespaceLister
	queue  queue
}

// newPrivilegedController makes the controller. The informer must not run yet.
func newPrivilegedController(client corev1client.NamespaceInterface, informer corev1informers.NamespaceInformer) (*privilegedController, error) {
	c := &privilegedController{client: client, lister: informer.Lister(), queue: newQueue("labels of Kubernetes' namespaces")}
	add := func(object any) {
		if name := nameOf(object); slices.Contains(privilegedNamespaces, name) {
			c.queue.Add(name)
		}
	}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
	})
	return c, err
}

// run works until the context ends.
func (c *privilegedController) run(ctx context.Context) { c.queue.work(ctx, 1, c.sync) }

func (c *privilegedController) sync(ctx context.Context, name string) error {
	namespace, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	wanted := labelsOfPrivileged(namespace)
	if wanted == nil {
		return nil
	}
	return apply(ctx, c.client, name, privilegedManager, wanted)
}
