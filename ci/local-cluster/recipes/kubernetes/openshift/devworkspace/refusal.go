package devworkspace

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// notRecorded is the message of a workspace that the double does not know.
func notRecorded(places []string) string {
	return "Test double of the DevWorkspace Operator: not recorded: " + strings.Join(places, ", ")
}

// unknown returns what the recording does not have of a workspace.
func unknown(workspace *unstructured.Unstructured) []string {
	var found []string
	for name := range workspace.GetAnnotations() {
		known := name == annotationRestricted || name == annotationStartedAt
		if strings.HasPrefix(name, prefix) && !known {
			found = append(found, "metadata.annotations."+name)
		}
	}
	known := []string{finalizerRBAC}
	if templateOf(workspace).isShared() {
		known = append(known, finalizerStorage)
	}
	for _, finalizer := range workspace.GetFinalizers() {
		if strings.HasSuffix(finalizer, "."+webhooksName) && !slices.Contains(known, finalizer) {
			found = append(found, "metadata.finalizers."+finalizer)
		}
	}
	sort.Strings(found)
	found = append(found, workspaceShape("spec", workspace.Object["spec"])...)
	if len(found) > 0 {
		return found
	}
	return incoherent(templateOf(workspace))
}

// incoherent returns what is wrong between the parts of a template: volumes and
// mounts that the recording does not combine like this.
func incoherent(template template) []string {
	var found []string
	volumes := map[string]bool{}
	for index, component := range template.Components {
		place := fmt.Sprintf("spec.template.components[%d]", index)
		if (component.Container == nil) == (component.Volume == nil) {
			found = append(found, place+" (neither container nor volume)")
		}
		volume := component.Volume
		if volume == nil {
			continue
		}
		volumes[component.Name] = true
		isClaimed := template.Attributes.StorageType == perWorkspace || template.isShared()
		switch {
		case volume.Ephemeral && volume.Size != "":
			found = append(found, place+".volume.size (of an ephemeral volume)")
		case !volume.Ephemeral && !isClaimed:
			found = append(found, place+".volume.ephemeral (not true, storage type ephemeral)")
		case !volume.Ephemeral && volume.Size == "":
			found = append(found, place+".volume.size (absent)")
		}
	}
	for index, component := range template.Components {
		if component.Container == nil {
			continue
		}
		for mount, of := range component.Container.VolumeMounts {
			if !volumes[of.Name] {
				found = append(found, fmt.Sprintf(
					"spec.template.components[%d].container.volumeMounts[%d].name=%s (no such volume)",
					index, mount, of.Name))
			}
		}
	}
	return found
}

// unknownMap returns what the recording does not have of a ConfigMap that
// workspaces are to mount.
func unknownMap(object metav1.Object) []string {
	place := fmt.Sprintf("ConfigMap %s: metadata.annotations.", object.GetName())
	annotations := object.GetAnnotations()
	var found []string
	for name, value := range annotations {
		known := name == annotationMountPath || name == annotationAccessMode
		if name == annotationMountAs && value != "subpath" {
			found = append(found, place+name+"="+value)
		} else if strings.HasPrefix(name, prefix) && !known && name != annotationMountAs {
			found = append(found, place+name)
		}
	}
	for _, name := range []string{annotationMountPath, annotationMountAs, annotationAccessMode} {
		if annotations[name] == "" {
			found = append(found, place+name+" (absent)")
		}
	}
	sort.Strings(found)
	return found
}

// unknownNamespace returns the annotations by which the operator would change pods.
func unknownNamespace(namespace *unstructured.Unstructured) []string {
	var found []string
	for name := range namespace.GetAnnotations() {
		if strings.HasPrefix(name, prefix) {
			found = append(found, "Namespace "+namespace.GetName()+": metadata.annotations."+name)
		}
	}
	sort.Strings(found)
	return found
}

func quantity(place string, value any) []string {
	written, ok := value.(string)
	if !ok {
		return []string{unlike(place, value)}
	}
	if _, err := resource.ParseQuantity(written); err != nil {
		return []string{unlike(place, value)}
	}
	return nil
}

func podContext(place string, value any) []string {
	return decodes(place, value, &corev1.PodSecurityContext{})
}

func containerContext(place string, value any) []string {
	return decodes(place, value, &corev1.SecurityContext{})
}

// decodes looks whether a value is one of a type of Kubernetes, with no field
// that the type does not have.
func decodes(place string, value, into any) []string {
	written, err := json.Marshal(value)
	if err != nil {
		return []string{unlike(place, value)}
	}
	decoder := json.NewDecoder(strings.NewReader(string(written)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return []string{fmt.Sprintf("%s (%v)", place, err)}
	}
	return nil
}
