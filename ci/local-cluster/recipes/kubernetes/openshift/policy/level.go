package policy

import (
	"fmt"
	"slices"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
)

// level is a level of the Pod Security Standards. A larger one allows more.
type level uint8

const (
	undecided level = iota
	restricted
	baseline
	privileged
)

// String gives the value of a Pod Security label.
func (l level) String() string {
	return [...]string{"", "restricted", "baseline", "privileged"}[l]
}

// Values that the levels allow (k8s.io/pod-security-admission, package policy, as
// cluster-policy-controller pkg/psalabelsyncer/scctopsamapping.go uses them).
var (
	capabilitiesOfBaseline = []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
		"NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
	}
	capabilityOfRestricted = "NET_BIND_SERVICE"

	// Newer versions of the standards allow more; the controller does not.
	sysctlsOfRestricted = []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_syncookies",
	}

	// `container_engine_t` came with Kubernetes 1.31, and is not among them.
	selinuxTypesOfRestricted = []string{"", "container_t", "container_init_t", "container_kvm_t"}

	volumesOfRestricted = []securityv1.FSType{
		securityv1.FSTypeConfigMap, securityv1.FSTypeCSI, securityv1.FSTypeDownwardAPI,
		securityv1.FSTypeEmptyDir, securityv1.FSTypeEphemeral, securityv1.FSTypeImage,
		securityv1.FSTypeNone, securityv1.FSTypePersistentVolumeClaim, securityv1.FSProjected,
		securityv1.FSTypeSecret,
	}

	volumesOfBaseline = []securityv1.FSType{
		securityv1.FSTypeAWSElasticBlockStore, securityv1.FSTypeAzureDisk,
		securityv1.FSTypeAzureFile, securityv1.FSTypeCephFS, securityv1.FSTypeCinder,
		securityv1.FSTypeFC, securityv1.FSTypeFlexVolume, securityv1.FSTypeFlocker,
		securityv1.FSTypeGCEPersistentDisk, securityv1.FSTypeGitRepo,
		securityv1.FSTypeGlusterfs, securityv1.FSTypeISCSI, securityv1.FSTypeNFS,
		securityv1.FSTypePhotonPersistentDisk, securityv1.FSPortworxVolume,
		securityv1.FSTypeQuobyte, securityv1.FSTypeRBD, securityv1.FSScaleIO,
		securityv1.FSStorageOS, securityv1.FSTypeVsphereVolume,
	}
)

// tokenVolume is a volume type that the Go module of the API does not know yet.
const tokenVolume securityv1.FSType = "serviceAccountToken"

// levelOf is the lowest level that lets every pod pass that a constraint admits.
// uidRange is the namespace's annotation, from which a constraint without a range
// of its own takes one. It fails for a volume type or strategy that the release
// does not know, and for an annotation that can't be read where it counts.
//
// Groups, the root file system and forbidden sysctls are of no account: the
// standards don't look at them.
func levelOf(release Release, scc *securityv1.SecurityContextConstraints, uidRange string) (level, error) {
	ofVolumes, err := levelOfVolumes(release, scc.Volumes)
	if err != nil {
		return undecided, fmt.Errorf("constraint %q: %w", scc.Name, err)
	}
	ofUser, err := levelOfUser(scc.RunAsUser, uidRange)
	if err != nil {
		return undecided, fmt.Errorf("constraint %q: %w", scc.Name, err)
	}
	return max(
		levelOfHost(scc),
		levelOfEscalation(scc.AllowPrivilegeEscalation),
		levelOfCapabilities(scc),
		levelOfSysctls(scc.AllowedUnsafeSysctls),
		ofVolumes,
		levelOfSELinux(scc.SELinuxContext),
		levelOfSeccomp(scc.SeccompProfiles),
		ofUser,
	), nil
}

func levelOfHost(scc *securityv1.SecurityContextConstraints) level {
	switch {
	case scc.AllowHostDirVolumePlugin,
		scc.AllowHostIPC, scc.AllowHostNetwork, scc.AllowHostPID,
		scc.AllowHostPorts,
		scc.AllowPrivilegedContainer:
		return privileged
	}
	return restricted
}

func levelOfEscalation(allowed *bool) level {
	if allowed != nil && !*allowed {
		return restricted
	}
	return baseline
}

func levelOfCapabilities(scc *securityv1.SecurityContextConstraints) level {
	onlyOfRestricted := true
	for _, capability := range scc.AllowedCapabilities {
		if !slices.Contains(capabilitiesOfBaseline, string(capability)) {
			return privileged
		}
		onlyOfRestricted = onlyOfRestricted && string(capability) == capabilityOfRestricted
	}
	if onlyOfRestricted && slices.Contains(scc.RequiredDropCapabilities, "ALL") {
		return restricted
	}
	return baseline
}

func levelOfSysctls(allowed []string) level {
	for _, sysctl := range allowed {
		if !slices.Contains(sysctlsOfRestricted, sysctl) {
			return privileged
		}
	}
	return restricted
}

// levelOfVolumes stops at the first type that allows the host's files; a type that
// is not known is an error only before that one, as it is in the controller.
func levelOfVolumes(release Release, volumes []securityv1.FSType) (level, error) {
	found := restricted
	for _, volume := range volumes {
		switch {
		case volume == securityv1.FSTypeAll, volume == securityv1.FSTypeHostPath:
			return privileged, nil
		case slices.Contains(volumesOfRestricted, volume):
		case volume == tokenVolume && release.knowsTokenVolumes():
		case slices.Contains(volumesOfBaseline, volume):
			found = baseline
		default:
			return undecided, fmt.Errorf("unknown volume type: %s", volume)
		}
	}
	return found, nil
}

func levelOfSELinux(context securityv1.SELinuxContextStrategyOptions) level {
	if context.Type != securityv1.SELinuxStrategyMustRunAs {
		return privileged
	}
	options := context.SELinuxOptions
	if options == nil {
		return restricted
	}
	if options.User != "" || options.Role != "" || !slices.Contains(selinuxTypesOfRestricted, options.Type) {
		return privileged
	}
	return restricted
}

func levelOfSeccomp(profiles []string) level {
	if len(profiles) == 0 {
		return baseline
	}
	for _, profile := range profiles {
		switch {
		case profile == "runtime/default", profile == "docker/default", strings.HasPrefix(profile, "localhost/"):
		default:
			return privileged
		}
	}
	return restricted
}

// levelOfUser is restricted where no pod can get user id 0.
func levelOfUser(user securityv1.RunAsUserStrategyOptions, uidRange string) (level, error) {
	var lowest int64
	switch user.Type {
	case securityv1.RunAsUserStrategyMustRunAsNonRoot:
		return restricted, nil
	case securityv1.RunAsUserStrategyRunAsAny:
		return baseline, nil
	case securityv1.RunAsUserStrategyMustRunAs:
		if user.UID != nil {
			lowest = *user.UID
		}
	case securityv1.RunAsUserStrategyMustRunAsRange:
		if user.UIDRangeMin != nil && user.UIDRangeMax != nil {
			lowest = *user.UIDRangeMin
			break
		}
		block, err := ParseBlock(uidRange)
		if err != nil {
			return undecided, err
		}
		lowest = int64(block.Start)
	default:
		return undecided, fmt.Errorf("unknown strategy: %s", user.Type)
	}
	if lowest > 0 {
		return restricted, nil
	}
	return baseline, nil
}
