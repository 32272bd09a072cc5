package devworkspace

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

// The claim that all workspaces of storage type per-user share, and what becomes
// of a workspace's files on it. Nothing of it was recorded: the rules are those of
// the operator's public sources (pkg/provision/storage, pkg/config/defaults.go and
// controllers/workspace/finalize.go), but for the image.
const (
	sharedClaim = "claim-devworkspace"
	sharedSize  = "10Gi"
	// sharedFolder is where the cleanup job has the claim.
	sharedFolder = "/tmp/devworkspaces/"
	// cleanupImage has a shell and rm, as the operator's own.
	cleanupImage = "localhost/workspace:1"
)

// isShared tells whether a workspace keeps its volumes on the claim of all.
func (template template) isShared() bool {
	return template.Attributes.StorageType == perUser
}

// usesSharedClaim tells whether the workspace has a volume on the claim of all.
func (in input) usesSharedClaim() bool {
	return in.template.isShared() && slices.ContainsFunc(in.template.Components, func(one component) bool {
		return one.Volume != nil && !one.Volume.Ephemeral
	})
}

// claimName is the name of the claim with the workspace's volumes.
func (in input) claimName() string {
	if in.template.isShared() {
		return sharedClaim
	}
	return claimName(in.id())
}

// folder is where a volume is on the claim.
func (in input) folder(volume string) string {
	if in.template.isShared() {
		return path.Join(in.id(), volume)
	}
	return volume
}

// sharedClaimIn belongs to no workspace, so that it stays as long as one needs it.
func sharedClaimIn(namespace string) *unstructured.Unstructured {
	return object(corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: sharedClaim, Namespace: namespace,
			Labels: map[string]string{labelVolumeType: perUser}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: resource.MustParse(sharedSize),
			}},
		},
	})
}

// keepUntilCleaned lets a workspace with files on the shared claim end only after
// these are deleted.
func (of *attempt) keepUntilCleaned(ctx context.Context) error {
	finalizers := of.workspace.GetFinalizers()
	if !of.template.isShared() || slices.Contains(finalizers, finalizerStorage) {
		return nil
	}
	changed := of.workspace.DeepCopy()
	changed.SetFinalizers(append(finalizers, finalizerStorage))
	stored, err := of.update(ctx, workspaces, changed)
	if err == nil {
		of.workspace = stored
	}
	return err
}

// finalizeStorage deletes a workspace's files on the shared claim, after its
// Deployment, and then lets the workspace end.
func (c cluster) finalizeStorage(
	ctx context.Context, workspace *unstructured.Unstructured, at time.Time,
) error {
	namespace, id := workspace.GetNamespace(), statusText(workspace, "devworkspaceId")
	workspace, err := c.tell(ctx, workspace, stillOf(workspace), at)
	if err != nil {
		return err
	}
	deployment, err := c.find(ctx, deployments, namespace, id)
	if err != nil {
		return err
	}
	if deployment != nil {
		// Its end is an event, which leads here again.
		return c.delete(ctx, deployments, namespace, id)
	}
	isEnding, err := c.isEnding(ctx, namespace)
	if err != nil {
		return err
	}
	isClean, failure := isEnding, ""
	if !isEnding {
		if isClean, failure, err = c.clean(ctx, workspace); err != nil {
			return err
		}
	}
	switch {
	case failure != "":
		found := cleaningUp()
		found.phase = erroneous
		found.set(conditionError, "True", "", failure)
		_, err = c.tell(ctx, workspace, found, at)
		return err
	case isClean:
		return c.release(ctx, workspace, finalizerStorage)
	}
	// The job's events lead here again.
	return nil
}

// stillOf is what is told of a workspace whose files are being deleted, or could
// not be.
func stillOf(workspace *unstructured.Unstructured) observed {
	found := cleaningUp()
	if statusText(workspace, "phase") == erroneous {
		found.phase = erroneous
		if why := find(conditionsOf(workspace), conditionError); why != nil {
			found.set(conditionError, why.status, why.reason, why.message)
		}
	}
	return found
}

// clean deletes the files by a job, or with the last workspace the whole claim. It
// tells whether that is done, and why it can't be.
func (c cluster) clean(
	ctx context.Context, workspace *unstructured.Unstructured,
) (isClean bool, failure string, err error) {
	namespace := workspace.GetNamespace()
	others, err := c.sharing(ctx, namespace)
	if err != nil {
		return false, "", err
	}
	if others == 0 {
		return true, "", c.delete(ctx, claims, namespace, sharedClaim)
	}
	claim, err := c.find(ctx, claims, namespace, sharedClaim)
	if err != nil || claim == nil {
		return claim == nil, "", err
	}
	in := input{workspace: workspace, template: templateOf(workspace), platform: c.on}
	found, err := c.find(ctx, jobs, namespace, cleanupName(in.id()))
	if err != nil {
		return false, "", err
	}
	if found != nil {
		isClean, failure = outcomeOf(found)
		return isClean, failure, nil
	}
	attempt := &attempt{cluster: c, input: in}
	unknown, err := attempt.readSurroundings(ctx)
	if err != nil {
		return false, "", err
	}
	if len(unknown) > 0 {
		return false, notRecorded(unknown), nil
	}
	return false, "", c.create(ctx, jobs, object(attempt.cleanupJob()))
}

// sharing counts the workspaces of a namespace that stay and may have files on the
// shared claim, started or not.
func (c cluster) sharing(ctx context.Context, namespace string) (int, error) {
	listed, err := c.list(ctx, workspaces, namespace, "")
	count := 0
	for _, one := range listed {
		kind := templateOf(&one).Attributes.StorageType
		isShared := slices.Contains([]string{"", "async", "common", perUser}, kind)
		if one.GetDeletionTimestamp() == nil && isShared {
			count++
		}
	}
	return count, err
}

// outcomeOf tells whether a cleanup job has done its work, and how it failed.
func outcomeOf(found *unstructured.Unstructured) (isClean bool, failure string) {
	var job batchv1.Job
	if err := into(found, &job); err != nil {
		return false, err.Error()
	}
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			return true, ""
		case batchv1.JobFailed:
			return false, fmt.Sprintf("DevWorkspace PVC cleanup job failed: see logs for job %q "+
				"for details", job.Name)
		}
	}
	return false, ""
}

// cleanupJob deletes the workspace's folder. Its pod has the pod's part of the
// security context and nothing else of a workspace: neither its user namespace nor
// its service account.
func (in input) cleanupJob() batchv1.Job {
	name := cleanupName(in.id())
	meta := in.meta(name)
	meta.Labels[labelCreator] = in.workspace.GetLabels()[labelCreator]
	if restricted, ok := in.workspace.GetAnnotations()[annotationRestricted]; ok {
		meta.Labels[annotationRestricted] = restricted
	}
	quantities := func(memory, cpu string) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourceCPU: resource.MustParse(cpu),
		}
	}
	pod := corev1.PodSpec{
		RestartPolicy:   corev1.RestartPolicyNever,
		SecurityContext: in.settings.PodContext,
		Affinity:        &corev1.Affinity{},
		Volumes: []corev1.Volume{{Name: sharedClaim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: sharedClaim},
		}}},
		Containers: []corev1.Container{{
			Name:    name,
			Image:   cleanupImage,
			Command: []string{"/bin/sh"},
			Args:    []string{"-c", "rm -rf " + path.Join(sharedFolder, in.id())},
			Resources: corev1.ResourceRequirements{
				Limits: quantities("100Mi", "50m"), Requests: quantities("32Mi", "5m"),
			},
			VolumeMounts: []corev1.VolumeMount{{Name: sharedClaim, MountPath: sharedFolder}},
		}},
	}
	return batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			Completions:  ptr.To[int32](1),
			BackoffLimit: ptr.To[int32](3),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels}, Spec: pod,
			},
		},
	}
}
