package admission

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"

	"local/kubernetes/openshift/scc"
)

// exec is the plugin that lets nobody into a pod that they could not create.
type exec struct{ *pods }

var _ admission.ValidationInterface = exec{}

func newExec(release scc.Release, shared *constraints) exec {
	plugin := exec{newPods(ExecPlugin, release, shared)}
	plugin.Handler = admission.NewHandler(admission.Connect)
	return plugin
}

// Admit changes nothing: the plugin has only a say in the end.
func (e exec) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return nil
}

// Validate admits the pod once more, as if the user created it.
func (e exec) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	subresource := a.GetSubresource()
	if a.GetResource().GroupResource() != core.Resource("pods") || subresource != "exec" && subresource != "attach" {
		return nil
	}
	if e.exempt(ctx, a.GetNamespace()) {
		return nil
	}
	found, err := e.client.CoreV1().Pods(a.GetNamespace()).Get(ctx, a.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return admission.NewNotFound(a)
	} else if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to get pod: %v", err))
	}
	pod := &core.Pod{}
	if err := corev1.Convert_v1_Pod_To_core_Pod(found, pod, nil); err != nil {
		return admission.NewForbidden(a, err)
	}
	created := admission.NewAttributesRecord(pod, nil, core.Kind("Pod").WithVersion(""), a.GetNamespace(), a.GetName(),
		a.GetResource(), "", admission.Create, nil, false, a.GetUserInfo())
	if err := e.pods.Admit(ctx, created, o); err != nil {
		return admission.NewForbidden(a, fmt.Errorf(
			"%s operation is not allowed because the pod's security context exceeds your permissions: %v", subresource, err))
	}
	return nil
}
