package devworkspace

import (
	"context"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// rounds is how often one event may lead to something being made, which then is
// looked at: more than a workspace has objects.
const rounds = 30

// reconcile brings a workspace one event further. An error asks to be called
// again, and so does a duration: after it, for a workspace that makes no progress.
func (c cluster) reconcile(
	ctx context.Context, namespace, name string, now func() time.Time,
) (time.Duration, error) {
	workspace, err := c.find(ctx, workspaces, namespace, name)
	if err != nil || workspace == nil {
		return 0, err
	}
	if workspace.GetDeletionTimestamp() != nil {
		return 0, c.finalize(ctx, workspace, now())
	}
	phase := statusText(workspace, "phase")
	switch {
	case statusText(workspace, "devworkspaceId") == "":
		changed := workspace.DeepCopy()
		setStatus(changed, "devworkspaceId", workspaceID(workspace.GetUID()))
		_, err = c.updateStatus(ctx, workspaces, changed)
		return 0, err
	case phase == failing && isStarted(workspace):
		// One that fails is stopped.
		patch := []byte(`{"spec":{"started":false}}`)
		_, err = c.of(workspaces, namespace).Patch(
			ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return 0, err
	case !isStarted(workspace):
		return 0, c.stop(ctx, workspace, now())
	case phase != starting && phase != running:
		_, err = c.updateStatus(ctx, workspaces, justStarted(workspace, now()))
		return 0, err
	}
	return c.start(ctx, workspace, now)
}

// start makes what a workspace needs to run, until it runs or has to wait.
func (c cluster) start(
	ctx context.Context, workspace *unstructured.Unstructured, now func() time.Time,
) (time.Duration, error) {
	attempt := &attempt{cluster: c, input: input{workspace: workspace, platform: c.on}}
	for range rounds {
		found, result, failure := attempt.perform(ctx)
		if late := overdue(attempt.workspace, found, now()); failure == nil && late != "" {
			found.phase = failing
			found.set(conditionFailed, "True", "InfrastructureFailure", late)
			result = fails
		}
		stored, err := c.tell(ctx, attempt.workspace, found, now())
		if err != nil {
			return 0, err
		}
		if attempt.workspace = stored; failure != nil {
			return 0, failure
		}
		switch result {
		case done:
			return 0, c.noteStart(ctx, stored, now())
		case waits:
			limit, _ := time.ParseDuration(progressTimeout)
			return limit + time.Second, nil
		case fails:
			// The status is an event, which stops the workspace.
			return 0, nil
		}
	}
	return time.Second, nil
}

// tell stores what was found of a workspace, if that is new.
func (c cluster) tell(
	ctx context.Context, workspace *unstructured.Unstructured, found observed, at time.Time,
) (*unstructured.Unstructured, error) {
	changed := withStatus(workspace, found, at)
	if isPartOf(changed.Object["status"], workspace.Object["status"]) {
		return workspace, nil
	}
	return c.updateStatus(ctx, workspaces, changed)
}

// noteStart notes when a workspace has come to run.
func (c cluster) noteStart(
	ctx context.Context, workspace *unstructured.Unstructured, at time.Time,
) error {
	annotations := workspace.GetAnnotations()
	if _, ok := annotations[annotationStartedAt]; ok {
		return nil
	}
	since := map[string]string{annotationStartedAt: strconv.FormatInt(at.UnixMilli(), 10)}
	changed := workspace.DeepCopy()
	added(&annotations, since)
	changed.SetAnnotations(annotations)
	_, err := c.update(ctx, workspaces, changed)
	return err
}

// stop ends a workspace's pod. One that has failed stays so.
func (c cluster) stop(ctx context.Context, workspace *unstructured.Unstructured, at time.Time) error {
	if annotations := workspace.GetAnnotations(); annotations[annotationStartedAt] != "" {
		changed := workspace.DeepCopy()
		delete(annotations, annotationStartedAt)
		changed.SetAnnotations(annotations)
		stored, err := c.update(ctx, workspaces, changed)
		if err != nil {
			return err
		}
		workspace = stored
	}
	isStopped, err := c.halt(ctx, workspace)
	if err != nil {
		return err
	}
	found := observed{phase: stopping}
	phase := statusText(workspace, "phase")
	hasFailed := phase == failing || phase == failed
	if hasFailed {
		found.phase = phase
		if why := find(conditionsOf(workspace), conditionFailed); why != nil {
			found.set(conditionFailed, why.status, why.reason, why.message)
		}
	}
	switch {
	case isStopped && hasFailed:
		found.phase = failed
		found.isNot(conditionStarted, "Workspace stopped due to error")
	case isStopped:
		found.phase = stopped
		found.isNot(conditionStarted, "Workspace is stopped")
	}
	_, err = c.tell(ctx, workspace, found, at)
	return err
}

// halt scales a workspace's Deployment to nothing, and tells whether nothing is
// left of it.
func (c cluster) halt(ctx context.Context, workspace *unstructured.Unstructured) (bool, error) {
	id, namespace := statusText(workspace, "devworkspaceId"), workspace.GetNamespace()
	if err := c.haltRouting(ctx, id, namespace); err != nil {
		return false, err
	}
	found, err := c.find(ctx, deployments, namespace, id)
	if err != nil || found == nil {
		return found == nil, err
	}
	var deployment appsv1.Deployment
	if err := into(found, &deployment); err != nil {
		return false, err
	}
	if ptr.Deref(deployment.Spec.Replicas, 1) > 0 {
		patch := []byte(`{"spec":{"replicas":0}}`)
		_, err := c.of(deployments, namespace).Patch(
			ctx, id, types.MergePatchType, patch, metav1.PatchOptions{})
		return false, err
	}
	return deployment.Status.Replicas == 0, nil
}

func (c cluster) haltRouting(ctx context.Context, id, namespace string) error {
	found, err := c.find(ctx, routings, namespace, routingName(id))
	if err != nil || found == nil {
		return err
	}
	if annotations := found.GetAnnotations(); annotations[annotationStarted] != "false" {
		added(&annotations, map[string]string{annotationStarted: "false"})
		found.SetAnnotations(annotations)
		if found, err = c.update(ctx, routings, found); err != nil {
			return err
		}
	}
	if statusText(found, "phase") == "Stopped" {
		return nil
	}
	return c.tellRouting(ctx, found, "Stopped", "DevWorkspace is not started")
}

// finalize takes away what outlives a workspace, by the first finalizer that it
// still has. A namespace that ends takes all of it along, as in the recording;
// otherwise the rules are those of the operator's sources
// (controllers/workspace/finalize.go).
func (c cluster) finalize(
	ctx context.Context, workspace *unstructured.Unstructured, at time.Time,
) error {
	for _, finalizer := range workspace.GetFinalizers() {
		switch finalizer {
		case finalizerStorage:
			return c.finalizeStorage(ctx, workspace, at)
		case finalizerRBAC:
			return c.finalizeRights(ctx, workspace, at)
		}
	}
	return nil
}

// finalizeRights takes a workspace's place in the bindings that it shares, and
// with the last workspace of a namespace also roles and bindings. What it owns
// goes with it (pkg/provision/workspace/rbac/finalize.go).
func (c cluster) finalizeRights(
	ctx context.Context, workspace *unstructured.Unstructured, at time.Time,
) error {
	isEnding, err := c.isEnding(ctx, workspace.GetNamespace())
	if err != nil {
		return err
	}
	if !isEnding {
		if workspace, err = c.tell(ctx, workspace, cleaningUp(), at); err != nil {
			return err
		}
		if err := c.takeRights(ctx, workspace); err != nil {
			return err
		}
	}
	return c.release(ctx, workspace, finalizerRBAC)
}

// cleaningUp is what is told of a workspace that is being deleted.
func cleaningUp() observed {
	found := observed{phase: terminating}
	found.is(conditionStarted, "Cleaning up resources for deletion")
	return found
}

func (c cluster) isEnding(ctx context.Context, name string) (bool, error) {
	namespace, err := c.find(ctx, namespaces, "", name)
	return namespace == nil || namespace.GetDeletionTimestamp() != nil, err
}

// release takes a finalizer from a workspace.
func (c cluster) release(
	ctx context.Context, workspace *unstructured.Unstructured, finalizer string,
) error {
	changed := workspace.DeepCopy()
	changed.SetFinalizers(slices.DeleteFunc(changed.GetFinalizers(),
		func(one string) bool { return one == finalizer }))
	_, err := c.update(ctx, workspaces, changed)
	return err
}

// takeRights takes from the workspace's service account what it was given. It may
// be called again after it was interrupted.
func (c cluster) takeRights(ctx context.Context, workspace *unstructured.Unstructured) error {
	namespace, constraint := workspace.GetNamespace(), constraintOf(workspace)
	others, sameConstraint, err := c.others(ctx, namespace, constraint)
	if err != nil {
		return err
	}
	type shared struct {
		role, binding string
		isLast        bool
	}
	all := []shared{{defaultRole, defaultBinding, others == 0}}
	if name := constraintRole(constraint); constraint != "" {
		all = append(all, shared{name, name, sameConstraint == 0})
	}
	if c.on.hasRegistry() {
		all = append(all, shared{"", pullerBinding(namespace), others == 0})
	}
	for _, one := range all {
		if !one.isLast {
			id := statusText(workspace, "devworkspaceId")
			if err := c.unbind(ctx, one.binding, subjectOf(id, namespace)); err != nil {
				return err
			}
			continue
		}
		if one.role != "" {
			if err := c.delete(ctx, roles, namespace, one.role); err != nil {
				return err
			}
		}
		if err := c.delete(ctx, bindings, namespace, one.binding); err != nil {
			return err
		}
	}
	return nil
}

// others counts the workspaces of a namespace that stay, and those of them with
// the same constraint.
func (c cluster) others(
	ctx context.Context, namespace, constraint string,
) (all, sameConstraint int, err error) {
	listed, err := c.list(ctx, workspaces, namespace, "")
	for _, one := range listed {
		if one.GetDeletionTimestamp() != nil {
			continue
		}
		all++
		if constraintOf(&one) == constraint {
			sameConstraint++
		}
	}
	return all, sameConstraint, err
}

func (c cluster) unbind(ctx context.Context, name string, subject rbacv1.Subject) error {
	found, err := c.find(ctx, bindings, subject.Namespace, name)
	if err != nil || found == nil {
		return err
	}
	var read rbacv1.RoleBinding
	if err := into(found, &read); err != nil {
		return err
	}
	subjects, isChanged := withoutSubject(read.Subjects, subject)
	if !isChanged {
		return nil
	}
	read.Subjects = subjects
	_, err = c.update(ctx, bindings, object(read))
	return err
}
