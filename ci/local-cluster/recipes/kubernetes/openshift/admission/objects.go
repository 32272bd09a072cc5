package admission

import (
	"context"

	securityv1 "github.com/openshift/api/security/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"local/kubernetes/openshift/scc"
)

// Constraints are custom resources. These two plugins do with them what a
// schema can't.

// defaulting fills constraints in before they are stored.
type defaulting struct{ *admission.Handler }

// validating refuses constraints that contradict themselves.
type validating struct{ *admission.Handler }

var (
	_ admission.MutationInterface   = &defaulting{}
	_ admission.ValidationInterface = &validating{}
)

// Admit fills a constraint in. Fields that OpenShift's API doesn't know are
// lost, as in the real plugin.
func (*defaulting) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	object, ok := a.GetObject().(*unstructured.Unstructured)
	if !ok || !isConstraint(a) || a.GetSubresource() != "" {
		return nil
	}
	constraint, err := constraintOf(object)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	scc.Default(constraint)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(constraint)
	if err != nil {
		return err
	}
	// The API server sets it later.
	if unset, has, _ := unstructured.NestedFieldNoCopy(content, "metadata", "creationTimestamp"); has && unset == nil {
		unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	}
	object.Object = content
	return nil
}

// Validate refuses a constraint, as of status 422.
func (*validating) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !isConstraint(a) || a.GetSubresource() != "" && a.GetSubresource() != "status" {
		return nil
	}
	constraint, err := constraintOf(a.GetObject())
	if err != nil {
		return invalid(a, field.ErrorList{field.Invalid(field.NewPath(""), "", err.Error())})
	}
	if a.GetOperation() == admission.Create {
		if a.GetSubresource() != "" {
			return nil
		}
		return invalid(a, scc.Validate(constraint))
	}
	old, err := constraintOf(a.GetOldObject())
	if err != nil {
		return invalid(a, field.ErrorList{field.Invalid(field.NewPath(""), "", err.Error())})
	}
	return invalid(a, scc.ValidateUpdate(constraint, old))
}

func invalid(a admission.Attributes, problems field.ErrorList) error {
	if len(problems) == 0 {
		return nil
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), a.GetName(), problems)
}

func isConstraint(a admission.Attributes) bool {
	return a.GetResource().GroupResource() == securityv1.Resource("securitycontextconstraints")
}

func constraintOf(object runtime.Object) (*securityv1.SecurityContextConstraints, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	constraint := &securityv1.SecurityContextConstraints{}
	return constraint, runtime.DefaultUnstructuredConverter.FromUnstructured(content, constraint)
}
