package devworkspace

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// What a Deployment or a container says where it will not get well
// (devfile/devworkspace-operator, pkg/library/status/check.go).
var (
	hopelessConditions = []string{"FailedCreate", "ProgressDeadlineExceeded"}
	hopelessContainers = []string{
		"CrashLoopBackOff", "ImagePullBackOff", "CreateContainerError", "RunContainerError",
	}
)

// hopeless is why a Deployment will not get ready, or "".
func hopeless(deployment appsv1.Deployment, pods []corev1.Pod) string {
	for _, condition := range deployment.Status.Conditions {
		if slices.Contains(hopelessConditions, condition.Reason) {
			return "Detected unrecoverable deployment condition: " +
				condition.Reason + " " + condition.Message
		}
	}
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			if reason := hopelessReason(status.State); reason != "" {
				return "Container " + status.Name + " has state " + reason
			}
		}
	}
	return ""
}

func hopelessReason(state corev1.ContainerState) string {
	if waiting := state.Waiting; waiting != nil && slices.Contains(hopelessContainers, waiting.Reason) {
		return waiting.Reason
	}
	ended := state.Terminated
	if ended != nil && slices.Contains(hopelessContainers, ended.Reason) {
		return ended.Reason
	}
	return ""
}
