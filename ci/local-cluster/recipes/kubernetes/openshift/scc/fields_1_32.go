//go:build kubernetes_1_32

package scc

import "k8s.io/kubernetes/pkg/apis/core"

// hostUseOf is what of the host the pod shares.
func hostUseOf(pod *core.Pod) hostUse {
	context := pod.Spec.SecurityContext
	if context == nil {
		return hostUse{}
	}
	return hostUse{context.HostNetwork, context.HostPID, context.HostIPC, context.HostUsers}
}
