package devworkspace

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// settings is what the operator's configuration says about pods.
type settings struct {
	HostUsers        *bool
	PullPolicy       corev1.PullPolicy
	RuntimeClass     *string
	PodAnnotations   map[string]string
	PodContext       *corev1.PodSecurityContext
	ContainerContext *corev1.SecurityContext
}

const (
	idleTimeout     = "15m"
	progressTimeout = "5m"
)

// workspacePart is `config.workspace`, with the security contexts as they were
// written: they are merged, so an absent field is none.
type workspacePart struct {
	HostUsers        *bool             `json:"hostUsers"`
	ImagePullPolicy  corev1.PullPolicy `json:"imagePullPolicy"`
	RuntimeClassName *string           `json:"runtimeClassName"`
	PodAnnotations   map[string]string `json:"podAnnotations"`
	PodContext       json.RawMessage   `json:"podSecurityContext"`
	ContainerContext json.RawMessage   `json:"containerSecurityContext"`
}

// resolve merges configurations, each over those before it: the platform's
// defaults, the global one, and the one that the workspace names. It returns what the recording does not have
// of them. A configuration that is nil says nothing.
func resolve(on platform, configurations ...*unstructured.Unstructured) (settings, []string) {
	merged := settings{PullPolicy: corev1.PullAlways, PodAnnotations: map[string]string{}}
	podContext, containerContext := on.contexts()
	var found []string
	for _, configuration := range configurations {
		if configuration == nil {
			continue
		}
		part, unknown := partOf(configuration)
		if found = append(found, unknown...); len(unknown) > 0 {
			continue
		}
		merged.take(part)
		podContext = patched(podContext, part.PodContext, &corev1.PodSecurityContext{})
		containerContext = patched(containerContext, part.ContainerContext, &corev1.SecurityContext{})
	}
	if len(found) > 0 {
		return settings{}, found
	}
	merged.PodContext, merged.ContainerContext = &corev1.PodSecurityContext{}, &corev1.SecurityContext{}
	_ = json.Unmarshal(podContext, merged.PodContext)
	_ = json.Unmarshal(containerContext, merged.ContainerContext)
	return merged, nil
}

// take overwrites what a part says.
func (merged *settings) take(part workspacePart) {
	if part.HostUsers != nil {
		merged.HostUsers = part.HostUsers
	}
	if part.ImagePullPolicy != "" {
		merged.PullPolicy = part.ImagePullPolicy
	}
	if part.RuntimeClassName != nil {
		merged.RuntimeClass = part.RuntimeClassName
	}
	for name, value := range part.PodAnnotations {
		merged.PodAnnotations[name] = value
	}
}

// partOf reads `config.workspace`, and names what the recording does not have.
func partOf(configuration *unstructured.Unstructured) (workspacePart, []string) {
	var part workspacePart
	config, ok := configuration.Object["config"]
	if !ok || config == nil {
		return part, nil
	}
	place := fmt.Sprintf("DevWorkspaceOperatorConfig %s/%s: config",
		configuration.GetNamespace(), configuration.GetName())
	if found := configShape(place, config); len(found) > 0 {
		return part, found
	}
	workspace, _, _ := unstructured.NestedFieldNoCopy(configuration.Object, "config", "workspace")
	written, err := json.Marshal(workspace)
	if err == nil {
		err = json.Unmarshal(written, &part)
	}
	if err != nil {
		return part, []string{fmt.Sprintf("%s.workspace (%v)", place, err)}
	}
	return part, nil
}

// patched is the base with a patch over it. A patch that is absent, or can't be
// one, changes nothing: resolve has refused the latter.
func patched(base []byte, patch json.RawMessage, schema any) []byte {
	if len(patch) == 0 {
		return base
	}
	merged, err := strategicpatch.StrategicMergePatch(base, patch, schema)
	if err != nil {
		return base
	}
	return merged
}
