package devworkspace

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// template is what the double reads of a workspace's spec.template, once
// unknown has found nothing else in it.
type template struct {
	Attributes attributes  `json:"attributes"`
	Components []component `json:"components"`
}

type attributes struct {
	Config       *reference      `json:"controller.devfile.io/devworkspace-config"`
	Constraint   string          `json:"controller.devfile.io/scc"`
	StorageType  string          `json:"controller.devfile.io/storage-type"`
	PodOverrides json.RawMessage `json:"pod-overrides"`
}

type reference struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

type component struct {
	Name       string        `json:"name"`
	Attributes overridesPart `json:"attributes"`
	Container  *container    `json:"container"`
	Volume     *volume       `json:"volume"`
}

type overridesPart struct {
	ContainerOverrides json.RawMessage `json:"container-overrides"`
}

type container struct {
	Image         string     `json:"image"`
	Command       []string   `json:"command"`
	Args          []string   `json:"args"`
	Env           []variable `json:"env"`
	MemoryLimit   string     `json:"memoryLimit"`
	MemoryRequest string     `json:"memoryRequest"`
	VolumeMounts  []mount    `json:"volumeMounts"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type mount struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

type volume struct {
	Ephemeral bool   `json:"ephemeral"`
	Size      string `json:"size"`
}

// templateOf reads a workspace's template. What is not as expected is left out.
func templateOf(workspace *unstructured.Unstructured) template {
	var read template
	written, _, _ := unstructured.NestedFieldNoCopy(workspace.Object, "spec", "template")
	if text, err := json.Marshal(written); err == nil {
		_ = json.Unmarshal(text, &read)
	}
	return read
}

// constraintOf is the SCC that a workspace asks for, or "".
func constraintOf(workspace *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(workspace.Object,
		"spec", "template", "attributes", attributeConstraint)
	return name
}

// isStarted tells whether a workspace is to run.
func isStarted(workspace *unstructured.Unstructured) bool {
	started, _, _ := unstructured.NestedBool(workspace.Object, "spec", "started")
	return started
}

// statusText is a text of an object's status, or "".
func statusText(object *unstructured.Unstructured, field string) string {
	value, _, _ := unstructured.NestedString(object.Object, "status", field)
	return value
}
