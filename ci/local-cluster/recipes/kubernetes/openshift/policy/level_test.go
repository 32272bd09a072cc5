package policy

import (
	"strings"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// strictest allows nothing that the level restricted forbids.
func strictest() *securityv1.SecurityContextConstraints {
	return &securityv1.SecurityContextConstraints{
		AllowPrivilegeEscalation: ptr.To(false),
		RequiredDropCapabilities: []corev1.Capability{"ALL"},
		RunAsUser:                securityv1.RunAsUserStrategyOptions{Type: securityv1.RunAsUserStrategyMustRunAsNonRoot},
		SELinuxContext:           securityv1.SELinuxContextStrategyOptions{Type: securityv1.SELinuxStrategyMustRunAs},
		SeccompProfiles:          []string{"runtime/default"},
		Volumes:                  []securityv1.FSType{"secret"},
	}
}

type constraint = *securityv1.SecurityContextConstraints

func selinux(user, role, kind string) func(constraint) {
	return func(scc constraint) {
		scc.SELinuxContext.SELinuxOptions = &corev1.SELinuxOptions{User: user, Role: role, Type: kind}
	}
}

func user(strategy securityv1.RunAsUserStrategyType, uid, lowest, highest *int64) func(constraint) {
	return func(scc constraint) {
		scc.RunAsUser = securityv1.RunAsUserStrategyOptions{Type: strategy, UID: uid, UIDRangeMin: lowest, UIDRangeMax: highest}
	}
}

func TestOneFieldDecidesTheLevel(t *testing.T) {
	inRange := securityv1.RunAsUserStrategyMustRunAsRange
	zero, one, many := ptr.To[int64](0), ptr.To[int64](1), ptr.To[int64](65534)
	for _, test := range []struct {
		name     string
		expected level
		change   func(constraint)
	}{
		{"nothing", restricted, func(constraint) {}},
		{"no volumes", restricted, func(scc constraint) { scc.Volumes = nil }},
		{"host paths", privileged, func(scc constraint) { scc.AllowHostDirVolumePlugin = true }},
		{"IPC", privileged, func(scc constraint) { scc.AllowHostIPC = true }},
		{"network", privileged, func(scc constraint) { scc.AllowHostNetwork = true }},
		{"PID", privileged, func(scc constraint) { scc.AllowHostPID = true }},
		{"ports", privileged, func(scc constraint) { scc.AllowHostPorts = true }},
		{"privileged", privileged, func(scc constraint) { scc.AllowPrivilegedContainer = true }},
		{"escalation", baseline, func(scc constraint) { scc.AllowPrivilegeEscalation = ptr.To(true) }},
		{"escalation by default", baseline, func(scc constraint) { scc.AllowPrivilegeEscalation = nil }},
		{"default escalation does not count", restricted, func(scc constraint) { scc.DefaultAllowPrivilegeEscalation = ptr.To(true) }},
		{"a capability of restricted", restricted, func(scc constraint) { scc.AllowedCapabilities = []corev1.Capability{"NET_BIND_SERVICE"} }},
		{"a capability of baseline", baseline, func(scc constraint) { scc.AllowedCapabilities = []corev1.Capability{"SETUID"} }},
		{"another capability", privileged, func(scc constraint) { scc.AllowedCapabilities = []corev1.Capability{"SETUID", "SYS_ADMIN"} }},
		{"all capabilities", privileged, func(scc constraint) { scc.AllowedCapabilities = []corev1.Capability{"*"} }},
		{"default capabilities do not count", restricted, func(scc constraint) { scc.DefaultAddCapabilities = []corev1.Capability{"SYS_ADMIN"} }},
		{"not all dropped", baseline, func(scc constraint) { scc.RequiredDropCapabilities = []corev1.Capability{"KILL", "MKNOD"} }},
		{"a safe sysctl", restricted, func(scc constraint) { scc.AllowedUnsafeSysctls = []string{"kernel.shm_rmid_forced"} }},
		{"a newer safe sysctl", privileged, func(scc constraint) { scc.AllowedUnsafeSysctls = []string{"net.ipv4.tcp_rmem"} }},
		{"a pattern of sysctls", privileged, func(scc constraint) { scc.AllowedUnsafeSysctls = []string{"net.*"} }},
		{"forbidden sysctls do not count", restricted, func(scc constraint) { scc.ForbiddenSysctls = []string{"*"} }},
		{"a volume of baseline", baseline, func(scc constraint) { scc.Volumes = append(scc.Volumes, "nfs") }},
		{"host paths as a volume", privileged, func(scc constraint) { scc.Volumes = append(scc.Volumes, "hostPath") }},
		{"all volumes", privileged, func(scc constraint) { scc.Volumes = []securityv1.FSType{"*"} }},
		{"image volumes", restricted, func(scc constraint) { scc.Volumes = []securityv1.FSType{"image", "none"} }},
		{"any SELinux context", privileged, func(scc constraint) { scc.SELinuxContext.Type = securityv1.SELinuxStrategyRunAsAny }},
		{"an SELinux level", restricted, selinux("", "", "")},
		{"an SELinux type of containers", restricted, selinux("", "", "container_init_t")},
		{"the SELinux type of engines", privileged, selinux("", "", "container_engine_t")},
		{"an SELinux user", privileged, selinux("system_u", "", "container_t")},
		{"an SELinux role", privileged, selinux("", "system_r", "")},
		{"no seccomp profile", baseline, func(scc constraint) { scc.SeccompProfiles = nil }},
		{"a local seccomp profile", restricted, func(scc constraint) { scc.SeccompProfiles = []string{"localhost/a", "docker/default"} }},
		{"unconfined", privileged, func(scc constraint) { scc.SeccompProfiles = []string{"runtime/default", "unconfined"} }},
		{"any seccomp profile", privileged, func(scc constraint) { scc.SeccompProfiles = []string{"*"} }},
		{"any user", baseline, user(securityv1.RunAsUserStrategyRunAsAny, nil, nil, nil)},
		{"user 0", baseline, user(securityv1.RunAsUserStrategyMustRunAs, zero, nil, nil)},
		{"no user", baseline, user(securityv1.RunAsUserStrategyMustRunAs, nil, nil, nil)},
		{"user 1", restricted, user(securityv1.RunAsUserStrategyMustRunAs, one, nil, nil)},
		{"a range from 0", baseline, user(inRange, nil, zero, many)},
		{"a range from 1", restricted, user(inRange, nil, one, many)},
		{"half a range is the namespace's", restricted, user(inRange, nil, zero, nil)},
		{"groups do not count", restricted, func(scc constraint) { scc.FSGroup.Type = securityv1.FSGroupStrategyRunAsAny }},
	} {
		scc := strictest()
		test.change(scc)
		found, err := levelOf(Release{4, 20}, scc, "1000/10")
		if found != test.expected || err != nil {
			t.Errorf("%s: %q, %v, not %q", test.name, found, err, test.expected)
		}
	}
}

func TestTheNamespacesRangeDecides(t *testing.T) {
	scc := strictest()
	user(securityv1.RunAsUserStrategyMustRunAsRange, nil, nil, nil)(scc)
	for uidRange, expected := range map[string]level{"1/10": restricted, "0/10": baseline, "": undecided, "x": undecided} {
		found, err := levelOf(Release{4, 20}, scc, uidRange)
		if found != expected || (err == nil) == (expected == undecided) {
			t.Errorf("%q: %q, %v", uidRange, found, err)
		}
	}
}

func TestWhatIsNotKnownIsAnError(t *testing.T) {
	token := strictest()
	token.Volumes = []securityv1.FSType{tokenVolume}
	if _, err := levelOf(Release{4, 22}, token, ""); err == nil || !strings.Contains(err.Error(), "unknown volume type: serviceAccountToken") {
		t.Errorf("4.22: %v", err)
	}
	if found, err := levelOf(Release{4, 23}, token, ""); found != restricted || err != nil {
		t.Errorf("4.23: %q, %v", found, err)
	}
	strategy := strictest()
	strategy.RunAsUser.Type = "Other"
	if _, err := levelOf(Release{4, 20}, strategy, ""); err == nil {
		t.Error("a strategy that nobody knows is no error")
	}
}

func TestReleasesAreRead(t *testing.T) {
	for text, expected := range map[string]Release{"4.18": {4, 18}, "4.20.3": {4, 20}, "5.0": {5, 0}, "newest": {5, 0}, "4.23.0-rc.1": {4, 23}} {
		if release, err := ParseRelease(text); release != expected || err != nil {
			t.Errorf("%q is %s, %v", text, release, err)
		}
	}
	for _, text := range []string{"", "4", "4.x", "x.4", "4.17", "v4.20", "4.20x"} {
		if release, err := ParseRelease(text); err == nil {
			t.Errorf("%q is %s", text, release)
		}
	}
}
