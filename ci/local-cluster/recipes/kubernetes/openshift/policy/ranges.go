package policy

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	corev1informers "k8s.io/client-go/informers/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// rangeController gives each namespace its ranges of ids and its SELinux level.
type rangeController struct {
	release    Release
	space      Space
	allocator  *Allocator
	namespaces corev1client.NamespaceInterface
	lister     corev1listers.NamespaceLister
	queue      queue
}

// newRangeController makes the controller. The informer must not run yet.
func newRangeController(release Release, space Space, store RangeStore, client corev1client.NamespaceInterface, informer corev1informers.NamespaceInformer) (*rangeController, error) {
	c := &rangeController{
		release:    release,
		space:      space,
		namespaces: client,
		lister:     informer.Lister(),
		queue:      newQueue("ranges of namespaces"),
	}
	c.allocator = NewAllocator(space, store, c.inUse)
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { c.queue.Add(nameOf(object)) },
		UpdateFunc: func(_, object any) { c.queue.Add(nameOf(object)) },
		DeleteFunc: func(object any) { c.allocator.Settle(uidOf(object)) },
	})
	return c, err
}

// run repairs the allocation and then works until the context ends.
func (c *rangeController) run(ctx context.Context) {
	if err := retry(ctx, "repair the range allocation", c.allocator.Repair); err != nil {
		return
	}
	// One worker: blocks are given in the order in which namespaces come.
	c.queue.work(ctx, 1, c.sync)
}

func (c *rangeController) inUse() []string {
	all, err := c.lister.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "Namespaces can't be listed")
	}
	var ranges []string
	for _, namespace := range all {
		if text, ok := namespace.Annotations[securityv1.UIDRangeAnnotation]; ok {
			ranges = append(ranges, text)
		}
	}
	return ranges
}

func (c *rangeController) sync(ctx context.Context, name string) error {
	namespace, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, ok := namespace.Annotations[securityv1.UIDRangeAnnotation]; ok {
		c.allocator.Settle(namespace.UID)
		return nil
	}
	number, err := c.allocator.Reserve(ctx, namespace.UID)
	if err != nil {
		return err
	}
	err = c.write(ctx, namespace, rangesFor(namespace, c.space, number))
	if apierrors.IsNotFound(err) {
		c.allocator.Settle(namespace.UID)
		return nil
	}
	if err == nil {
		klog.InfoS("Gave ranges", "namespace", name, "uidRange", c.space.At(number), "after", time.Since(namespace.CreationTimestamp.Time).Round(time.Millisecond))
	}
	return err
}

// write sets annotations on this very namespace, not on another one of its name.
// Newer releases fail, and try again, where somebody else set one of them.
func (c *rangeController) write(ctx context.Context, namespace *corev1.Namespace, annotations map[string]string) error {
	if c.release.appliesRanges() {
		wanted := corev1apply.Namespace(namespace.Name).
			WithUID(namespace.UID).
			WithResourceVersion(namespace.ResourceVersion).
			WithAnnotations(annotations)
		_, err := c.namespaces.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: rangeManager})
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": namespace.UID, "annotations": annotations,
	}})
	if err != nil {
		return err
	}
	_, err = c.namespaces.Patch(ctx, namespace.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: rangeManager})
	return err
}

func nameOf(object any) string {
	namespace, ok := object.(*corev1.Namespace)
	if !ok {
		return ""
	}
	return namespace.Name
}

// uidOf is the UID of a namespace that is gone.
func uidOf(object any) types.UID {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if namespace, ok := object.(*corev1.Namespace); ok {
		return namespace.UID
	}
	return ""
}

// retry tries something until it succeeds. It fails when the context ends.
func retry(ctx context.Context, what string, try func(context.Context) error) error {
	told := ""
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			klog.ErrorS(err, "Will try again", "what", what)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}
