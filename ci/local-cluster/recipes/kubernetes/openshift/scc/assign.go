package scc

import (
	"slices"
	"sort"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/pods"
)

// apply returns the pod as the constraint makes it, or what is wrong with it
// under the constraint. It never changes what the pod itself says, with one
// exception: seccomp profiles follow their annotations.
func (p *provider) apply(original *core.Pod) (*core.Pod, field.ErrorList) {
	pod := original.DeepCopy()
	path := field.NewPath("provider " + p.Name + ": ")
	p.assignPod(pod)
	problems := p.checkPod(pod, path.Child("spec", "securityContext"))
	pods.VisitContainersWithPath(&pod.Spec, path, func(container *core.Container, path *field.Path) bool {
		p.assignContainer(pod, container)
		problems = append(problems, p.checkContainer(pod, container, path)...)
		return true
	})
	if len(problems) > 0 {
		return nil, problems
	}
	return pod, nil
}

// assignPod sets what the pod leaves open.
func (p *provider) assignPod(pod *core.Pod) {
	context := pod.Spec.SecurityContext
	if context == nil {
		context = &core.PodSecurityContext{}
	}
	if context.SupplementalGroups == nil && p.SupplementalGroups.Type == securityv1.SupplementalGroupsStrategyMustRunAs {
		context.SupplementalGroups = []int64{p.SupplementalGroups.Ranges[0].Min}
	}
	if context.FSGroup == nil && p.FSGroup.Type == securityv1.FSGroupStrategyMustRunAs {
		group := p.FSGroup.Ranges[0].Min
		context.FSGroup = &group
	}
	if context.SELinuxOptions == nil {
		context.SELinuxOptions = p.selinuxOptions()
	}
	if profile := p.podProfile(pod); profile != "" {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[podSeccompAnnotation] = profile
		context.SeccompProfile = profileNamed(profile)
	}
	// A pod without a context gets one only if there is something in it.
	if pod.Spec.SecurityContext != nil || !isEmpty(context) {
		pod.Spec.SecurityContext = context
	}
}

func isEmpty(context *core.PodSecurityContext) bool {
	return context.SupplementalGroups == nil && context.FSGroup == nil && context.SELinuxOptions == nil && context.SeccompProfile == nil
}

// selinuxOptions are the options that the constraint gives; nil if it gives none.
func (p *provider) selinuxOptions() *core.SELinuxOptions {
	if p.SELinuxContext.Type != securityv1.SELinuxStrategyMustRunAs {
		return nil
	}
	options := core.SELinuxOptions(*p.SELinuxContext.SELinuxOptions)
	return &options
}

// effective is what a container runs with: its own fields, or else the pod's.
type effective struct {
	user    *int64
	nonRoot *bool
	selinux *core.SELinuxOptions
}

func effectiveOf(pod *core.Pod, container *core.Container) effective {
	var found effective
	if context := pod.Spec.SecurityContext; context != nil {
		found = effective{context.RunAsUser, context.RunAsNonRoot, context.SELinuxOptions}
	}
	if context := container.SecurityContext; context != nil {
		if context.RunAsUser != nil {
			found.user = context.RunAsUser
		}
		if context.RunAsNonRoot != nil {
			found.nonRoot = context.RunAsNonRoot
		}
		if context.SELinuxOptions != nil {
			found.selinux = context.SELinuxOptions
		}
	}
	return found
}

// assignContainer sets what the container, and the pod for it, leave open. The
// pod's own context must be assigned already.
func (p *provider) assignContainer(pod *core.Pod, container *core.Container) {
	had := container.SecurityContext != nil
	if !had {
		container.SecurityContext = &core.SecurityContext{}
	}
	context := container.SecurityContext
	runs := effectiveOf(pod, container)
	if runs.user == nil {
		context.RunAsUser = p.user()
		runs.user = context.RunAsUser
	}
	if runs.selinux == nil {
		context.SELinuxOptions = p.selinuxOptions()
	}
	if runs.nonRoot == nil && p.meansNonRoot(runs.user) {
		context.RunAsNonRoot = pointer(true)
	}
	context.Capabilities = p.capabilities(context.Capabilities)
	if p.ReadOnlyRootFilesystem && context.ReadOnlyRootFilesystem == nil {
		context.ReadOnlyRootFilesystem = pointer(true)
	}
	if name, set := pod.Annotations[containerSeccompAnnotation+container.Name]; set {
		context.SeccompProfile = profileNamed(name)
	}
	if context.AllowPrivilegeEscalation == nil {
		context.AllowPrivilegeEscalation = p.escalation(context)
	}
	if !had && *context == (core.SecurityContext{}) {
		container.SecurityContext = nil
	}
}

// user is the user id that the constraint gives; nil if it gives none.
func (p *provider) user() *int64 {
	switch p.RunAsUser.Type {
	case securityv1.RunAsUserStrategyMustRunAs:
		return pointer(*p.RunAsUser.UID)
	case securityv1.RunAsUserStrategyMustRunAsRange:
		return pointer(*p.RunAsUser.UIDRangeMin)
	default:
		return nil
	}
}

// meansNonRoot tells whether runAsNonRoot is set for a container with this user:
// for every user but root, so that the pod suits Pod Security too; without one
// if the constraint demands it, so that the kubelet looks at the image's user.
func (p *provider) meansNonRoot(user *int64) bool {
	if user == nil {
		return p.RunAsUser.Type == securityv1.RunAsUserStrategyMustRunAsNonRoot
	}
	return *user > 0
}

// escalation is allowPrivilegeEscalation for a container that doesn't say it.
// The API server refuses false together with privileged or CAP_SYS_ADMIN, and
// so the constraint's default passes these over; its prohibition does not.
func (p *provider) escalation(context *core.SecurityContext) *bool {
	privileged := context.Privileged != nil && *context.Privileged
	admin := context.Capabilities != nil && slices.Contains(context.Capabilities.Add, "CAP_SYS_ADMIN")
	if p.DefaultAllowPrivilegeEscalation != nil && !privileged && !admin {
		return pointer(*p.DefaultAllowPrivilegeEscalation)
	}
	if p.forbidsEscalation() {
		return pointer(false)
	}
	return nil
}

func (p *provider) forbidsEscalation() bool {
	return p.AllowPrivilegeEscalation != nil && !*p.AllowPrivilegeEscalation
}

// capabilities adds the constraint's capabilities to those of a container. The
// result is sorted, unless there was nothing to add.
func (p *provider) capabilities(own *core.Capabilities) *core.Capabilities {
	var add, drop []core.Capability
	if own != nil {
		add, drop = own.Add, own.Drop
	}
	added, dropped := set(add), set(drop)
	changed := false
	for _, capability := range p.DefaultAddCapabilities {
		if name := core.Capability(capability); !dropped[name] && !added[name] {
			added[name], changed = true, true
		}
	}
	for _, capability := range p.RequiredDropCapabilities {
		if name := core.Capability(capability); !dropped[name] {
			dropped[name], changed = true, true
		}
	}
	if !changed {
		return own
	}
	return &core.Capabilities{Add: sorted(added), Drop: sorted(dropped)}
}

func set(list []core.Capability) map[core.Capability]bool {
	members := make(map[core.Capability]bool, len(list))
	for _, entry := range list {
		members[entry] = true
	}
	return members
}

func sorted(members map[core.Capability]bool) []core.Capability {
	var list []core.Capability
	for entry := range members {
		list = append(list, entry)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list
}

func contains(list []corev1.Capability, capability core.Capability) bool {
	return slices.Contains(list, corev1.Capability(capability))
}

func pointer[T any](value T) *T { return &value }
