package devworkspace

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// put sets a value at a path of names and indices, as JSON.
func put(t *testing.T, object any, value string, path ...any) {
	t.Helper()
	for _, step := range path[:len(path)-1] {
		switch step := step.(type) {
		case string:
			inner, ok := object.(map[string]any)[step]
			if !ok {
				inner = map[string]any{}
				object.(map[string]any)[step] = inner
			}
			object = inner
		case int:
			object = object.([]any)[step]
		}
	}
	last := path[len(path)-1].(string)
	if value == "" {
		delete(object.(map[string]any), last)
		return
	}
	var decoded any
	if err := json.Unmarshal([]byte(value), &decoded); err != nil {
		t.Fatal(err)
	}
	object.(map[string]any)[last] = decoded
}

// What the recording has no example of, each as one change of a recorded workspace,
// and the place that the message names.
func TestWhatWasNotRecordedIsRefusedByName(t *testing.T) {
	spec := func(path ...any) []any { return append([]any{"spec", "template"}, path...) }
	tools := func(path ...any) []any {
		return append(spec("components", 0, "container"), path...)
	}
	cases := []struct {
		place, value string
		path         []any
	}{
		{"spec.template.commands", `[]`, spec("commands")},
		{"spec.template.events", `{}`, spec("events")},
		{"spec.template.projects", `[]`, spec("projects")},
		{"spec.template.parent", `{"uri": "x"}`, spec("parent")},
		{"spec.template.variables", `{}`, spec("variables")},
		{"spec.routingClass", `"basic"`, []any{"spec", "routingClass"}},
		{"spec.contributions", `[]`, []any{"spec", "contributions"}},
		{"spec.template.attributes.controller.devfile.io/runtime-class", `"x"`,
			spec("attributes", "controller.devfile.io/runtime-class")},
		{"spec.template.attributes.controller.devfile.io/project-clone (absent)", "",
			spec("attributes", attributeProjectClone)},
		{"spec.template.attributes.controller.devfile.io/storage-type=async", `"async"`,
			spec("attributes", attributeStorageType)},
		{"spec.template.attributes.controller.devfile.io/storage-type (absent)", "",
			spec("attributes", attributeStorageType)},
		{"spec.template.attributes.pod-overrides.spec.hostNetwork", `{"spec": {"hostNetwork": true}}`,
			spec("attributes", attributePod)},
		{"spec.template.attributes.pod-overrides.metadata", `{"spec": {}, "metadata": {}}`,
			spec("attributes", attributePod)},
		{"DevWorkspaceOperatorConfig nestcheck-bikhdsun/other (absent)",
			`{"name": "other", "namespace": "nestcheck-bikhdsun"}`, spec("attributes", attributeConfig)},
		{"spec.template.components[0].plugin", `{"id": "x"}`, spec("components", 0, "plugin")},
		{"spec.template.components[0].attributes.container-overrides.args", `{"args": []}`,
			spec("components", 0, "attributes", attributeContainer)},
		{"spec.template.components[0].attributes.container-overrides.resources.limits.cpu",
			`{"resources": {"limits": {"cpu": "1", "example.com/fuse": "1"}}}`,
			spec("components", 0, "attributes", attributeContainer)},
		{"spec.template.components[0].container.endpoints", `[]`, tools("endpoints")},
		{"spec.template.components[0].container.cpuLimit", `"1"`, tools("cpuLimit")},
		{"spec.template.components[0].container.dedicatedPod", `true`, tools("dedicatedPod")},
		{"spec.template.components[0].container.mountSources=true", `true`, tools("mountSources")},
		{"spec.template.components[0].container.memoryLimit=much", `"much"`, tools("memoryLimit")},
		{"spec.template.components[0].container.memoryLimit (absent)", "", tools("memoryLimit")},
		{"spec.template.components[0].container.sourceMapping=/src", `"/src"`, tools("sourceMapping")},
		{"spec.template.components[0].container.volumeMounts[0].name=none (no such volume)",
			`[{"name": "none", "path": "/x"}]`, tools("volumeMounts")},
		{"spec.template.components[1].volume.size (of an ephemeral volume)", `"1Gi"`,
			spec("components", 1, "volume", "size")},
		{"spec.template.components[1].volume.ephemeral (not true, storage type ephemeral)",
			`{"size": "1Gi"}`, spec("components", 1, "volume")},
		{"metadata.annotations.controller.devfile.io/debug-start", `"true"`,
			[]any{"metadata", "annotations", "controller.devfile.io/debug-start"}},
	}
	events := recording(t)
	for _, one := range cases {
		t.Run(one.place, func(t *testing.T) {
			workspace := created(t, events, "devworkspace")
			put(t, workspace.Object, one.value, one.path...)
			refusedWith(t, events, one.place, workspace)
		})
	}
}

// refusedWith expects a workspace to fail with this place as the only one in its
// message, and with nothing made for it. The objects are in the cluster already.
func refusedWith(
	t *testing.T, events []event, place string, workspace *unstructured.Unstructured,
	objects ...runtime.Object,
) {
	t.Helper()
	has := map[string]bool{}
	for _, object := range objects {
		has[object.(*unstructured.Unstructured).GetName()] = true
	}
	defaults := []*unstructured.Unstructured{namespaceOf(workspace),
		first(t, events, "DevWorkspaceOperatorConfig", globalConfig),
		first(t, events, "DevWorkspaceOperatorConfig", "nested")}
	for _, object := range defaults {
		if !has[object.GetName()] {
			objects = append(objects, object)
		}
	}
	stage := onStage(t, append(objects, workspace)...)
	stage.mustSettle(workspace)
	now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
	message := statusText(now, "message")
	if statusText(now, "phase") != failed || isStarted(now) {
		t.Errorf("it is %s, started %v", statusText(now, "phase"), isStarted(now))
	}
	if wanted := notRecorded([]string{place}); message != wanted {
		t.Errorf("its message is %q", message)
	}
	if why := find(conditionsOf(now), conditionFailed); why == nil || why.reason != "NotRecorded" {
		t.Errorf("its conditions are %+v", conditionsOf(now))
	}
	if made := stage.creations(); len(made) > 0 {
		t.Errorf("%s %s was made", made[0].GetKind(), made[0].GetName())
	}
}

func TestWhatWasNotRecordedOfTheConfigurationIsRefusedByName(t *testing.T) {
	events := recording(t)
	own := "DevWorkspaceOperatorConfig nestcheck-bikhdsun/nested: config."
	global := "DevWorkspaceOperatorConfig devworkspace-controller/devworkspace-operator-config: config."
	cases := []struct {
		name, place, value string
		path               []any
	}{
		{"nested", own + "workspace.initContainers", `[]`, []any{"workspace", "initContainers"}},
		{"nested", own + "workspace.hostUsers=true", `true`, []any{"workspace", "hostUsers"}},
		{"nested", own + "workspace.persistUserHome", `{}`, []any{"workspace", "persistUserHome"}},
		{"nested", own + "workspace.podSecurityContext (json: unknown field \"new\")", `{"new": 1}`,
			[]any{"workspace", "podSecurityContext"}},
		{"nested", own + "workspace.containerSecurityContext (json: unknown field \"new\")", `{"new": 1}`,
			[]any{"workspace", "containerSecurityContext"}},
		{globalConfig, global + "enableExperimentalFeatures", `true`, []any{"enableExperimentalFeatures"}},
		{globalConfig, global + "routing.proxyConfig", `{}`, []any{"routing", "proxyConfig"}},
	}
	for _, one := range cases {
		t.Run(one.place, func(t *testing.T) {
			config := first(t, events, "DevWorkspaceOperatorConfig", one.name)
			put(t, config.Object, one.value, append([]any{"config"}, one.path...)...)
			refusedWith(t, events, one.place, created(t, events, "devworkspace"), config)
		})
	}
}

func TestWhatTheNamespaceAddsToPodsIsRefusedByName(t *testing.T) {
	events := recording(t)
	workspace := created(t, events, "devworkspace")
	namespace := namespaceOf(workspace)
	labelled := func(kind, name string, labels map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": kind,
			"metadata": map[string]any{
				"name": name, "namespace": workspace.GetNamespace(), "labels": labels,
			},
		}}
	}
	tolerating := namespace.DeepCopy()
	tolerating.SetAnnotations(map[string]string{prefix + "pod-tolerations": "[]"})
	asEnv := mapWith(workspace.GetNamespace(), "env", "/x", nil)
	asEnv.SetAnnotations(map[string]string{annotationMountPath: "/x", annotationMountAs: "env",
		annotationAccessMode: "0555"})
	cases := map[string]*unstructured.Unstructured{
		"Namespace nestcheck-bikhdsun: metadata.annotations." + prefix + "pod-tolerations": tolerating,
		"ConfigMap env: metadata.annotations." + annotationMountAs + "=env":                asEnv,
		"Secret git: metadata.labels." + prefix + "git-credential": labelled("Secret", "git",
			map[string]any{prefix + "git-credential": "true"}),
		"PersistentVolumeClaim data: metadata.labels." + labelMount: labelled("PersistentVolumeClaim",
			"data", map[string]any{labelMount: "true"}),
	}
	for place, object := range cases {
		t.Run(place, func(t *testing.T) {
			refusedWith(t, events, place, workspace.DeepCopy(), object)
		})
	}
}

func TestAWorkspaceWithoutACreatorIsRefused(t *testing.T) {
	events := recording(t)
	for restricted, wanted := range map[string]string{
		"true": "DevWorkspace was created without creator ID label. " +
			"It must be recreated to resolve the issue",
		"": "Error creating DevWorkspace deployment: Error while creating workspace deployment: " +
			"workspace must have creator specified to be run. Recreate it to fix an issue",
	} {
		workspace := created(t, events, "devworkspace")
		workspace.SetLabels(nil)
		workspace.SetAnnotations(nil)
		if restricted != "" {
			workspace.SetAnnotations(map[string]string{annotationRestricted: restricted})
		}
		stage := onStage(t, workspace, namespaceOf(workspace),
			first(t, events, "DevWorkspaceOperatorConfig", "nested"))
		stage.mustSettle(workspace)
		now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
		if message := statusText(now, "message"); message != wanted {
			t.Errorf("its message is %q", message)
		}
	}
}

// What varies freely is taken as it comes: the double is no copy of one workspace.
func TestRecordedFieldsMayHaveOtherValues(t *testing.T) {
	events := recording(t)
	workspace := created(t, events, "devworkspace")
	container := []any{"spec", "template", "components", 0, "container"}
	put(t, workspace.Object, `"elsewhere/image:2"`, append(container, "image")...)
	put(t, workspace.Object, `[{"name": "PATH", "value": "/bin"}]`, append(container, "env")...)
	put(t, workspace.Object, `"3Gi"`, append(container, "memoryLimit")...)
	put(t, workspace.Object, `["/probe", "pause"]`, append(container, "args")...)
	config := first(t, events, "DevWorkspaceOperatorConfig", "nested")
	put(t, config.Object, `"crun"`, "config", "workspace", "runtimeClassName")
	put(t, config.Object, `{"capabilities": {"add": ["CHOWN"]}}`,
		"config", "workspace", "containerSecurityContext")
	stage := onStage(t, workspace, config, namespaceOf(workspace))
	stage.mustSettle(workspace)
	deployment := stage.get(deployments, workspace.GetNamespace(), workspaceID(workspace.GetUID()))
	if deployment == nil {
		t.Fatal(stage.statuses[workspace.GetName()])
	}
	written, _ := json.Marshal(deployment.Object["spec"])
	for _, wanted := range []string{`"args":["/probe","pause"]`, `"image":"elsewhere/image:2"`, `{"name":"PATH","value":"/bin"}`,
		`"limits":{"memory":"3Gi"}`, `"runtimeClassName":"crun"`,
		`"capabilities":{"add":["CHOWN"],"drop":["ALL"]}`, `"allowPrivilegeEscalation":false`} {
		if !strings.Contains(string(written), wanted) {
			t.Errorf("%s is not in %s", wanted, written)
		}
	}
}
