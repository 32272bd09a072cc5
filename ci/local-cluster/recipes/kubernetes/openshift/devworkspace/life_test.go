package devworkspace

import (
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubetesting "k8s.io/client-go/testing"
)

func setStarted(started bool) func(*unstructured.Unstructured) {
	return func(workspace *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(workspace.Object, started, "spec", "started")
	}
}

// The recorded life of ws-12: it runs, is stopped, runs again, loses its claim.
func TestAWorkspaceStopsAndStartsAsRecorded(t *testing.T) {
	events := recording(t)
	stage, workspace := played(t, events, "ws-12")
	namespace, name := workspace.GetNamespace(), workspace.GetName()
	ready := map[string]any{"readyReplicas": int64(1), "replicas": int64(1)}
	stage.answer(workspace, ready)
	stage.mustSettle(workspace)
	stage.change(workspaces, namespace, name, setStarted(false))
	stage.mustSettle(workspace)
	stage.is(workspace, stopping)
	if now := stage.get(workspaces, namespace, name); now.GetAnnotations()[annotationStartedAt] != "" {
		t.Error("a workspace that stops keeps the time of its start")
	}
	stage.answer(workspace, map[string]any{})
	stage.mustSettle(workspace)
	stage.is(workspace, stopped)
	stage.change(workspaces, namespace, name, setStarted(true))
	stage.mustSettle(workspace)
	deployment := stage.get(deployments, namespace, workspaceID(workspace.GetUID()))
	replicas, _, _ := unstructured.NestedFieldNoCopy(deployment.Object, "spec", "replicas")
	if number(replicas) != float64(1) {
		t.Errorf("replicas %v after the second start", replicas)
	}
	stage.answer(workspace, ready)
	stage.mustSettle(workspace)
	stage.is(workspace, running)

	now := metav1.NewTime(stage.clock)
	stage.change(claims, namespace, claimName(workspaceID(workspace.GetUID())),
		func(claim *unstructured.Unstructured) { claim.SetDeletionTimestamp(&now) })
	stage.mustSettle(workspace)

	var recorded []string
	for _, version := range versions(events, "DevWorkspace", name) {
		recorded = append(recorded, told([]*unstructured.Unstructured{version})...)
	}
	recorded = slices.Compact(recorded)
	subsequence(t, recorded, stage.statuses[name])
}

func (stage *stage) is(workspace *unstructured.Unstructured, phase string) {
	stage.t.Helper()
	now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
	if found := statusText(now, "phase"); found != phase {
		stage.t.Fatalf("%s is %s, not %s: %s", now.GetName(), found, phase, statusText(now, "message"))
	}
}

func TestAWorkspaceThatStandsStillFails(t *testing.T) {
	stage, workspace := played(t, recording(t), "devworkspace")
	stage.clock = stage.clock.Add(5*time.Minute - time.Second)
	stage.mustSettle(workspace)
	stage.is(workspace, starting)
	stage.clock = stage.clock.Add(2 * time.Second)
	stage.mustSettle(workspace)
	now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
	wanted := "DevWorkspace failed to progress past step 'Waiting for workspace deployment' " +
		"for longer than timeout (5m)"
	if found := statusText(now, "message"); found != wanted {
		t.Errorf("its message is %q", found)
	}
}

// marked lets an object be deleted, as the API server does it while it has finalizers.
func (stage *stage) marked(workspace *unstructured.Unstructured) {
	now := metav1.NewTime(stage.clock)
	stage.change(workspaces, workspace.GetNamespace(), workspace.GetName(),
		func(workspace *unstructured.Unstructured) { workspace.SetDeletionTimestamp(&now) })
}

// two are two recorded workspaces with the same SCC, both started.
func two(t *testing.T) (stage *stage, first, second *unstructured.Unstructured) {
	t.Helper()
	events := recording(t)
	stage, first = played(t, events, "devworkspace")
	second = created(t, events, "ws-10d")
	if err := stage.client.Tracker().Create(workspaces, second, second.GetNamespace()); err != nil {
		t.Fatal(err)
	}
	stage.mustSettle(second)
	return stage, first, second
}

func (stage *stage) subjects(namespace, binding string) []string {
	stage.t.Helper()
	found := stage.get(bindings, namespace, binding)
	if found == nil {
		return nil
	}
	list, _, _ := unstructured.NestedSlice(found.Object, "subjects")
	var names []string
	for _, subject := range list {
		names = append(names, subject.(map[string]any)["name"].(string))
	}
	return names
}

func (stage *stage) expectRights(namespace string, wanted ...string) {
	stage.t.Helper()
	shared := []string{defaultBinding, constraintRole(namespace), pullerBinding(namespace)}
	for _, binding := range shared {
		if found := stage.subjects(namespace, binding); !slices.Equal(found, wanted) {
			stage.t.Errorf("subjects of %s: %v, wanted %v", binding, found, wanted)
		}
	}
}

// A deletion that an error ends in between, at each of its writes, is finished when
// it is tried again, and takes nothing from another workspace.
func TestADeletionThatEndedInBetweenIsFinished(t *testing.T) {
	for at := range 5 {
		stage, first, second := two(t)
		namespace := first.GetNamespace()
		left := accountName(workspaceID(second.GetUID()))
		stage.expectRights(namespace, accountName(workspaceID(first.GetUID())), left)
		stage.marked(first)
		stage.failAt(at)
		if err := stage.settle(namespace, first.GetName()); err == nil {
			t.Fatalf("write %d did not fail", at)
		}
		if now := stage.get(workspaces, namespace, first.GetName()); len(now.GetFinalizers()) == 0 {
			t.Fatalf("after write %d failed, the finalizer is gone", at)
		}
		stage.mustSettle(first)
		if now := stage.get(workspaces, namespace, first.GetName()); len(now.GetFinalizers()) != 0 {
			t.Errorf("after write %d failed once, finalizers are left: %v", at, now.GetFinalizers())
		}
		stage.expectRights(namespace, left)
	}
}

// failAt lets one coming write fail, once.
func (stage *stage) failAt(write int) {
	count := 0
	fail := func(kubetesting.Action) (bool, runtime.Object, error) {
		count++
		if count == write+1 {
			return true, nil, errors.New("the connection was lost")
		}
		return false, nil, nil
	}
	for _, verb := range []string{"update", "delete", "patch", "create"} {
		stage.client.PrependReactor(verb, "*", fail)
	}
}

func TestTheLastWorkspaceTakesRolesAndBindingsAlong(t *testing.T) {
	stage, first, second := two(t)
	namespace := first.GetNamespace()
	for _, workspace := range []*unstructured.Unstructured{first, second} {
		stage.marked(workspace)
		stage.mustSettle(workspace)
	}
	stage.expectRights(namespace)
	for _, name := range []string{defaultRole, constraintRole(namespace)} {
		if stage.get(roles, namespace, name) != nil {
			t.Errorf("the role %s is left", name)
		}
	}
}

// As recorded: a namespace that ends takes everything along, so nothing is undone.
func TestANamespaceThatEndsIsNotTidied(t *testing.T) {
	stage, first, _ := two(t)
	namespace, now := first.GetNamespace(), metav1.NewTime(stage.clock)
	stage.change(namespaces, "", namespace,
		func(namespace *unstructured.Unstructured) { namespace.SetDeletionTimestamp(&now) })
	stage.marked(first)
	before := stage.subjects(namespace, defaultBinding)
	stage.mustSettle(first)
	if found := stage.subjects(namespace, defaultBinding); !slices.Equal(found, before) {
		t.Errorf("subjects %v, before %v", found, before)
	}
	if now := stage.get(workspaces, namespace, first.GetName()); len(now.GetFinalizers()) != 0 {
		t.Errorf("finalizers are left: %v", now.GetFinalizers())
	}
}
