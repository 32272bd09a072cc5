package devworkspace

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// cluster is what the double reads and writes, as the operator's service account.
// It reads what is stored, never a cache: a decision must not be older than the
// event that asked for it.
type cluster struct {
	client dynamic.Interface
	on     platform
}

func (c cluster) of(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	return c.client.Resource(resource).Namespace(namespace)
}

// find is an object, or nil where there is none.
func (c cluster) find(
	ctx context.Context, resource schema.GroupVersionResource, namespace, name string,
) (*unstructured.Unstructured, error) {
	found, err := c.of(resource, namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return found, err
}

func (c cluster) list(
	ctx context.Context, resource schema.GroupVersionResource, namespace, selector string,
) ([]unstructured.Unstructured, error) {
	found, err := c.of(resource, namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return found.Items, nil
}

// create makes an object. One that has been made meanwhile is looked at next time.
func (c cluster) create(
	ctx context.Context, resource schema.GroupVersionResource, wanted *unstructured.Unstructured,
) error {
	api := c.of(resource, wanted.GetNamespace())
	_, err := api.Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c cluster) update(
	ctx context.Context, resource schema.GroupVersionResource, changed *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	return c.of(resource, changed.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
}

func (c cluster) updateStatus(
	ctx context.Context, resource schema.GroupVersionResource, changed *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	return c.of(resource, changed.GetNamespace()).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
}

func (c cluster) delete(
	ctx context.Context, resource schema.GroupVersionResource, namespace, name string,
) error {
	err := c.of(resource, namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// sync makes an object as it is wanted. It returns the object where it is so
// already, and nil where it had to be created or changed.
func (c cluster) sync(
	ctx context.Context, resource schema.GroupVersionResource, wanted *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	found, err := c.find(ctx, resource, wanted.GetNamespace(), wanted.GetName())
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, c.create(ctx, resource, wanted)
	}
	changed, isSame := brought(found, wanted)
	if isSame {
		return found, nil
	}
	_, err = c.update(ctx, resource, changed)
	return nil, err
}

// brought is what is found with all that is wanted, and whether it was so before.
func brought(found, wanted *unstructured.Unstructured) (*unstructured.Unstructured, bool) {
	isSame := true
	changed := found.DeepCopy()
	for name, value := range wanted.Object {
		if name == "status" || name == "metadata" || isPartOf(value, found.Object[name]) {
			continue
		}
		changed.Object[name] = runtime.DeepCopyJSONValue(value)
		isSame = false
	}
	labels, annotations := changed.GetLabels(), changed.GetAnnotations()
	isSame = !added(&labels, wanted.GetLabels()) && isSame
	isSame = !added(&annotations, wanted.GetAnnotations()) && isSame
	changed.SetLabels(labels)
	changed.SetAnnotations(annotations)
	return changed, isSame
}

// added puts entries into a map, and tells whether that changed it.
func added(to *map[string]string, entries map[string]string) bool {
	changed := false
	for name, value := range entries {
		if (*to)[name] == value {
			continue
		}
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[name], changed = value, true
	}
	return changed
}
