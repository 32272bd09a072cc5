package devworkspace

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A verdict is an answer to a request of admission: a refusal, or a label to be
// set (devfile/devworkspace-operator, webhook/workspace/handler).
type verdict struct {
	refusal string
	// creator is set as the label, unless it is nil.
	creator *string
}

func refuse(format string, arguments ...any) verdict {
	return verdict{refusal: fmt.Sprintf(format, arguments...)}
}

// A mayUse tells whether the user of a request may use an SCC: "" or the refusal.
type mayUse func(constraint string) string

// judgeWorkspace decides about a DevWorkspace that is created or changed.
func judgeWorkspace(
	request *admissionv1.AdmissionRequest, object, old *unstructured.Unstructured, mayUse mayUse,
) verdict {
	uid := request.UserInfo.UID
	if old == nil {
		if refusal := judgeConstraint(object, nil, mayUse); refusal != "" {
			return refuse("%s", refusal)
		}
		return verdict{creator: &uid}
	}
	before := statusText(old, "devworkspaceId")
	if before != "" && statusText(object, "devworkspaceId") != before {
		return refuse("DevWorkspace ID cannot be changed once it is set")
	}
	if refusal := judgeRestricted(request, object, old); refusal != "" {
		return refuse("%s", refusal)
	}
	if refusal := judgeConstraint(object, old, mayUse); refusal != "" {
		return refuse("%s", refusal)
	}
	creator, ok := old.GetLabels()[labelCreator]
	if !ok {
		return refuse("label '%s' is missing. Please recreate devworkspace to get it initialized", labelCreator)
	}
	now, ok := object.GetLabels()[labelCreator]
	switch {
	case !ok:
		return verdict{creator: &creator}
	case now != creator:
		return refuse("label '%s' is assigned once devworkspace is created and is immutable", labelCreator)
	}
	return verdict{}
}

// judgeConstraint decides about the SCC that a workspace asks for. Only what is
// asked for is looked at: that one is removed again is not noticed.
func judgeConstraint(object, old *unstructured.Unstructured, mayUse mayUse) string {
	asked, has := constraintIn(object)
	if !has {
		return ""
	}
	if old != nil {
		before, had := constraintIn(old)
		switch {
		case had && before == asked:
			return ""
		case had:
			return attributeConstraint +
				" attribute cannot be modified after being set -- workspace must be deleted"
		}
	}
	if asked == "" {
		return fmt.Sprintf("empty value for attribute %s is invalid", attributeConstraint)
	}
	return mayUse(asked)
}

func constraintIn(object *unstructured.Unstructured) (string, bool) {
	attributes, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "attributes")
	value, ok := attributes[attributeConstraint]
	text, _ := value.(string)
	return text, ok
}

// judgeRestricted decides about a change by another than the creator, who may do
// no more than start and stop a workspace with restricted access.
func judgeRestricted(request *admissionv1.AdmissionRequest, object, old *unstructured.Unstructured) string {
	user := request.UserInfo
	isOwn := user.UID == old.GetLabels()[labelCreator] || user.Username == operatorUser
	if isOwn || old.GetAnnotations()[annotationRestricted] != "true" {
		return ""
	}
	if !reflect.DeepEqual(fixed(object), fixed(old)) {
		return "workspace has restricted-access enabled and can only be modified by its creator."
	}
	if object.GetAnnotations()[annotationRestricted] != "true" {
		return "cannot disable restricted-access once it is set"
	}
	return ""
}

// fixed is what others may not change of a workspace.
func fixed(workspace *unstructured.Unstructured) map[string]any {
	left := workspace.DeepCopy()
	unstructured.RemoveNestedField(left.Object, "metadata")
	unstructured.RemoveNestedField(left.Object, "spec", "started")
	return left.Object
}

// judgeObject decides about a Pod or a Deployment of a workspace: it names its
// workspace and creator, for good.
func judgeObject(request *admissionv1.AdmissionRequest, object, old *unstructured.Unstructured) verdict {
	labels := object.GetLabels()
	if old == nil {
		for _, label := range []string{labelID, labelCreator} {
			if _, ok := labels[label]; !ok {
				return refuse(".metadata validation failed: '%s' label is missing", label)
			}
		}
		return verdict{}
	}
	if request.UserInfo.Username == operatorUser {
		return verdict{}
	}
	if old.GetLabels()[labelCreator] != labels[labelCreator] {
		return refuse("Label '%s' is set by the controller and cannot be updated", labelCreator)
	}
	if old.GetLabels()[labelID] != labels[labelID] {
		return refuse(".metadata validation failed: the '%s' label is assigned when a devworkspace "+
			"is created and is immutable", labelID)
	}
	was, is := old.GetAnnotations()[annotationRestricted], object.GetAnnotations()[annotationRestricted]
	if was == "true" && is != "true" {
		return refuse("Cannot change annotation '%s' after it is set to 'true'", annotationRestricted)
	}
	return verdict{}
}

// judgeExec decides who may enter a pod. A pod that is not there is nobody's.
func judgeExec(request *admissionv1.AdmissionRequest, pod *unstructured.Unstructured) verdict {
	if pod == nil {
		return verdict{}
	}
	if _, ok := pod.GetLabels()[labelID]; !ok {
		return verdict{}
	}
	creator, ok := pod.GetLabels()[labelCreator]
	if !ok {
		return refuse("The workspace info is missing in the devworkspace-related pod")
	}
	if pod.GetAnnotations()[annotationRestricted] == "true" && creator != request.UserInfo.UID {
		return refuse("The only devworkspace creator has exec access")
	}
	return verdict{}
}

// answer is a verdict as the API server reads it.
func (verdict verdict) answer(
	request *admissionv1.AdmissionRequest, object *unstructured.Unstructured,
) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: verdict.refusal == ""}
	if !response.Allowed {
		response.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden,
			Reason: metav1.StatusReasonForbidden, Message: verdict.refusal,
		}
		return response
	}
	if verdict.creator == nil {
		return response
	}
	response.Patch = labelPatch(object, labelCreator, *verdict.creator)
	kind := admissionv1.PatchTypeJSONPatch
	response.PatchType = &kind
	return response
}

// labelPatch is a JSON patch that sets a label.
func labelPatch(object *unstructured.Unstructured, label, value string) []byte {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	path := "/metadata/labels/" + strings.ReplaceAll(label, "/", "~1")
	patch := operation{Op: "add", Path: path, Value: value}
	if object.GetLabels() == nil {
		patch = operation{Op: "add", Path: "/metadata/labels", Value: map[string]string{label: value}}
	}
	// Nothing in it can fail to be written.
	written, _ := json.Marshal([]operation{patch})
	return written
}
