package policy

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
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

// atOnceAtMost is how many namespaces get their ranges at once. Blocks are marked in
// the order in which namespaces come, by one request for all; one for each would let
// the last of many namespaces wait for a second and more.
const atOnceAtMost = 32

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
		AddFunc:    c.enqueue,
		UpdateFunc: func(_, object any) { c.enqueue(object) },
		DeleteFunc: func(object any) { c.allocator.Settle(uidOf(object)) },
	})
	return c, err
}

// run repairs the allocation and then works until the context ends.
func (c *rangeController) run(ctx context.Context) {
	if err := retry(ctx, "repair the range allocation", c.allocator.Repair); err != nil {
		return
	}
	c.queue.workTogether(ctx, atOnceAtMost, c.sync)
}

// enqueue asks for a look at a namespace. The range that it carries is noted now: the
// namespace may be gone before the look.
func (c *rangeController) enqueue(object any) {
	if namespace, ok := object.(*corev1.Namespace); ok {
		if text, carries := namespace.Annotations[securityv1.UIDRangeAnnotation]; carries {
			c.allocator.Record(text)
		}
		c.queue.Add(namespace.Name)
	}
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

// sync gives ranges to those of the namespaces that have none. It says which failed.
func (c *rangeController) sync(ctx context.Context, names []string) map[string]error {
	failed := map[string]error{}
	var wanting []*corev1.Namespace
	var owners []types.UID
	for _, name := range names {
		namespace, err := c.lister.Get(name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			failed[name] = err
		case hasRange(namespace):
			c.allocator.Settle(namespace.UID)
		default:
			wanting = append(wanting, namespace)
			owners = append(owners, namespace.UID)
		}
	}
	numbers, err := c.allocator.Reserve(ctx, owners...)
	if err != nil && !errors.Is(err, ErrExhausted) {
		// What the others carry is not marked either.
		for _, name := range names {
			failed[name] = err
		}
	}
	var lock sync.Mutex
	var all sync.WaitGroup
	for _, namespace := range wanting {
		number, ok := numbers[namespace.UID]
		if !ok {
			lock.Lock()
			failed[namespace.Name] = err
			lock.Unlock()
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			if err := c.give(ctx, namespace, number); err != nil {
				lock.Lock()
				defer lock.Unlock()
				failed[namespace.Name] = err
			}
		}()
	}
	all.Wait()
	return failed
}

// give writes the ranges of a block to a namespace. One that is gone needs none.
func (c *rangeController) give(ctx context.Context, namespace *corev1.Namespace, number int) error {
	err := c.write(ctx, namespace, rangesFor(namespace, c.space, number))
	if apierrors.IsNotFound(err) {
		c.allocator.Settle(namespace.UID)
		return nil
	}
	if err == nil {
		klog.InfoS("Gave ranges", "namespace", namespace.Name, "uidRange", c.space.At(number))
	}
	return err
}

func hasRange(namespace *corev1.Namespace) bool {
	_, ok := namespace.Annotations[securityv1.UIDRangeAnnotation]
	return ok
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
