package devworkspace

import "fmt"

// A platform is what the operator finds its cluster to be. The recording is of
// OpenShift. What differs on Kubernetes is from the operator's public sources:
// every place in them that asks for the platform.
type platform int

const (
	onOpenShift platform = iota
	onKubernetes
)

// platforms are the values of the option.
var platforms = map[string]platform{"openshift": onOpenShift, "kubernetes": onKubernetes}

func platformOf(name string) (platform, error) {
	found, ok := platforms[name]
	if !ok {
		return found, fmt.Errorf("--platform: %q is neither openshift nor kubernetes", name)
	}
	return found, nil
}

// What the operator takes where no configuration says anything
// (devfile/devworkspace-operator, pkg/config/defaults.go). On OpenShift the SCC
// gives a pod its user.
const (
	openShiftPodContext       = `{}`
	openShiftContainerContext = `{
		"allowPrivilegeEscalation": false,
		"capabilities": {"drop": ["ALL"]},
		"readOnlyRootFilesystem": false,
		"runAsNonRoot": true
	}`
	kubernetesPodContext       = `{"fsGroup": 1234, "runAsGroup": 0, "runAsNonRoot": true, "runAsUser": 1234}`
	kubernetesContainerContext = `{}`
)

// contexts are the defaults of a pod and of its containers, as JSON.
func (on platform) contexts() (pod, container []byte) {
	if on == onKubernetes {
		return []byte(kubernetesPodContext), []byte(kubernetesContainerContext)
	}
	return []byte(openShiftPodContext), []byte(openShiftContainerContext)
}

// hasRegistry tells whether the cluster has a registry of its own, from which
// workspaces may pull, with a secret for it in every service account
// (pkg/provision/workspace/pull_secret.go, rbac/rolebinding.go).
func (on platform) hasRegistry() bool { return on == onOpenShift }

// refuseConstraint is the refusal of a workspace that asks for an SCC where there
// are none, or "" (webhook/workspace/handler/access_control.go).
func (on platform) refuseConstraint() string {
	if on == onKubernetes {
		return "specifying additional SCCs is only permitted on OpenShift"
	}
	return ""
}
