package devworkspace

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
)

func operatorDeploymentWith(replicas int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": operatorDeployment, "namespace": operatorNamespace},
		"spec":     map[string]any{"replicas": replicas},
	}}
}

// The double does nothing while the operator's Deployment is scaled to nothing or
// gone, and takes up what happened meanwhile.
func TestTheDoubleWorksAsLongAsTheOperatorsDeploymentAsksForPods(t *testing.T) {
	events := recording(t)
	workspace := created(t, events, "ws-04-new")
	stage := onStage(t, operatorDeploymentWith(0), workspace, namespaceOf(workspace))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	player := newPlayer(cluster{client: stage.client})
	if !player.start(ctx) {
		t.Fatal("it does not start")
	}
	go player.work(ctx)
	phase := func() string {
		return statusText(stage.get(workspaces, workspace.GetNamespace(), workspace.GetName()), "phase")
	}
	become := func(wanted string) {
		t.Helper()
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 20*time.Second, true,
			func(context.Context) (bool, error) { return phase() == wanted, nil })
		if err != nil {
			t.Fatalf("it is %q, not %q", phase(), wanted)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if found := phase(); found != "" {
		t.Fatalf("without an operator, the workspace is %q", found)
	}
	setReplicas := func(count int64) {
		stage.change(deployments, operatorNamespace, operatorDeployment,
			func(deployment *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(deployment.Object, count, "spec", "replicas")
			})
	}
	setReplicas(1)
	become(stopped)

	if err := stage.client.Tracker().Delete(deployments, operatorNamespace, operatorDeployment); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 20*time.Second, true,
		func(context.Context) (bool, error) { return player.isStopped.Load(), nil })
	if err != nil {
		t.Fatal("it works on although its Deployment is gone")
	}
}
