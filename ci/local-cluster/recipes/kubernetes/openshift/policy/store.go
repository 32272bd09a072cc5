package policy

import (
	"context"

	securityinternalv1 "github.com/openshift/api/securityinternal/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
)

// clusterStore keeps the RangeAllocation in the cluster.
type clusterStore struct{ client dynamic.ResourceInterface }

func newClusterStore(client dynamic.Interface) clusterStore {
	resource := securityinternalv1.GroupVersion.WithResource("rangeallocations")
	return clusterStore{client: client.Resource(resource)}
}

func (s clusterStore) Get(ctx context.Context) (*securityinternalv1.RangeAllocation, error) {
	object, err := s.client.Get(ctx, allocationName, metav1.GetOptions{})
	return allocationOf(object, err)
}

func (s clusterStore) Create(ctx context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error) {
	object, err := objectOf(allocation)
	if err != nil {
		return nil, err
	}
	return allocationOf(s.client.Create(ctx, object, metav1.CreateOptions{FieldManager: rangeManager}))
}

func (s clusterStore) Update(ctx context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error) {
	object, err := objectOf(allocation)
	if err != nil {
		return nil, err
	}
	return allocationOf(s.client.Update(ctx, object, metav1.UpdateOptions{FieldManager: rangeManager}))
}

func objectOf(allocation *securityinternalv1.RangeAllocation) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(allocation)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: fields}
	object.SetGroupVersionKind(securityinternalv1.GroupVersion.WithKind("RangeAllocation"))
	return object, nil
}

func allocationOf(object *unstructured.Unstructured, err error) (*securityinternalv1.RangeAllocation, error) {
	if err != nil {
		return nil, err
	}
	allocation := &securityinternalv1.RangeAllocation{}
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, allocation)
	return allocation, err
}
