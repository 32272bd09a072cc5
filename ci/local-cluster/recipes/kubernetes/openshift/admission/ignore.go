package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/helper"
	rbac "k8s.io/kubernetes/pkg/registry/rbac"
)

// Subresources of pods that change nothing that a constraint is about.
var harmlessSubresources = []string{"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"}

// Annotations that the network sets on running pods, and that mean nothing here.
const networkAnnotation = "k8s.ovn.org/pod-networks"

// subject is the pod that the request is about; nil if there is none to judge.
func (p *pods) subject(ctx context.Context, a admission.Attributes) (*core.Pod, error) {
	if a.GetResource().GroupResource() != core.Resource("pods") || slices.Contains(harmlessSubresources, a.GetSubresource()) {
		return nil, nil
	}
	if p.exempt(ctx, a.GetNamespace()) {
		return nil, nil
	}
	pod, ok := a.GetObject().(*core.Pod)
	if !ok {
		return nil, notAPod(a, a.GetObject())
	}
	if pod.Spec.OS != nil && pod.Spec.OS.Name == core.Windows {
		return nil, nil
	}
	if a.GetOperation() == admission.Update {
		old, ok := a.GetOldObject().(*core.Pod)
		if !ok {
			return nil, notAPod(a, a.GetOldObject())
		}
		if changesNothing(pod, old) {
			return nil, nil
		}
	}
	return pod, nil
}

func notAPod(a admission.Attributes, object any) error {
	return admission.NewForbidden(a, fmt.Errorf("object was marked as kind pod but was unable to be converted: %v", object))
}

// changesNothing tells whether an update of a pod is none that matters: at most
// the network's annotation, owners and finalizers differ.
func changesNothing(pod, old *core.Pod) bool {
	if !helper.Semantic.DeepEqual(pod.Spec, old.Spec) {
		return false
	}
	for _, pair := range [][2]*core.Pod{{pod, old}, {old, pod}} {
		for key, value := range pair[0].Annotations {
			if other, has := pair[1].Annotations[key]; (!has || other != value) && key != networkAnnotation {
				return false
			}
		}
	}
	same := pod.DeepCopy()
	same.Annotations = old.Annotations
	return rbac.IsOnlyMutatingGCFields(same, old, helper.Semantic)
}

// Namespaces without SCC admission: by name, because nobody can label them
// before the API server makes them, or by label (openshift/kubernetes,
// namespaceconditions).
var exemptNamespaces = []string{"default", "kube-public", "kube-system", "openshift", "openshift-infra", "openshift-node"}

const (
	runLevelLabel = "openshift.io/run-level"
	disableLabel  = "security.openshift.io/disable-securitycontextconstraints"
)

// exempt tells whether pods of the namespace are not judged, and warns the
// client of it. If in doubt, they are judged.
func (p *pods) exempt(ctx context.Context, name string) bool {
	if slices.Contains(exemptNamespaces, name) {
		warning.AddWarning(ctx, "", fmt.Sprintf("Admission plugin %q skipped due to request namespace %q.", p.name, name))
		return true
	}
	namespace, err := p.namespace(ctx, name)
	if err != nil {
		return false
	}
	selector := ""
	if level := namespace.Labels[runLevelLabel]; level == "0" || level == "1" {
		selector = runLevelLabel + " notin (0,1)"
	} else if namespace.Labels[disableLabel] == "true" {
		selector = disableLabel + "!=true"
	}
	if selector == "" {
		return false
	}
	warning.AddWarning(ctx, "", fmt.Sprintf("Admission plugin %q skipped because namespace labels match the selector %q.", p.name, selector))
	return true
}

// namespace finds a namespace, also one that is too new for the list.
func (p *pods) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	namespace, err := p.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return p.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	return namespace, err
}
