package devworkspace

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// onSharedClaim is the recorded workspace that keeps files, as one of storage type
// per-user, and another one in its namespace that is not started.
func onSharedClaim(t *testing.T) (stage *stage, workspace, other *unstructured.Unstructured) {
	t.Helper()
	events := recording(t)
	workspace, other = created(t, events, "ws-12"), created(t, events, "ws-10d")
	for _, one := range []*unstructured.Unstructured{workspace, other} {
		put(t, one.Object, `"per-user"`, "spec", "template", "attributes", attributeStorageType)
	}
	setStarted(false)(other)
	objects := append(mountedBy(first(t, events, "Deployment", "workspace8ea44ca307b045ba")),
		workspace.DeepCopy(), other.DeepCopy(), namespaceOf(workspace),
		first(t, events, "DevWorkspaceOperatorConfig", globalConfig),
		first(t, events, "DevWorkspaceOperatorConfig", configOf["ws-12"]))
	stage = onStage(t, objects...)
	stage.mustSettle(workspace)
	return stage, workspace, other
}

func (stage *stage) cleanup(workspace *unstructured.Unstructured) *batchv1.Job {
	stage.t.Helper()
	found := stage.get(jobs, workspace.GetNamespace(), cleanupName(workspaceID(workspace.GetUID())))
	if found == nil {
		return nil
	}
	var job batchv1.Job
	if err := into(found, &job); err != nil {
		stage.t.Fatal(err)
	}
	return &job
}

// ended lets the cleanup job end with a condition.
func (stage *stage) ended(workspace *unstructured.Unstructured, condition string) {
	stage.t.Helper()
	stage.change(jobs, workspace.GetNamespace(), stage.cleanup(workspace).Name,
		func(job *unstructured.Unstructured) {
			job.Object["status"] = map[string]any{"conditions": []any{
				map[string]any{"type": condition, "status": "True"},
			}}
		})
	stage.mustSettle(workspace)
}

func (stage *stage) finalizers(workspace *unstructured.Unstructured) string {
	stage.t.Helper()
	now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
	return strings.Join(now.GetFinalizers(), " ")
}

func TestWorkspacesOfAUserShareAClaim(t *testing.T) {
	stage, workspace, _ := onSharedClaim(t)
	claim := stage.get(claims, workspace.GetNamespace(), sharedClaim)
	if claim == nil || len(claim.GetOwnerReferences()) > 0 {
		t.Fatalf("the claim is %v", claim)
	}
	if found := stage.finalizers(workspace); found != finalizerStorage+" "+finalizerRBAC {
		t.Errorf("finalizers %s", found)
	}
	id := workspaceID(workspace.GetUID())
	deployment := stage.get(deployments, workspace.GetNamespace(), id)
	text, _ := deployment.MarshalJSON()
	if !strings.Contains(string(text), `"subPath":"`+id+`/storage"`) {
		t.Errorf("its volume is no folder of its own: %s", text)
	}
	if !strings.Contains(string(text), `"volumeMounts":[{"mountPath":"/tmp/workspace-storage",`+
		`"name":"claim-devworkspace","subPath":"`+id+`"}`) {
		t.Errorf("its own folder is not the first mount: %s", text)
	}
}

func TestAWorkspaceEndsAfterItsFiles(t *testing.T) {
	stage, workspace, _ := onSharedClaim(t)
	stage.marked(workspace)
	stage.mustSettle(workspace)
	stage.is(workspace, terminating)
	id := workspaceID(workspace.GetUID())
	if stage.get(deployments, workspace.GetNamespace(), id) != nil {
		t.Error("its Deployment is left")
	}
	job := stage.cleanup(workspace)
	if job == nil {
		t.Fatal("no job deletes its files")
	}
	pod := job.Spec.Template.Spec
	if arguments := pod.Containers[0].Args; arguments[1] != "rm -rf /tmp/devworkspaces/"+id {
		t.Errorf("the job runs %v", arguments)
	}
	if pod.HostUsers != nil || pod.ServiceAccountName != "" || pod.Containers[0].SecurityContext != nil {
		t.Errorf("the job has more of a workspace than the pod's security context: %+v", pod)
	}
	stage.ended(workspace, "Complete")
	if found := stage.finalizers(workspace); found != "" {
		t.Errorf("finalizers %s", found)
	}
	if stage.get(claims, workspace.GetNamespace(), sharedClaim) == nil {
		t.Error("the claim of the other workspace is gone")
	}
}

func TestAWorkspaceWhoseFilesCanNotBeDeletedStays(t *testing.T) {
	stage, workspace, _ := onSharedClaim(t)
	stage.marked(workspace)
	stage.mustSettle(workspace)
	stage.ended(workspace, "Failed")
	stage.is(workspace, erroneous)
	now := stage.get(workspaces, workspace.GetNamespace(), workspace.GetName())
	wanted := `DevWorkspace PVC cleanup job failed: see logs for job "` +
		cleanupName(workspaceID(workspace.GetUID())) + `" for details`
	if found := statusText(now, "message"); found != wanted {
		t.Errorf("its message is %q", found)
	}
	if found := stage.finalizers(workspace); !strings.Contains(found, finalizerStorage) {
		t.Errorf("finalizers %s", found)
	}
}

func TestTheLastWorkspaceTakesTheClaimAlong(t *testing.T) {
	stage, workspace, other := onSharedClaim(t)
	if err := stage.client.Tracker().Delete(workspaces, other.GetNamespace(), other.GetName()); err != nil {
		t.Fatal(err)
	}
	stage.marked(workspace)
	stage.mustSettle(workspace)
	if stage.cleanup(workspace) != nil || stage.get(claims, workspace.GetNamespace(), sharedClaim) != nil {
		t.Error("the claim is left, or a job cleans it")
	}
	if found := stage.finalizers(workspace); found != "" {
		t.Errorf("finalizers %s", found)
	}
}
