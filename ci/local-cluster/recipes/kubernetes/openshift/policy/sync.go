package policy

import (
	"context"
	"fmt"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	rbacv1listers "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// labelController keeps the Pod Security labels of namespaces at what their
// service accounts may run.
type labelController struct {
	release             Release
	modes               []string
	client              corev1client.NamespaceInterface
	namespaces          corev1listers.NamespaceLister
	accounts            corev1listers.ServiceAccountLister
	roles               rbacv1listers.RoleLister
	clusterRoles        rbacv1listers.ClusterRoleLister
	roleBindings        rbacv1listers.RoleBindingLister
	clusterRoleBindings rbacv1listers.ClusterRoleBindingLister
	constraints         cache.Store
	queue               queue
}

// newLabelController makes the controller. constraints is the informer of
// SecurityContextConstraints. The informers must not run yet.
func newLabelController(release Release, modes []string, client corev1client.NamespaceInterface, cluster informers.SharedInformerFactory, constraints cache.SharedIndexInformer) (*labelController, error) {
	core, rbac := cluster.Core().V1(), cluster.Rbac().V1()
	c := &labelController{
		release:             release,
		modes:               modes,
		client:              client,
		namespaces:          core.Namespaces().Lister(),
		accounts:            core.ServiceAccounts().Lister(),
		roles:               rbac.Roles().Lister(),
		clusterRoles:        rbac.ClusterRoles().Lister(),
		roleBindings:        rbac.RoleBindings().Lister(),
		clusterRoleBindings: rbac.ClusterRoleBindings().Lister(),
		constraints:         constraints.GetStore(),
		queue:               newQueue("labels of namespaces"),
	}
	if err := constraints.SetTransform(asConstraint); err != nil {
		return nil, err
	}
	for _, informer := range []cache.SharedIndexInformer{
		core.Namespaces().Informer(), core.ServiceAccounts().Informer(),
		rbac.Roles().Informer(), rbac.ClusterRoles().Informer(),
		rbac.RoleBindings().Informer(), rbac.ClusterRoleBindings().Informer(),
		constraints,
	} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    c.enqueue,
			UpdateFunc: func(_, object any) { c.enqueue(object) },
			DeleteFunc: c.enqueue,
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// run works until the context ends.
func (c *labelController) run(ctx context.Context) { c.queue.work(ctx, 4, c.sync) }

// enqueue asks for a look at the namespaces that an object is about: itself, the
// one that it is in, or all.
func (c *labelController) enqueue(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if namespace, ok := object.(*corev1.Namespace); ok {
		c.queue.Add(namespace.Name)
		return
	}
	fields, err := meta.Accessor(object)
	if err != nil {
		klog.ErrorS(err, "An object has no metadata")
		return
	}
	if namespace := fields.GetNamespace(); namespace != "" {
		c.queue.Add(namespace)
		return
	}
	all, err := c.namespaces.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "Namespaces can't be listed")
	}
	for _, namespace := range all {
		c.queue.Add(namespace.Name)
	}
}

func (c *labelController) sync(ctx context.Context, name string) error {
	namespace, err := c.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	// Without ranges the level is not known yet; they come by another event.
	if err != nil || !isSynced(namespace) ||
		namespace.Status.Phase == corev1.NamespaceTerminating ||
		namespace.Annotations[securityv1.UIDRangeAnnotation] == "" {
		return err
	}
	accounts, err := c.accounts.ServiceAccounts(name).List(labels.Everything())
	if err != nil || len(accounts) == 0 {
		return err
	}
	rights, err := c.rightsIn(name)
	if err != nil {
		return err
	}
	found, err := levelOfNamespace(c.release, namespace, accounts, rights)
	if err != nil {
		return err
	}
	if found == undecided {
		return fmt.Errorf("no service account of namespace %q may use a constraint", name)
	}
	wanted, err := labelsFor(c.release, c.modes, namespace, found)
	if err != nil || wanted == nil {
		return err
	}
	return apply(ctx, c.client, name, labelManager, wanted)
}

// rightsIn reads who may use what in a namespace.
func (c *labelController) rightsIn(namespace string) (rights, error) {
	all := rights{rulesOf: c.rulesOf}
	for _, object := range c.constraints.List() {
		if constraint, ok := object.(*securityv1.SecurityContextConstraints); ok {
			all.constraints = append(all.constraints, constraint)
		}
	}
	here, err := c.roleBindings.RoleBindings(namespace).List(labels.Everything())
	if err != nil {
		return rights{}, err
	}
	everywhere, err := c.clusterRoleBindings.List(labels.Everything())
	if err != nil {
		return rights{}, err
	}
	for _, one := range here {
		all.bindings = append(all.bindings, binding{one.Namespace, one.RoleRef, one.Subjects})
	}
	for _, one := range everywhere {
		all.bindings = append(all.bindings, binding{"", one.RoleRef, one.Subjects})
	}
	return all, nil
}

func (c *labelController) rulesOf(namespace, name string) []rbacv1.PolicyRule {
	if namespace == "" {
		if role, err := c.clusterRoles.Get(name); err == nil {
			return role.Rules
		}
		return nil
	}
	if role, err := c.roles.Roles(namespace).Get(name); err == nil {
		return role.Rules
	}
	return nil
}

// apply writes a change. That somebody else has one of the fields is told, and not
// tried again: the labels stay theirs.
func apply(ctx context.Context, client corev1client.NamespaceInterface, name, manager string, wanted *change) error {
	fields := corev1apply.Namespace(name).WithLabels(wanted.labels).WithAnnotations(wanted.annotations)
	_, err := client.Apply(ctx, fields, metav1.ApplyOptions{FieldManager: manager, Force: wanted.force})
	switch {
	case apierrors.IsConflict(err):
		klog.ErrorS(err, "Somebody else has the labels", "namespace", name)
		return nil
	case apierrors.IsNotFound(err):
		return nil
	case err == nil:
		klog.InfoS("Wrote labels", "namespace", name, "labels", wanted.labels)
	}
	return err
}

// asConstraint keeps constraints in the form that decisions are made on.
func asConstraint(object any) (any, error) {
	fields, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	constraint := &securityv1.SecurityContextConstraints{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields.Object, constraint); err != nil {
		return nil, fmt.Errorf("constraint %q: %w", fields.GetName(), err)
	}
	return constraint, nil
}
