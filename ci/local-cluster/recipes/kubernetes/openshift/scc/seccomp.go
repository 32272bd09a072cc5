package scc

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
)

// Constraints name seccomp profiles as the annotations of old did, and OpenShift
// still writes and reads these annotations.
const (
	podSeccompAnnotation       = "seccomp.security.alpha.kubernetes.io/pod"
	containerSeccompAnnotation = "container.seccomp.security.alpha.kubernetes.io/"
	seccompRuntimeDefault      = "runtime/default"
	seccompDockerDefault       = "docker/default"
	seccompUnconfined          = "unconfined"
	seccompLocalhost           = "localhost/"
	anyProfile                 = "*"
)

// profileName is a profile as an annotation names it; empty if it names none.
func profileName(profile *core.SeccompProfile) string {
	switch {
	case profile == nil:
		return ""
	case profile.Type == core.SeccompProfileTypeUnconfined:
		return seccompUnconfined
	case profile.Type == core.SeccompProfileTypeRuntimeDefault:
		return seccompRuntimeDefault
	case profile.Type == core.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil:
		return seccompLocalhost + *profile.LocalhostProfile
	default:
		return ""
	}
}

// profileNamed is the profile that an annotation names; nil if it names none.
func profileNamed(name string) *core.SeccompProfile {
	switch name {
	case seccompUnconfined:
		return &core.SeccompProfile{Type: core.SeccompProfileTypeUnconfined}
	case seccompRuntimeDefault, seccompDockerDefault:
		return &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}
	}
	file, local := strings.CutPrefix(name, seccompLocalhost)
	if !local || file == "" {
		return nil
	}
	return &core.SeccompProfile{Type: core.SeccompProfileTypeLocalhost, LocalhostProfile: &file}
}

// podProfile is the profile that a pod gets: its annotation's, its field's, or
// the first that the constraint allows.
func (p *provider) podProfile(pod *core.Pod) string {
	if name := pod.Annotations[podSeccompAnnotation]; name != "" {
		return name
	}
	if context := pod.Spec.SecurityContext; context != nil && context.SeccompProfile != nil {
		return profileName(context.SeccompProfile)
	}
	if allowed, _ := p.profiles(); len(allowed) > 0 {
		return allowed[0]
	}
	return ""
}

// profiles are the profiles that the constraint allows by name, and whether it
// allows any.
func (p *provider) profiles() (named []string, all bool) {
	named = make([]string, 0, len(p.SeccompProfiles))
	for _, name := range p.SeccompProfiles {
		if name == anyProfile {
			all = true
		} else {
			named = append(named, name)
		}
	}
	return named, all
}

// checkPodSeccomp judges the pod's own profile.
func (p *provider) checkPodSeccomp(pod *core.Pod) field.ErrorList {
	name := pod.Annotations[podSeccompAnnotation]
	if context := pod.Spec.SecurityContext; name == "" && context != nil {
		name = profileName(context.SeccompProfile)
	}
	return p.checkProfile(podSeccompAnnotation, name)
}

// checkContainerSeccomp judges the profile that a container runs with: that of
// its field, its annotation, the pod's field or the pod's annotation.
func (p *provider) checkContainerSeccomp(pod *core.Pod, container *core.Container) field.ErrorList {
	annotation := containerSeccompAnnotation + container.Name
	if context := container.SecurityContext; context != nil && context.SeccompProfile != nil {
		return p.checkProfile(annotation, profileName(context.SeccompProfile))
	}
	if name, set := pod.Annotations[annotation]; set {
		return p.checkProfile(annotation, name)
	}
	if context := pod.Spec.SecurityContext; context != nil && context.SeccompProfile != nil {
		return p.checkProfile(annotation, profileName(context.SeccompProfile))
	}
	return p.checkProfile(annotation, pod.Annotations[podSeccompAnnotation])
}

func (p *provider) checkProfile(annotation, name string) field.ErrorList {
	path := field.NewPath("pod", "metadata", "annotations").Key(annotation)
	allowed, all := p.profiles()
	switch {
	case all:
		return nil
	case len(allowed) == 0 && name == "":
		return nil
	case len(allowed) == 0:
		return field.ErrorList{field.Forbidden(path, "seccomp may not be set")}
	}
	// One name of the runtime's default profile allows the other.
	runtimes := name == seccompRuntimeDefault || name == seccompDockerDefault
	for _, entry := range allowed {
		if name == entry || runtimes && (entry == seccompRuntimeDefault || entry == seccompDockerDefault) {
			return nil
		}
	}
	return field.ErrorList{field.Forbidden(path,
		fmt.Sprintf("%s is not an allowed seccomp profile. Valid values are %v", name, allowed))}
}
