package devworkspace

import (
	"fmt"
	"sort"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// The versions of DevWorkspace.
const (
	oldVersion = "workspace.devfile.io/v1alpha1"
	newVersion = "workspace.devfile.io/v1alpha2"
)

// convertAll answers a request of the API server: all objects, or why one of them
// can't be converted.
func convertAll(request *apiextensionsv1.ConversionRequest) *apiextensionsv1.ConversionResponse {
	response := &apiextensionsv1.ConversionResponse{
		UID: request.UID, Result: metav1.Status{Status: metav1.StatusSuccess},
	}
	for _, raw := range request.Objects {
		object := &unstructured.Unstructured{}
		err := object.UnmarshalJSON(raw.Raw)
		if err == nil {
			object, err = converted(object, request.DesiredAPIVersion)
		}
		if err != nil {
			response.ConvertedObjects = nil
			response.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			return response
		}
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: object})
	}
	return response
}

// The fields of a status that have other names in the old version
// (devfile/api, pkg/apis/workspaces/v1alpha1/conversion.go).
var renamed = map[string]string{"workspaceId": "devworkspaceId", "ideUrl": "mainUrl"}

// converted is a workspace in another version. Attributes are lost on the way to
// the old version, which has none.
func converted(
	object *unstructured.Unstructured, version string,
) (*unstructured.Unstructured, error) {
	isKnown := object.GetKind() == "DevWorkspace" && (version == oldVersion || version == newVersion)
	if !isKnown {
		return nil, fmt.Errorf("%s", notRecorded([]string{
			fmt.Sprintf("a conversion of %s to %s", object.GetKind(), version)}))
	}
	changed := object.DeepCopy()
	if object.GetAPIVersion() == version {
		return changed, nil
	}
	changed.SetAPIVersion(version)
	renameStatus(changed, version)
	template, _, _ := unstructured.NestedMap(object.Object, "spec", "template")
	if template == nil {
		return changed, nil
	}
	templateConverted, unknown := convertedTemplate(template, version)
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s", notRecorded(unknown))
	}
	err := unstructured.SetNestedMap(changed.Object, templateConverted, "spec", "template")
	return changed, err
}

func renameStatus(object *unstructured.Unstructured, version string) {
	status, _ := object.Object["status"].(map[string]any)
	for old, new := range renamed {
		from, to := old, new
		if version == oldVersion {
			from, to = new, old
		}
		if value, ok := status[from]; ok {
			delete(status, from)
			status[to] = value
		}
	}
}

// convertedTemplate converts the components, and names what else there is.
func convertedTemplate(template map[string]any, version string) (map[string]any, []string) {
	var unknown []string
	made := map[string]any{}
	for name := range template {
		isKnown := name == "components" || name == "attributes" && version == oldVersion
		if !isKnown {
			unknown = append(unknown, "spec.template."+name)
		}
	}
	sort.Strings(unknown)
	list, _ := template["components"].([]any)
	components := []any{}
	for index, item := range list {
		place := fmt.Sprintf("spec.template.components[%d]", index)
		component, _ := item.(map[string]any)
		one, more := convertedComponent(component, version)
		for _, name := range more {
			unknown = append(unknown, place+"."+name)
		}
		components = append(components, one)
	}
	if _, ok := template["components"]; ok {
		made["components"] = components
	}
	return made, unknown
}

// convertedComponent moves the name: into what the component is in the old
// version, beside it in the new one. It names fields that were not recorded.
func convertedComponent(component map[string]any, version string) (map[string]any, []string) {
	var unknown []string
	made := map[string]any{}
	for kind, value := range component {
		inner, ok := value.(map[string]any)
		switch {
		case version == oldVersion && (kind == "name" || kind == "attributes"):
			continue
		case !ok || kind != "container" && kind != "volume":
			unknown = append(unknown, kind)
			continue
		}
		inner = runtime.DeepCopyJSON(inner)
		if version == oldVersion {
			inner["name"] = component["name"]
		} else {
			made["name"] = inner["name"]
			delete(inner, "name")
		}
		made[kind] = inner
	}
	sort.Strings(unknown)
	return made, unknown
}
