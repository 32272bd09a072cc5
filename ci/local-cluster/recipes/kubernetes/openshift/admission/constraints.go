package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// The constraints that every release has. As long as one is missing, the list
// is not whole, and no pod is judged by it (apiserver-library-go, sccadmission).
var standard = []string{
	"anyuid", "hostaccess", "hostmount-anyuid", "hostnetwork", "hostnetwork-v2",
	"nonroot", "nonroot-v2", "privileged", "restricted", "restricted-v2",
}

// constraints are the cluster's security context constraints, kept up to date.
type constraints struct {
	once     sync.Once
	mutex    sync.RWMutex
	informer cache.SharedIndexInformer
}

// start follows the constraints until the channel closes. Only the first call
// does anything. It doesn't wait for them.
func (c *constraints) start(client dynamic.Interface, stop <-chan struct{}) {
	c.once.Do(func() { go c.follow(client, stop) })
}

func (c *constraints) follow(client dynamic.Interface, stop <-chan struct{}) {
	resource := securityv1.GroupVersion.WithResource("securitycontextconstraints")
	ctx := wait.ContextForChannel(stop)
	// An informer waits longer after each failure, up to half a minute. On a new
	// cluster that would be the first pod's delay: the API server does not serve
	// yet, and then not this resource.
	served := func(ctx context.Context) (bool, error) {
		_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	}
	if err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, served); err != nil {
		return
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, resource, "", 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(typed); err != nil {
		klog.ErrorS(err, "Security context constraints can't be followed: every pod will be refused")
		return
	}
	c.mutex.Lock()
	c.informer = informer
	c.mutex.Unlock()
	informer.Run(stop)
}

// typed turns what the API server sends into a constraint, once and not for
// every pod.
func typed(object any) (any, error) {
	sent, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	constraint := &securityv1.SecurityContextConstraints{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(sent.Object, constraint); err != nil {
		return nil, fmt.Errorf("security context constraint %q: %w", sent.GetName(), err)
	}
	return constraint, nil
}

func (c *constraints) current() cache.SharedIndexInformer {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	return c.informer
}

// synced tells whether the constraints were listed.
func (c *constraints) synced() bool {
	informer := c.current()
	return informer != nil && informer.HasSynced()
}

// list returns all constraints, in no order. Nobody may change them.
func (c *constraints) list() []*securityv1.SecurityContextConstraints {
	informer := c.current()
	if informer == nil {
		return nil
	}
	var list []*securityv1.SecurityContextConstraints
	for _, object := range informer.GetStore().List() {
		if constraint, ok := object.(*securityv1.SecurityContextConstraints); ok {
			list = append(list, constraint)
		}
	}
	return list
}

// whole says which of the standard constraints are missing.
func (c *constraints) whole() error {
	list := c.list()
	var missing []string
	for _, name := range standard {
		if !slices.ContainsFunc(list, func(constraint *securityv1.SecurityContextConstraints) bool { return constraint.Name == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("securitycontextconstraints.security.openshift.io cache is missing %s", strings.Join(missing, ", "))
}
