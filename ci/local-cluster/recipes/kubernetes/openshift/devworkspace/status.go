package devworkspace

import (
	"slices"
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Phases of a workspace.
const (
	starting    = "Starting"
	running     = "Running"
	stopping    = "Stopping"
	stopped     = "Stopped"
	failing     = "Failing"
	failed      = "Failed"
	terminating = "Terminating"
	erroneous   = "Error"
)

// Types of conditions, in the order in which a workspace starts.
const (
	conditionStarted    = "Started"
	conditionResolved   = "DevWorkspaceResolved"
	conditionStorage    = "StorageReady"
	conditionRouting    = "RoutingReady"
	conditionAccount    = "ServiceAccountReady"
	conditionSecrets    = "PullSecretsReady"
	conditionDeployment = "DeploymentReady"
	conditionReady      = "Ready"
	// Before all others, where a workspace has failed or can't be deleted.
	conditionFailed = "FailedStart"
	conditionError  = "Error"
)

var conditionOrder = []string{
	conditionError, conditionFailed, conditionStarted, conditionResolved, conditionStorage, conditionRouting,
	conditionAccount, conditionSecrets, conditionDeployment, conditionReady,
}

// condition is one of a workspace's conditions.
type condition struct {
	kind, status, reason, message, since string
}

// observed is what was found of a workspace this time.
type observed struct {
	phase      string
	conditions []condition
}

func (now *observed) is(kind, message string)    { now.set(kind, "True", "", message) }
func (now *observed) isNot(kind, message string) { now.set(kind, "False", "", message) }

func (now *observed) set(kind, status, reason, message string) {
	now.conditions = append(now.conditions,
		condition{kind: kind, status: status, reason: reason, message: message})
}

func (now *observed) find(kind string) *condition {
	return find(now.conditions, kind)
}

func find(list []condition, kind string) *condition {
	index := slices.IndexFunc(list, func(one condition) bool { return one.kind == kind })
	if index < 0 {
		return nil
	}
	return &list[index]
}

// message is what a workspace says of itself: why it has failed, what it waits
// for, or the last step that it has done.
func (now *observed) message() string {
	for _, kind := range []string{conditionError, conditionFailed} {
		if one := now.find(kind); one != nil {
			return one.message
		}
	}
	switch now.phase {
	case running:
		return "Workspace is running"
	case stopping, stopped:
		return now.phase
	}
	last := ""
	for _, kind := range conditionOrder {
		one := now.find(kind)
		if one != nil && one.status == "False" {
			return one.message
		}
		if one != nil && one.status == "True" {
			last = one.message
		}
	}
	return last
}

// merge is the conditions of a workspace after what was found of it: those that
// were not looked at are unknown, and only a change has a new time.
func merge(old, now []condition, at time.Time) []condition {
	since := at.UTC().Format(time.RFC3339)
	var merged []condition
	for _, one := range old {
		next := condition{kind: one.kind, status: "Unknown"}
		if found := find(now, one.kind); found != nil {
			next = *found
		}
		next.since = one.since
		isSame := next == one || one.status == "Unknown" && next.status == "Unknown"
		if !isSame {
			next.since = since
		}
		merged = append(merged, next)
	}
	for _, one := range now {
		if find(old, one.kind) == nil {
			one.since = since
			merged = append(merged, one)
		}
	}
	sort.SliceStable(merged, func(a, b int) bool {
		return slices.Index(conditionOrder, merged[a].kind) < slices.Index(conditionOrder, merged[b].kind)
	})
	return merged
}

func conditionsOf(workspace *unstructured.Unstructured) []condition {
	list, _, _ := unstructured.NestedSlice(workspace.Object, "status", "conditions")
	var read []condition
	for _, item := range list {
		fields, _ := item.(map[string]any)
		text := func(name string) string {
			value, _ := fields[name].(string)
			return value
		}
		read = append(read, condition{
			kind: text("type"), status: text("status"), reason: text("reason"),
			message: text("message"), since: text("lastTransitionTime"),
		})
	}
	return read
}

// withStatus is the workspace with what was found of it.
func withStatus(
	workspace *unstructured.Unstructured, now observed, at time.Time,
) *unstructured.Unstructured {
	changed := workspace.DeepCopy()
	list := []any{}
	for _, one := range merge(conditionsOf(workspace), now.conditions, at) {
		item := map[string]any{
			"type": one.kind, "status": one.status, "lastTransitionTime": one.since,
		}
		if one.message != "" {
			item["message"] = one.message
		}
		if one.reason != "" {
			item["reason"] = one.reason
		}
		list = append(list, item)
	}
	setStatus(changed, "conditions", list)
	setStatus(changed, "phase", now.phase)
	setStatus(changed, "message", now.message())
	return changed
}

// justStarted is the status of a workspace that is to run, before anything is done.
func justStarted(workspace *unstructured.Unstructured, at time.Time) *unstructured.Unstructured {
	emptied := workspace.DeepCopy()
	unstructured.RemoveNestedField(emptied.Object, "status", "conditions")
	now := observed{phase: starting}
	now.is(conditionStarted, "DevWorkspace is starting")
	changed := withStatus(emptied, now, at)
	setStatus(changed, "message", "Initializing DevWorkspace")
	return changed
}

func setStatus(object *unstructured.Unstructured, field string, value any) {
	status, _ := object.Object["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
		object.Object["status"] = status
	}
	status[field] = value
}

// overdue is the message of a workspace that has stood still for too long, or "".
func overdue(workspace *unstructured.Unstructured, now observed, at time.Time) string {
	limit, _ := time.ParseDuration(progressTimeout)
	var last time.Time
	for _, one := range conditionsOf(workspace) {
		if since, err := time.Parse(time.RFC3339, one.since); err == nil && since.After(last) {
			last = since
		}
	}
	isStarting := now.phase == starting && statusText(workspace, "phase") == starting
	if !isStarting || last.IsZero() || !last.Add(limit).Before(at) {
		return ""
	}
	return "DevWorkspace failed to progress past step '" + now.message() +
		"' for longer than timeout (" + progressTimeout + ")"
}
