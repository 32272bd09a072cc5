//go:build !kubernetes_1_32

package scc

import "k8s.io/kubernetes/pkg/apis/core"

// hostUseOf is what of the host the pod shares. Newer Kubernetes keeps these
// fields in the internal pod where its users see them, in the spec.
func hostUseOf(pod *core.Pod) hostUse {
	return hostUse{pod.Spec.HostNetwork, pod.Spec.HostPID, pod.Spec.HostIPC, pod.Spec.HostUsers}
}
