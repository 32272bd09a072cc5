package devworkspace

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
)

// configOf is the configuration that each recorded workspace named.
var configOf = map[string]string{
	"devworkspace": "nested", "ws-08": "ws-08", "ws-09": "ws-09", "ws-10d": "nested",
	"ws-10e": "nested", "ws-12": "ws-12", "ws-16": "ws-16", "ws-17": "ws-17",
	"ws-04-old": "nested", "ws-04-new": "nested",
}

// played is a stage on which a recorded workspace was created, and the workspace.
func played(t *testing.T, events []event, name string) (*stage, *unstructured.Unstructured) {
	t.Helper()
	workspace := created(t, events, name)
	objects := append(mountedBy(first(t, events, "Deployment", "workspace8ea44ca307b045ba")),
		workspace.DeepCopy(),
		namespaceOf(workspace),
		first(t, events, "DevWorkspaceOperatorConfig", globalConfig),
		first(t, events, "DevWorkspaceOperatorConfig", configOf[name]))
	stage := onStage(t, objects...)
	stage.mustSettle(workspace)
	return stage, workspace
}

// Every object that the double creates is the recorded one.
func TestObjectsAreThoseOfTheRecording(t *testing.T) {
	events := recording(t)
	for name := range configOf {
		t.Run(name, func(t *testing.T) {
			stage, workspace := played(t, events, name)
			made := map[string]bool{}
			for _, object := range stage.creations() {
				recorded := first(t, events, object.GetKind(), object.GetName())
				made[object.GetKind()+" "+object.GetName()] = true
				if object.GetKind() == "RoleBinding" {
					comparable(t, object, recorded, workspace)
				}
				equal(t, withDefaults(t, object), withDefaults(t, recorded))
			}
			id := workspaceID(workspace.GetUID())
			for _, event := range events {
				object := &event.Object
				ours := object.GetLabels()[labelID] == id && object.GetKind() != "Pod"
				key := object.GetKind() + " " + object.GetName()
				if ours && !made[key] {
					t.Errorf("%s was recorded, the double does not make it", key)
					made[key] = true
				}
			}
		})
	}
}

// comparable gives a recorded binding the subject of this workspace: the recorded
// one was made for the workspace that happened to be first.
func comparable(t *testing.T, object, recorded, workspace *unstructured.Unstructured) {
	t.Helper()
	subjects, _, _ := unstructured.NestedSlice(recorded.Object, "subjects")
	if len(subjects) != 1 {
		t.Fatalf("%d subjects of %s when it was made", len(subjects), recorded.GetName())
	}
	subjects[0].(map[string]any)["name"] = accountName(workspaceID(workspace.GetUID()))
	if err := unstructured.SetNestedSlice(recorded.Object, subjects, "subjects"); err != nil {
		t.Fatal(err)
	}
}

// withDefaults is an object as the API server would store it, without what only
// it knows.
func withDefaults(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	typed := map[string]runtime.Object{
		"Deployment": &appsv1.Deployment{}, "ConfigMap": &corev1.ConfigMap{},
		"ServiceAccount": &corev1.ServiceAccount{}, "Role": &rbacv1.Role{},
		"RoleBinding": &rbacv1.RoleBinding{}, "PersistentVolumeClaim": &corev1.PersistentVolumeClaim{},
	}[object.GetKind()]
	plain := object.DeepCopy().Object
	if typed != nil {
		if err := into(object, typed); err != nil {
			t.Fatal(err)
		}
		legacyscheme.Scheme.Default(typed)
		if deployment, ok := typed.(*appsv1.Deployment); ok {
			normalize(&deployment.Spec.Template.Spec)
		}
		written, err := json.Marshal(typed)
		if err != nil {
			t.Fatal(err)
		}
		plain = map[string]any{}
		if err := json.Unmarshal(written, &plain); err != nil {
			t.Fatal(err)
		}
	}
	delete(plain, "status")
	metadata := plain["metadata"].(map[string]any)
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation"} {
		delete(metadata, field)
	}
	if object.GetKind() == "PersistentVolumeClaim" {
		// Admission plugins of the API server.
		delete(metadata, "finalizers")
		delete(plain["spec"].(map[string]any), "storageClassName")
	}
	return plain
}

// normalize does away with what the API server doubles, and with the order in which
// the operator mounts the files of one ConfigMap: it was not always the same.
func normalize(pod *corev1.PodSpec) {
	pod.DeprecatedServiceAccount = pod.ServiceAccountName
	for _, container := range pod.Containers {
		mounts := container.VolumeMounts
		sort.SliceStable(mounts, func(a, b int) bool {
			return mounts[a].Name == mounts[b].Name && mounts[a].SubPath < mounts[b].SubPath
		})
	}
}

func equal(t *testing.T, made, recorded map[string]any) {
	t.Helper()
	for _, difference := range differences("", made, recorded) {
		t.Errorf("%v%s", recorded["kind"], difference)
	}
}

// differences are the places where two values are not the same.
func differences(place string, made, recorded any) []string {
	var found []string
	switch left := made.(type) {
	case map[string]any:
		right, _ := recorded.(map[string]any)
		for name := range left {
			found = append(found, differences(place+"."+name, left[name], right[name])...)
		}
		for name := range right {
			if _, ok := left[name]; !ok {
				found = append(found, fmt.Sprintf("%s.%s: recorded %v, not made", place, name, right[name]))
			}
		}
		return found
	case []any:
		right, _ := recorded.([]any)
		if len(left) == len(right) {
			for index := range left {
				found = append(found, differences(fmt.Sprintf("%s[%d]", place, index), left[index], right[index])...)
			}
			return found
		}
	}
	if !reflect.DeepEqual(made, recorded) {
		found = append(found, fmt.Sprintf("%s: made %v, recorded %v", place, made, recorded))
	}
	return found
}

// The order in which a workspace with a claim, the richest one, got its objects.
func TestObjectsAreMadeInTheRecordedOrder(t *testing.T) {
	stage, _ := played(t, recording(t), "ws-12")
	var kinds []string
	for _, object := range stage.creations() {
		kinds = append(kinds, object.GetKind())
	}
	// The recording's workspaces share what is not the workspace's own: there, the
	// first to ask for it made it, in this order too.
	wanted := "ConfigMap PersistentVolumeClaim Role Role RoleBinding RoleBinding RoleBinding " +
		"DevWorkspaceRouting ConfigMap ServiceAccount Deployment"
	if got := strings.Join(kinds, " "); got != wanted {
		t.Errorf("made   %s\nwanted %s", got, wanted)
	}
}

// How the Deployments of recorded workspaces came out: what the test says, since
// nothing else runs.
func outcomes(events []event) map[string]map[string]any {
	ready := map[string]any{"readyReplicas": int64(1), "replicas": int64(1)}
	failedCreate := map[string]any{}
	for _, event := range events {
		conditions, _, _ := unstructured.NestedSlice(event.Object.Object, "status", "conditions")
		for _, condition := range conditions {
			if condition.(map[string]any)["reason"] == "FailedCreate" {
				failedCreate = map[string]any{"conditions": conditions}
			}
		}
	}
	return map[string]map[string]any{
		"devworkspace": ready, "ws-08": ready, "ws-09": ready, "ws-12": ready, "ws-17": failedCreate,
	}
}

// The status of every workspace goes through what was recorded, and ends with the
// same conditions.
func TestStatusIsThatOfTheRecording(t *testing.T) {
	events := recording(t)
	for name := range configOf {
		t.Run(name, func(t *testing.T) {
			stage, workspace := played(t, events, name)
			if name == "ws-16" {
				stage.addPod(workspace, "CreateContainerError")
				stage.mustSettle(workspace)
			}
			if status, ok := outcomes(events)[name]; ok {
				stage.answer(workspace, status)
				stage.mustSettle(workspace)
			}
			recorded := versions(events, "DevWorkspace", name)
			if name == "ws-12" {
				recorded = recorded[:untilRunning(recorded)]
			}
			subsequence(t, told(recorded), stage.statuses[name])
			ended := stage.get(workspaces, workspace.GetNamespace(), name)
			sameConditions(t, recorded[len(recorded)-1], ended)
		})
	}
}

func (stage *stage) addPod(workspace *unstructured.Unstructured, reason string) {
	stage.t.Helper()
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": "pod", "namespace": workspace.GetNamespace(),
			"labels": map[string]any{labelID: workspaceID(workspace.GetUID())},
		},
		"status": map[string]any{"containerStatuses": []any{map[string]any{
			"name": "tools", "state": map[string]any{"waiting": map[string]any{"reason": reason}},
		}}},
	}}
	if err := stage.client.Tracker().Create(pods, pod, workspace.GetNamespace()); err != nil {
		stage.t.Fatal(err)
	}
}

// untilRunning is how many versions there are until the workspace runs and has
// been given the time.
func untilRunning(recorded []*unstructured.Unstructured) int {
	for index, version := range recorded {
		if version.GetAnnotations()[annotationStartedAt] != "" {
			return index + 1
		}
	}
	return len(recorded)
}

// told are the phases and messages of versions, each once: where the operator met
// a conflict about a binding with another workspace, it stepped back for a moment.
func told(recorded []*unstructured.Unstructured) []string {
	var list []string
	for _, version := range recorded {
		one := statusText(version, "phase") + ": " + statusText(version, "message")
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// subsequence expects all that was recorded, in this order. Between it, the double
// may say what the recording's watch did not catch, or the other workspaces of the
// recording had done already.
func subsequence(t *testing.T, recorded, said []string) {
	t.Helper()
	at := 0
	for _, one := range recorded {
		if strings.HasPrefix(one, ": ") {
			continue
		}
		found := false
		for ; at < len(said) && !found; at++ {
			found = said[at] == one
		}
		if !found {
			t.Fatalf("recorded %q comes not, in its turn, in\n%s", one, strings.Join(said, "\n"))
		}
	}
	known := map[string]bool{": ": true}
	for _, one := range recorded {
		known[one] = true
	}
	for _, one := range said {
		if !known[one] && !strings.HasSuffix(one, "Waiting for DevWorkspace ServiceAccount") {
			t.Errorf("the double says %q, which was not recorded", one)
		}
	}
}

func sameConditions(t *testing.T, recorded, ended *unstructured.Unstructured) {
	t.Helper()
	wanted, found := conditionsOf(recorded), conditionsOf(ended)
	for _, list := range [][]condition{wanted, found} {
		for index := range list {
			list[index].since = ""
		}
	}
	if !reflect.DeepEqual(wanted, found) {
		t.Errorf("recorded %+v\nfound    %+v", wanted, found)
	}
	for _, field := range []string{"phase", "message", "devworkspaceId"} {
		if statusText(recorded, field) != statusText(ended, field) {
			t.Errorf("%s: recorded %q, found %q", field,
				statusText(recorded, field), statusText(ended, field))
		}
	}
	if isStarted(recorded) != isStarted(ended) {
		t.Errorf("started: recorded %v, found %v", isStarted(recorded), isStarted(ended))
	}
}
