package scc

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/pods"
)

// hostUse is what of the host a pod shares.
type hostUse struct {
	network, pid, ipc bool
	users             *bool
}

// checkPod judges the pod's own fields. Its order is that of the messages.
func (p *provider) checkPod(pod *core.Pod, path *field.Path) field.ErrorList {
	context := pod.Spec.SecurityContext
	if context == nil {
		context = &core.PodSecurityContext{}
	}
	groups := []int64{}
	if context.FSGroup != nil {
		groups = append(groups, *context.FSGroup)
	}
	var problems field.ErrorList
	if p.FSGroup.Type == securityv1.FSGroupStrategyMustRunAs {
		problems = append(problems, checkGroups(groups, p.FSGroup.Ranges, path.Child("fsGroup"))...)
	}
	if p.SupplementalGroups.Type == securityv1.SupplementalGroupsStrategyMustRunAs {
		problems = append(problems, checkGroups(context.SupplementalGroups, p.SupplementalGroups.Ranges, path.Child("supplementalGroups"))...)
	}
	problems = append(problems, p.checkPodSeccomp(pod)...)
	problems = append(problems, p.checkSELinux(context.SELinuxOptions, path.Child("seLinuxOptions"))...)
	host := hostUseOf(pod)
	problems = append(problems, p.checkHostNetwork(host, path)...)
	problems = append(problems, p.checkHostProcesses(host, path)...)
	if p.UserNamespaceLevel == securityv1.NamespaceLevelRequirePod && (host.users == nil || *host.users) {
		problems = append(problems, field.Invalid(path.Child("hostUsers"), host.users, "Host Users must be set to false"))
	}
	problems = append(problems, p.checkSysctls(context.Sysctls)...)
	problems = append(problems, p.checkVolumes(pod.Spec.Volumes)...)
	return append(problems, p.checkFlexVolumes(pod.Spec.Volumes, path)...)
}

// checkContainer judges a container. Its order is that of the messages.
func (p *provider) checkContainer(pod *core.Pod, container *core.Container, path *field.Path) field.ErrorList {
	context := container.SecurityContext
	if context == nil {
		context = &core.SecurityContext{}
	}
	runs := effectiveOf(pod, container)
	host := hostUseOf(pod)
	problems := p.checkUser(runs, path)
	problems = append(problems, p.checkSELinux(runs.selinux, path.Child("seLinuxOptions"))...)
	problems = append(problems, p.checkContainerSeccomp(pod, container)...)
	if !p.AllowPrivilegedContainer && context.Privileged != nil && *context.Privileged {
		problems = append(problems, field.Invalid(path.Child("privileged"), true, "Privileged containers are not allowed"))
	}
	problems = append(problems, p.checkCapabilities(context.Capabilities, path.Child("capabilities"))...)
	problems = append(problems, p.checkHostNetwork(host, path)...)
	if !p.AllowHostPorts {
		problems = append(problems, checkHostPorts(pod, path)...)
	}
	problems = append(problems, p.checkHostProcesses(host, path)...)
	problems = append(problems, p.checkReadOnlyRoot(context.ReadOnlyRootFilesystem, path.Child("readOnlyRootFilesystem"))...)
	if escalation := context.AllowPrivilegeEscalation; p.forbidsEscalation() && (escalation == nil || *escalation) {
		problems = append(problems, field.Invalid(path.Child("allowPrivilegeEscalation"), escalation,
			"Allowing privilege escalation for containers is not allowed"))
	}
	return problems
}

func checkGroups(groups []int64, ranges []securityv1.IDRange, path *field.Path) field.ErrorList {
	if len(groups) == 0 {
		return field.ErrorList{field.Invalid(path, groups, "unable to validate empty groups against required ranges")}
	}
	var problems field.ErrorList
	for _, group := range groups {
		if !slices.ContainsFunc(ranges, func(ids securityv1.IDRange) bool { return ids.Min <= group && group <= ids.Max }) {
			problems = append(problems, field.Invalid(path, groups, fmt.Sprintf("%d is not an allowed group", group)))
		}
	}
	return problems
}

// checkUser finds at most one problem, as the real plugin does.
func (p *provider) checkUser(runs effective, path *field.Path) field.ErrorList {
	invalid := func(name string, value any, detail string) field.ErrorList {
		return field.ErrorList{field.Invalid(path.Child(name), value, detail)}
	}
	allowed, user := p.RunAsUser, runs.user
	switch allowed.Type {
	case securityv1.RunAsUserStrategyMustRunAs, securityv1.RunAsUserStrategyMustRunAsRange:
		if user == nil {
			return field.ErrorList{field.Required(path.Child("runAsUser"), "")}
		}
	}
	switch {
	case allowed.Type == securityv1.RunAsUserStrategyMustRunAs && *user != *allowed.UID:
		return invalid("runAsUser", *user, fmt.Sprintf("must be: %d", *allowed.UID))
	case allowed.Type == securityv1.RunAsUserStrategyMustRunAsRange && (*user < *allowed.UIDRangeMin || *user > *allowed.UIDRangeMax):
		return invalid("runAsUser", *user, fmt.Sprintf("must be in the ranges: [%d, %d]", *allowed.UIDRangeMin, *allowed.UIDRangeMax))
	case allowed.Type != securityv1.RunAsUserStrategyMustRunAsNonRoot:
		return nil
	case runs.nonRoot == nil && user == nil:
		return field.ErrorList{field.Required(path.Child("runAsNonRoot"), "must be true")}
	case runs.nonRoot != nil && !*runs.nonRoot:
		return invalid("runAsNonRoot", false, "must be true")
	case user != nil && *user == 0:
		return invalid("runAsUser", *user, "running with the root UID is forbidden")
	default:
		return nil
	}
}

func (p *provider) checkSELinux(options *core.SELinuxOptions, path *field.Path) field.ErrorList {
	if p.SELinuxContext.Type != securityv1.SELinuxStrategyMustRunAs {
		return nil
	}
	if options == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	var problems field.ErrorList
	unequal := func(name, value, must string) {
		problems = append(problems, field.Invalid(path.Child(name), value, "must be "+must))
	}
	must := p.SELinuxContext.SELinuxOptions
	if !sameLevel(must.Level, options.Level) {
		unequal("level", options.Level, must.Level)
	}
	if must.Role != options.Role {
		unequal("role", options.Role, must.Role)
	}
	if must.Type != options.Type {
		unequal("type", options.Type, must.Type)
	}
	if must.User != options.User {
		unequal("user", options.User, must.User)
	}
	return problems
}

// sameLevel compares SELinux levels: the order of a level's categories means
// nothing.
func sameLevel(a, b string) bool {
	if a == b {
		return true
	}
	sensitivityA, categoriesA, hasA := strings.Cut(a, ":")
	sensitivityB, categoriesB, hasB := strings.Cut(b, ":")
	if !hasA || !hasB || sensitivityA != sensitivityB {
		return false
	}
	listA, listB := strings.Split(categoriesA, ","), strings.Split(categoriesB, ",")
	sort.Strings(listA)
	sort.Strings(listB)
	return slices.Equal(listA, listB)
}

func (p *provider) checkCapabilities(own *core.Capabilities, path *field.Path) field.ErrorList {
	if own == nil {
		if len(p.DefaultAddCapabilities) == 0 && len(p.RequiredDropCapabilities) == 0 {
			return nil
		}
		return field.ErrorList{field.Invalid(path, own, "required capabilities are not set on the securityContext")}
	}
	if contains(p.AllowedCapabilities, core.Capability(securityv1.AllowAllCapabilities)) {
		return nil
	}
	var problems field.ErrorList
	for _, capability := range own.Add {
		if !contains(p.DefaultAddCapabilities, capability) && !contains(p.AllowedCapabilities, capability) {
			problems = append(problems, field.Invalid(path.Child("add"), string(capability), "capability may not be added"))
		}
	}
	for _, capability := range p.RequiredDropCapabilities {
		if !slices.Contains(own.Drop, core.Capability(capability)) {
			problems = append(problems, field.Invalid(path.Child("drop"), own.Drop,
				fmt.Sprintf("%s is required to be dropped but was not found", capability)))
		}
	}
	return problems
}

func (p *provider) checkHostNetwork(host hostUse, path *field.Path) field.ErrorList {
	if p.AllowHostNetwork || !host.network {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("hostNetwork"), true, "Host network is not allowed to be used")}
}

func (p *provider) checkHostProcesses(host hostUse, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if !p.AllowHostPID && host.pid {
		problems = append(problems, field.Invalid(path.Child("hostPID"), true, "Host PID is not allowed to be used"))
	}
	if !p.AllowHostIPC && host.ipc {
		problems = append(problems, field.Invalid(path.Child("hostIPC"), true, "Host IPC is not allowed to be used"))
	}
	return problems
}

// checkHostPorts looks at the ports of every container of the pod, whichever
// container the path names. The real plugin does that for each container, and
// the paths in its messages show it.
func checkHostPorts(pod *core.Pod, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	pods.VisitContainersWithPath(&pod.Spec, path, func(container *core.Container, path *field.Path) bool {
		for _, port := range container.Ports {
			if port.HostPort > 0 {
				problems = append(problems, field.Invalid(path.Child("hostPort"), port.HostPort, "Host ports are not allowed to be used"))
			}
		}
		return true
	})
	return problems
}

func (p *provider) checkReadOnlyRoot(readOnly *bool, path *field.Path) field.ErrorList {
	switch {
	case !p.ReadOnlyRootFilesystem:
		return nil
	case readOnly == nil:
		return field.ErrorList{field.Invalid(path, readOnly, "ReadOnlyRootFilesystem may not be nil and must be set to true")}
	case !*readOnly:
		return field.ErrorList{field.Invalid(path, false, "ReadOnlyRootFilesystem must be set to true")}
	default:
		return nil
	}
}
