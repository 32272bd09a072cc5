package devworkspace

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"
)

// An outcome is what became of a step.
type outcome int

const (
	// done: the next step may follow.
	done outcome = iota
	// again: something was made, look again at once.
	again
	// waits: an event will tell when to look again.
	waits
	// fails: the workspace can't start.
	fails
)

// A step of starting a workspace, in the order in which the operator was
// recorded to make it.
type step struct {
	// condition that tells of it, and its messages once done and before.
	condition, done, before string
	// hint is how the message of a failure begins, reason is its kind.
	hint, reason string
	// do looks at the step, and does it. The text is more about a wait or a failure.
	do func(of *attempt, ctx context.Context) (outcome, string, error)
}

var steps = []step{
	{do: (*attempt).hasCreator, reason: "WorkspaceEngineFailure"},
	{do: (*attempt).isRecorded, reason: "NotRecorded", condition: conditionResolved,
		done: "Resolved plugins and parents from DevWorkspace"},
	{do: (*attempt).hasContainers, hint: "Error processing devfile: ", reason: "BadRequest"},
	{do: (*attempt).syncAskpass},
	{do: (*attempt).syncStorage, hint: "Error provisioning storage: ", condition: conditionStorage,
		done: "Storage ready", before: "Provisioning storage: "},
	{do: (*attempt).syncPermissions, hint: "Error provisioning rbac: "},
	{do: (*attempt).syncRouting, hint: "Failed to set up networking for workspace: ",
		condition: conditionRouting, done: "Networking ready", before: "Preparing networking"},
	{do: (*attempt).syncMetadata, hint: "Error provisioning metadata configmap: "},
	{do: (*attempt).syncAccount, hint: "Error setting up DevWorkspace ServiceAccount: ",
		condition: conditionAccount, done: "DevWorkspace serviceaccount ready",
		before: "Waiting for DevWorkspace ServiceAccount"},
	{do: (*attempt).hasPullSecrets, condition: conditionSecrets, done: "DevWorkspace secrets ready"},
	{do: (*attempt).syncDeployment, hint: "Error creating DevWorkspace deployment: ",
		condition: conditionDeployment, done: "DevWorkspace deployment ready",
		before: "Waiting for workspace deployment"},
}

// attempt is one attempt to start a workspace.
type attempt struct {
	cluster
	input
}

// perform does the steps until one is not done, and returns what was observed.
func (of *attempt) perform(ctx context.Context) (observed, outcome, error) {
	now := observed{phase: starting}
	now.is(conditionStarted, "DevWorkspace is starting")
	for _, step := range steps {
		result, more, err := step.do(of, ctx)
		if apierrors.IsInvalid(err) {
			result, more, err = fails, err.Error(), nil
		}
		if err != nil {
			return now, waits, err
		}
		if result == done {
			if step.condition != "" {
				now.is(step.condition, step.done)
			}
			continue
		}
		step.tell(&now, result, more)
		return now, result, nil
	}
	now.is(conditionReady, "")
	now.phase = running
	return now, done, nil
}

// tell notes a step that is not done.
func (step step) tell(now *observed, result outcome, more string) {
	before := step.before
	if result != fails && more != "" && step.condition == conditionRouting {
		before = more
	} else if step.condition == conditionStorage {
		before += more
	}
	if before != "" {
		now.isNot(step.condition, before)
	}
	if result == fails {
		reason := step.reason
		if reason == "" {
			reason = "InfrastructureFailure"
		}
		now.phase = failing
		now.set(conditionFailed, "True", reason, step.hint+more)
	}
}

// hasCreator looks for the label that the webhook sets.
func (of *attempt) hasCreator(context.Context) (outcome, string, error) {
	_, ok := of.workspace.GetLabels()[labelCreator]
	if !ok && of.workspace.GetAnnotations()[annotationRestricted] == "true" {
		return fails, "DevWorkspace was created without creator ID label. " +
			"It must be recreated to resolve the issue", nil
	}
	return done, "", nil
}

// isRecorded refuses what the recording does not have, and reads what the next
// steps need.
func (of *attempt) isRecorded(ctx context.Context) (outcome, string, error) {
	if of.maps != nil {
		return done, "", nil
	}
	found := unknown(of.workspace)
	if len(found) == 0 {
		of.template = templateOf(of.workspace)
		more, err := of.readSurroundings(ctx)
		if err != nil {
			return waits, "", err
		}
		found = more
	}
	if len(found) > 0 {
		message := notRecorded(found)
		klog.InfoS(message, "workspace", klog.KObj(of.workspace))
		return fails, message, nil
	}
	return done, "", nil
}

// readSurroundings reads the configuration and what the namespace says about all
// its workspaces. It names what the recording does not have of them.
func (of *attempt) readSurroundings(ctx context.Context) ([]string, error) {
	namespace := of.workspace.GetNamespace()
	global, err := of.find(ctx, configs, operatorNamespace, globalConfig)
	if err != nil {
		return nil, err
	}
	var found []string
	var own *unstructured.Unstructured
	if named := of.template.Attributes.Config; named != nil {
		if own, err = of.find(ctx, configs, named.Namespace, named.Name); err != nil {
			return nil, err
		}
		if own == nil {
			found = append(found, fmt.Sprintf(
				"DevWorkspaceOperatorConfig %s/%s (absent)", named.Namespace, named.Name))
		}
	}
	var unknown []string
	of.settings, unknown = resolve(of.on, global, own)
	found = append(found, unknown...)
	home, err := of.find(ctx, namespaces, "", namespace)
	if err != nil {
		return nil, err
	}
	if home != nil {
		found = append(found, unknownNamespace(home)...)
	}
	for _, read := range []func(context.Context, string) ([]string, error){of.readMounts, of.readMaps} {
		unknown, err := read(ctx, namespace)
		if err != nil {
			return nil, err
		}
		found = append(found, unknown...)
	}
	return found, nil
}

// readMounts names what else the operator would mount: secrets and claims.
func (of *attempt) readMounts(ctx context.Context, namespace string) ([]string, error) {
	var found []string
	kept, err := of.list(ctx, secrets, namespace, "")
	if err != nil {
		return nil, err
	}
	for _, secret := range kept {
		for name := range secret.GetLabels() {
			if strings.HasPrefix(name, prefix) {
				found = append(found, "Secret "+secret.GetName()+": metadata.labels."+name)
			}
		}
	}
	volumes, err := of.list(ctx, claims, namespace, labelMount)
	if err != nil {
		return nil, err
	}
	for _, claim := range volumes {
		found = append(found,
			"PersistentVolumeClaim "+claim.GetName()+": metadata.labels."+labelMount)
	}
	slices.Sort(found)
	return found, nil
}

// readMaps reads the ConfigMaps that workspaces mount.
func (of *attempt) readMaps(ctx context.Context, namespace string) ([]string, error) {
	listed, err := of.list(ctx, configMaps, namespace, labelMount+"=true,"+labelWatchMap+"=true")
	if err != nil {
		return nil, err
	}
	var found []string
	of.maps = []corev1.ConfigMap{}
	for _, one := range listed {
		var read corev1.ConfigMap
		if err := into(&one, &read); err != nil {
			return nil, err
		}
		of.maps = append(of.maps, read)
		found = append(found, unknownMap(&read)...)
	}
	return found, nil
}

func (of *attempt) hasContainers(context.Context) (outcome, string, error) {
	if _, err := of.containers(); err != nil {
		return fails, err.Error(), nil
	}
	return done, "", nil
}

func (of *attempt) syncAskpass(ctx context.Context) (outcome, string, error) {
	_, err := of.sync(ctx, configMaps, askpass(of.workspace.GetNamespace()))
	return done, "", err
}

// syncStorage makes the claim. One that is there is left as it is; one that is
// being deleted can't be used.
func (of *attempt) syncStorage(ctx context.Context) (outcome, string, error) {
	if !of.needsClaim() {
		return done, "", nil
	}
	if err := of.keepUntilCleaned(ctx); err != nil {
		return waits, "", err
	}
	wanted := of.claim()
	found, err := of.find(ctx, claims, wanted.GetNamespace(), wanted.GetName())
	switch {
	case err != nil:
		return waits, "", err
	case found == nil:
		updated := fmt.Sprintf("Updated %s PVC on cluster", wanted.GetName())
		return again, updated, of.create(ctx, claims, wanted)
	case found.GetDeletionTimestamp() != nil:
		return fails, "DevWorkspace PVC is being deleted", nil
	}
	return done, "", nil
}

// syncPermissions makes roles and bindings, after the finalizer that takes them
// away again.
func (of *attempt) syncPermissions(ctx context.Context) (outcome, string, error) {
	finalizers := of.workspace.GetFinalizers()
	if !slices.Contains(finalizers, finalizerRBAC) {
		changed := of.workspace.DeepCopy()
		changed.SetFinalizers(append(finalizers, finalizerRBAC))
		stored, err := of.update(ctx, workspaces, changed)
		if err != nil {
			return waits, "", err
		}
		of.workspace = stored
	}
	for _, role := range of.roles() {
		if found, err := of.sync(ctx, roles, role); found == nil {
			return again, "", err
		}
	}
	for _, binding := range of.bindings() {
		if isBound, err := of.bind(ctx, binding); !isBound {
			return again, "", err
		}
	}
	return done, "", nil
}

// bind puts the workspace's service account into a binding. It tells whether it
// was there already.
func (of *attempt) bind(ctx context.Context, binding rbacv1.RoleBinding) (bool, error) {
	subject := subjectOf(of.id(), binding.Namespace)
	found, err := of.find(ctx, bindings, binding.Namespace, binding.Name)
	if err != nil {
		return false, err
	}
	if found == nil {
		binding.Subjects = []rbacv1.Subject{subject}
		return false, of.create(ctx, bindings, object(binding))
	}
	var read rbacv1.RoleBinding
	if err := into(found, &read); err != nil {
		return false, err
	}
	subjects, isNew := withSubject(read.Subjects, subject)
	if !isNew {
		return true, nil
	}
	read.Subjects = subjects
	_, err = of.update(ctx, bindings, object(read))
	return false, err
}

// syncRouting makes the DevWorkspaceRouting, and then plays its controller too,
// which calls it ready.
func (of *attempt) syncRouting(ctx context.Context) (outcome, string, error) {
	found, err := of.sync(ctx, routings, of.routing())
	if err != nil || found == nil {
		return again, "", err
	}
	if statusText(found, "phase") == "Ready" {
		return done, "", nil
	}
	before := statusText(found, "message")
	return again, before, of.tellRouting(ctx, found, "Ready", "DevWorkspaceRouting prepared")
}

// tellRouting sets the status of a DevWorkspaceRouting.
func (c cluster) tellRouting(
	ctx context.Context, routing *unstructured.Unstructured, phase, message string,
) error {
	changed := routing.DeepCopy()
	setStatus(changed, "phase", phase)
	setStatus(changed, "message", message)
	_, err := c.updateStatus(ctx, routings, changed)
	return err
}

func (of *attempt) syncMetadata(ctx context.Context) (outcome, string, error) {
	wanted, err := of.metadataMap()
	if err == nil {
		_, err = of.sync(ctx, configMaps, wanted)
	}
	return done, "", err
}

func (of *attempt) syncAccount(ctx context.Context) (outcome, string, error) {
	found, err := of.sync(ctx, accounts, of.account())
	if err != nil || found == nil {
		return again, "", err
	}
	of.pullSecrets = pullSecretsOf(found)
	return done, "", nil
}

// hasPullSecrets is always done: syncAccount names the secret at once.
func (of *attempt) hasPullSecrets(context.Context) (outcome, string, error) {
	return done, "", nil
}

func (of *attempt) syncDeployment(ctx context.Context) (outcome, string, error) {
	wanted, err := of.deployment()
	if err != nil {
		return fails, "Error while creating workspace deployment: " + err.Error(), nil
	}
	found, err := of.sync(ctx, deployments, object(wanted))
	if err != nil || found == nil {
		// Its own events ask again.
		return waits, "", err
	}
	var read appsv1.Deployment
	if err := into(found, &read); err != nil {
		return waits, "", err
	}
	if read.Status.ReadyReplicas > 0 {
		return done, "", nil
	}
	listed, err := of.list(ctx, pods, wanted.Namespace, labelID+"="+of.id())
	if err != nil {
		return waits, "", err
	}
	mine := make([]corev1.Pod, len(listed))
	for index := range listed {
		if err := into(&listed[index], &mine[index]); err != nil {
			return waits, "", err
		}
	}
	if why := hopeless(read, mine); why != "" {
		return fails, why, nil
	}
	return waits, "", nil
}

// into reads an object as one of a type.
func into(object *unstructured.Unstructured, typed any) error {
	written, err := json.Marshal(object.Object)
	if err != nil {
		return err
	}
	return json.Unmarshal(written, typed)
}
