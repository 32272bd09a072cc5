package devworkspace

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	kubetesting "k8s.io/client-go/testing"
)

// recordingPath is the recording, seen from this package.
const recordingPath = "../../../../../../fixtures/recordings/devworkspace-operator-0.42.0/workspace-suite.jsonl"

// event is a line of the recording.
type event struct {
	Type   string
	Object unstructured.Unstructured
}

// recording is the whole recording, in order.
func recording(t *testing.T) []event {
	t.Helper()
	file, err := os.Open(recordingPath)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var events []event
	for lines.Scan() {
		var line struct {
			Type   string         `json:"type"`
			Object map[string]any `json:"object"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		events = append(events, event{line.Type, unstructured.Unstructured{Object: line.Object}})
	}
	if len(events) == 0 {
		t.Fatal("the recording is empty")
	}
	return events
}

// first is the first version of an object.
func first(t *testing.T, events []event, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, event := range events {
		if event.Object.GetKind() == kind && event.Object.GetName() == name {
			return event.Object.DeepCopy()
		}
	}
	t.Fatalf("no %s %s was recorded", kind, name)
	return nil
}

// versions are all versions of an object until it is being deleted.
func versions(events []event, kind, name string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, event := range events {
		object := &event.Object
		if object.GetKind() != kind || object.GetName() != name || event.Type == "DELETED" {
			continue
		}
		if object.GetDeletionTimestamp() == nil {
			found = append(found, object.DeepCopy())
		}
	}
	return found
}

// created is a recorded workspace as it was before the operator saw it.
func created(t *testing.T, events []event, name string) *unstructured.Unstructured {
	t.Helper()
	workspace := first(t, events, "DevWorkspace", name)
	unstructured.RemoveNestedField(workspace.Object, "status")
	return workspace
}

// mountedBy are the ConfigMaps behind a recorded Deployment's mounts: they were
// not recorded themselves.
func mountedBy(deployment *unstructured.Unstructured) []runtime.Object {
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	mounts, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "volumeMounts")
	folders, files := map[string]string{}, map[string]map[string]any{}
	for _, one := range mounts {
		mount := one.(map[string]any)
		name := mount["name"].(string)
		if !strings.HasPrefix(name, "workspace-files-") {
			continue
		}
		if files[name] == nil {
			files[name] = map[string]any{}
		}
		files[name][mount["subPath"].(string)] = "AA=="
		folders[name] = path.Dir(mount["mountPath"].(string))
	}
	var maps []runtime.Object
	for name, content := range files {
		maps = append(maps, mapWith(deployment.GetNamespace(), name, folders[name], content))
	}
	return maps
}

func mapWith(namespace, name, folder string, content map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": name, "namespace": namespace,
			"labels": map[string]any{labelMount: "true", labelWatchMap: "true"},
			"annotations": map[string]any{
				annotationMountPath: folder, annotationMountAs: "subpath", annotationAccessMode: "0555",
			},
		},
		"binaryData": content,
	}}
}

func namespaceOf(object *unstructured.Unstructured) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": object.GetNamespace()},
	}}
}

// stage is a cluster without controllers: what happens besides the double is said
// by the test.
type stage struct {
	t      *testing.T
	client *fake.FakeDynamicClient
	clock  time.Time
	// statuses are the phases and messages of workspaces, in order, by name.
	statuses map[string][]string
}

func onStage(t *testing.T, objects ...runtime.Object) *stage {
	lists := map[schema.GroupVersionResource]string{
		workspaces: "DevWorkspaceList", routings: "DevWorkspaceRoutingList",
		configs: "DevWorkspaceOperatorConfigList", deployments: "DeploymentList", pods: "PodList",
		namespaces: "NamespaceList", claims: "PersistentVolumeClaimList",
		configMaps: "ConfigMapList", secrets: "SecretList", accounts: "ServiceAccountList",
		roles: "RoleList", bindings: "RoleBindingList", jobs: "JobList",
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, objects...)
	stage := &stage{t: t, client: client, clock: time.Unix(1795912089, 0), statuses: map[string][]string{}}
	client.PrependReactor("update", "devworkspaces", func(action kubetesting.Action) (bool, runtime.Object, error) {
		changed := action.(kubetesting.UpdateAction).GetObject().(*unstructured.Unstructured)
		told := statusText(changed, "phase") + ": " + statusText(changed, "message")
		list := stage.statuses[changed.GetName()]
		if len(list) == 0 || list[len(list)-1] != told {
			stage.statuses[changed.GetName()] = append(list, told)
		}
		return false, nil, nil
	})
	return stage
}

// settle calls the double until it changes nothing any more.
func (stage *stage) settle(namespace, name string) error {
	stage.t.Helper()
	for range 20 {
		before := len(stage.writes())
		_, err := cluster{client: stage.client}.reconcile(context.Background(), namespace, name,
			func() time.Time { return stage.clock })
		if err != nil {
			return err
		}
		if len(stage.writes()) == before {
			return nil
		}
	}
	stage.t.Fatalf("%s does not come to rest: %v", name, stage.statuses[name])
	return nil
}

func (stage *stage) mustSettle(of *unstructured.Unstructured) {
	stage.t.Helper()
	if err := stage.settle(of.GetNamespace(), of.GetName()); err != nil {
		stage.t.Fatal(err)
	}
}

// writes are all calls that may have changed something.
func (stage *stage) writes() []kubetesting.Action {
	return slices.DeleteFunc(stage.client.Actions(), func(action kubetesting.Action) bool {
		return action.GetVerb() == "get" || action.GetVerb() == "list" || action.GetVerb() == "watch"
	})
}

func (stage *stage) creations() []*unstructured.Unstructured {
	var made []*unstructured.Unstructured
	for _, action := range stage.client.Actions() {
		if create, ok := action.(kubetesting.CreateAction); ok && action.GetVerb() == "create" {
			made = append(made, create.GetObject().(*unstructured.Unstructured))
		}
	}
	return made
}

func (stage *stage) get(resource schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	stage.t.Helper()
	found, err := cluster{client: stage.client}.find(context.Background(), resource, namespace, name)
	if err != nil {
		stage.t.Fatal(err)
	}
	return found
}

// change changes a stored object, as something else than the double does.
func (stage *stage) change(
	resource schema.GroupVersionResource, namespace, name string, change func(*unstructured.Unstructured),
) {
	stage.t.Helper()
	object := stage.get(resource, namespace, name)
	if object == nil {
		stage.t.Fatalf("there is no %s %s", resource.Resource, name)
	}
	change(object)
	if err := stage.client.Tracker().Update(resource, object, namespace); err != nil {
		stage.t.Fatal(err)
	}
}

// answer sets the status of a workspace's Deployment.
func (stage *stage) answer(workspace *unstructured.Unstructured, status map[string]any) {
	stage.t.Helper()
	stage.change(deployments, workspace.GetNamespace(), workspaceID(workspace.GetUID()),
		func(deployment *unstructured.Unstructured) { deployment.Object["status"] = status })
}
