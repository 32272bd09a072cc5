package scc

import (
	"strings"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"
)

// anyhow is a constraint that allows every user, group and label, and else
// nothing.
func anyhow(name string) *securityv1.SecurityContextConstraints {
	return &securityv1.SecurityContextConstraints{
		ObjectMeta:               metav1.ObjectMeta{Name: name},
		RunAsUser:                securityv1.RunAsUserStrategyOptions{Type: securityv1.RunAsUserStrategyRunAsAny},
		SELinuxContext:           securityv1.SELinuxContextStrategyOptions{Type: securityv1.SELinuxStrategyRunAsAny},
		FSGroup:                  securityv1.FSGroupStrategyOptions{Type: securityv1.FSGroupStrategyRunAsAny},
		SupplementalGroups:       securityv1.SupplementalGroupsStrategyOptions{Type: securityv1.SupplementalGroupsStrategyRunAsAny},
		AllowPrivilegeEscalation: pointer(true),
		Volumes:                  []securityv1.FSType{"secret"},
	}
}

func caps(names ...corev1.Capability) []corev1.Capability { return names }

// like compares a text with a pattern, in which stars stand for anything.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		at := strings.Index(text, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return text == "" || parts[len(parts)-1] == ""
}

func simplePod() *core.Pod {
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"},
		Spec:       core.PodSpec{Containers: []core.Container{{Name: "c"}}},
	}
}

// ask decides about a pod in a namespace with ranges, by one constraint that
// everybody may use.
func ask(t *testing.T, release string, constraint *securityv1.SecurityContextConstraints, pod *core.Pod, annotations map[string]string) (Decision, string) {
	t.Helper()
	parsed, err := ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	decision, err := Decide(Request{
		Release:     parsed,
		Namespace:   Namespace{"n", annotations},
		Constraints: []*securityv1.SecurityContextConstraints{constraint},
		MayUse:      func(*securityv1.SecurityContextConstraints) Subject { return User },
		Mutation:    MutateAll,
		Pod:         pod,
	})
	switch {
	case err != nil:
		return decision, err.Error()
	case decision.Pod == nil:
		return decision, strings.TrimPrefix(decision.Refusal().Error(), unable)
	default:
		return decision, ""
	}
}

func ranges(users, level, groups string) map[string]string {
	annotations := map[string]string{securityv1.UIDRangeAnnotation: users, securityv1.MCSAnnotation: level}
	if groups != "" {
		annotations[securityv1.SupplementalGroupsAnnotation] = groups
	}
	return annotations
}

// What a namespace must have, and how its annotations are read.
func TestReadsRangesOfNamespaces(t *testing.T) {
	strict := anyhow("s")
	strict.RunAsUser.Type = securityv1.RunAsUserStrategyMustRunAsRange
	strict.SELinuxContext.Type = securityv1.SELinuxStrategyMustRunAs
	strict.FSGroup.Type = securityv1.FSGroupStrategyMustRunAs
	strict.SupplementalGroups.Type = securityv1.SupplementalGroupsStrategyMustRunAs
	for name, test := range map[string]struct {
		annotations map[string]string
		user, group int64
		problem     string
	}{
		"start and size": {ranges("1000/10", "s0:c1,c2", ""), 1000, 1000, ""},
		"start and end":  {ranges("1000-1010", "s0:c1,c2", ""), 1000, 1000, ""},
		"several blocks": {ranges("1000/10", "s0:c1,c2", "5-6,2000/10"), 1000, 5, ""},
		"no annotations": {nil, 0, 0, `error fetching namespace "n": unable to find annotation openshift.io/sa.scc.uid-range`},
		"no level":       {map[string]string{securityv1.UIDRangeAnnotation: "1/1"}, 0, 0, `error fetching namespace "n": unable to find annotation openshift.io/sa.scc.mcs`},
		"empty range":    {ranges("", "s0", ""), 0, 0, "unable to find pre-allocated uid annotation for namespace n while trying to configure SCC s: found annotation openshift.io/sa.scc.uid-range but it was empty"},
		"empty level":    {ranges("1/1", "", ""), 0, 0, "unable to find pre-allocated mcs annotation for namespace n while trying to configure SCC s: found annotation openshift.io/sa.scc.mcs but it was empty"},
		"broken range":   {ranges("x", "s0", ""), 0, 0, "unable to find pre-allocated uid annotation for namespace n while trying to configure SCC s: expected integer"},
		"broken groups":  {ranges("1/1", "s0", "1/1,x"), 0, 0, "unable to find pre-allocated group annotation for namespace n while trying to configure SCC s: expected integer"},
	} {
		t.Run(name, func(t *testing.T) {
			decision, problem := ask(t, "4.20", strict, simplePod(), test.annotations)
			if problem != test.problem {
				t.Fatalf("expected %q\n   given %q", test.problem, problem)
			}
			if problem != "" {
				return
			}
			context, own := decision.Pod.Spec.SecurityContext, decision.Pod.Spec.Containers[0].SecurityContext
			if *own.RunAsUser != test.user || *context.FSGroup != test.group || context.SupplementalGroups[0] != test.group {
				t.Errorf("user %d, groups %d and %v", *own.RunAsUser, *context.FSGroup, context.SupplementalGroups)
			}
		})
	}
}

// The same refusal in the words of an older and of a newer release.
func TestSpeaksAsTheRelease(t *testing.T) {
	constraint := anyhow("s")
	constraint.UserNamespaceLevel = securityv1.NamespaceLevelRequirePod
	constraint.FSGroup = securityv1.FSGroupStrategyOptions{Type: securityv1.FSGroupStrategyMustRunAs, Ranges: []securityv1.IDRange{{Min: 5, Max: 6}}}
	constraint.RequiredDropCapabilities = caps("KILL")
	pod := simplePod()
	pod.Spec.SecurityContext = &core.PodSecurityContext{FSGroup: pointer(int64(7))}
	for release, expected := range map[string]string{
		"4.19": `[provider s: .spec.securityContext.fsGroup: Invalid value: []int64{7}: 7 is not an allowed group, provider s: .spec.securityContext.hostUsers: Invalid value: "null": Host Users must be set to false]`,
		"5.0":  `[provider s: .spec.securityContext.fsGroup: Invalid value: [7]: 7 is not an allowed group, provider s: .spec.securityContext.hostUsers: Invalid value: null: Host Users must be set to false]`,
	} {
		if _, problem := ask(t, release, constraint, pod, ranges("1/1", "s0", "")); problem != expected {
			t.Errorf("%s: expected %s\n   given %s", release, expected, problem)
		}
	}
	named := simplePod()
	named.Spec.Containers[0].SecurityContext = &core.SecurityContext{Capabilities: &core.Capabilities{Add: []core.Capability{"A&B<\x01"}}}
	for _, release := range []string{"4.20", "5.0"} {
		const expected = `provider s: .containers[0].capabilities.add: Invalid value: "A&B<\x01": capability may not be added`
		if _, problem := ask(t, release, anyhow("s"), named, ranges("1/1", "s0", "")); problem != expected {
			t.Errorf("%s: expected %s\n   given %s", release, expected, problem)
		}
	}
	for release, expected := range map[string]string{"4.18": "", "4.19": "", "4.20": "user", "5.0": "user"} {
		decision, problem := ask(t, release, anyhow("s"), simplePod(), ranges("1/1", "s0", ""))
		if problem != "" {
			t.Fatal(problem)
		}
		decision.Annotate()
		if subject := decision.Pod.Annotations[securityv1.ValidatedSCCSubjectTypeAnnotation]; subject != expected {
			t.Errorf("%s: by the right of %q", release, subject)
		}
	}
	if _, err := ParseRelease("3.11"); err == nil || !strings.Contains(err.Error(), "4.20") {
		t.Errorf("3.11: %v", err)
	}
}

// Rules that no recording shows.
func TestFollowsRules(t *testing.T) {
	annotated := func(key, value string) func(*core.Pod) {
		return func(pod *core.Pod) { pod.Annotations = map[string]string{key: value} }
	}
	type constraint = securityv1.SecurityContextConstraints
	for name, test := range map[string]struct {
		constraint func(*constraint)
		pod        func(*core.Pod)
		problem    string
	}{
		"level's categories in another order": {func(c *constraint) {
			c.SELinuxContext = securityv1.SELinuxContextStrategyOptions{Type: "MustRunAs", SELinuxOptions: &corev1.SELinuxOptions{Level: "s0:c2,c1"}}
		}, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{SELinuxOptions: &core.SELinuxOptions{Level: "s0:c1,c2"}}
		}, ""},
		"level of another sensitivity": {func(c *constraint) {
			c.SELinuxContext = securityv1.SELinuxContextStrategyOptions{Type: "MustRunAs", SELinuxOptions: &corev1.SELinuxOptions{Level: "s0:c1"}}
		}, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{SELinuxOptions: &core.SELinuxOptions{Level: "s1:c1"}}
		}, `[provider s: .spec.securityContext.seLinuxOptions.level: Invalid value: "s1:c1": must be s0:c1, provider s: .containers[0].seLinuxOptions.level: Invalid value: "s1:c1": must be s0:c1]`},
		"docker's profile for the runtime's": {func(c *constraint) { c.SeccompProfiles = []string{"docker/default"} },
			annotated(podSeccompAnnotation, "runtime/default"), ""},
		"any profile": {func(c *constraint) { c.SeccompProfiles = []string{"*"} }, annotated(podSeccompAnnotation, "localhost/x"), ""},
		"no group at all": {func(c *constraint) {
			c.SupplementalGroups = securityv1.SupplementalGroupsStrategyOptions{Type: "MustRunAs", Ranges: []securityv1.IDRange{{Min: 1, Max: 2}}}
		}, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{SupplementalGroups: []int64{}}
		}, "provider s: .spec.securityContext.supplementalGroups: Invalid value: []int64{}: unable to validate empty groups against required ranges"},
		"root of a pod that may not be root": {func(c *constraint) { c.RunAsUser.Type = "MustRunAsNonRoot" }, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{RunAsNonRoot: pointer(false)}
		}, "provider s: .containers[0].runAsNonRoot: Invalid value: false: must be true"},
		"range without an end": {func(c *constraint) {
			c.RunAsUser = securityv1.RunAsUserStrategyOptions{Type: "MustRunAsRange", UIDRangeMin: pointer(int64(1))}
		}, func(*core.Pod) {}, "error creating provider for SCC s in namespace n: MustRunAsRange requires a UIDRangeMax"},
		"driver": {func(c *constraint) {
			c.Volumes = []securityv1.FSType{"flexVolume"}
			c.AllowedFlexVolumes = []securityv1.AllowedFlexVolume{{Driver: "good"}}
		}, func(pod *core.Pod) {
			pod.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{FlexVolume: &core.FlexVolumeSource{Driver: "bad"}}}}
		}, `provider s: .spec.securityContext.volumes[0].driver: Invalid value: "bad": Flexvolume driver is not allowed to be used`},
		"forbidden safe sysctl": {func(c *constraint) { c.ForbiddenSysctls = []string{"net.*"} }, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{Sysctls: []core.Sysctl{{Name: "net.ipv4.tcp_syncookies"}}}
		}, `pod.spec.securityContext.sysctls[0]: Forbidden: sysctl "net.ipv4.tcp_syncookies" is not allowed`},
		"allowed unsafe sysctl": {func(c *constraint) { c.AllowedUnsafeSysctls = []string{"kernel.msg*"} }, func(pod *core.Pod) {
			pod.Spec.SecurityContext = &core.PodSecurityContext{Sysctls: []core.Sysctl{{Name: "kernel.msgmax"}}}
		}, ""},
		"read-only root": {func(c *constraint) { c.ReadOnlyRootFilesystem = true }, func(pod *core.Pod) {
			pod.Spec.Containers[0].SecurityContext = &core.SecurityContext{ReadOnlyRootFilesystem: pointer(false)}
		}, "provider s: .containers[0].readOnlyRootFilesystem: Invalid value: false: ReadOnlyRootFilesystem must be set to true"},
		"ephemeral container": {func(*constraint) {}, func(pod *core.Pod) {
			pod.Spec.EphemeralContainers = []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{
				Name: "e", SecurityContext: &core.SecurityContext{Privileged: pointer(true)},
			}}}
		}, "provider s: .ephemeralContainers[0].privileged: Invalid value: true: Privileged containers are not allowed"},
		"token of the account": {func(*constraint) {}, func(pod *core.Pod) {
			pod.Spec.Volumes = []core.Volume{{VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
				{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token"}},
			}}}}}
		}, ""},
		"token for somebody else": {func(*constraint) {}, func(pod *core.Pod) {
			pod.Spec.Volumes = []core.Volume{{VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
				{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", Audience: "bank"}},
			}}}}}
		}, `spec.volumes[0]: Invalid value: "projected": projected volumes are not allowed to be used`},
		"capability left out of the drops": {func(c *constraint) {
			c.RequiredDropCapabilities, c.AllowedCapabilities = caps("KILL"), caps("CHOWN")
		}, func(pod *core.Pod) {
			pod.Spec.Containers[0].SecurityContext = &core.SecurityContext{Capabilities: &core.Capabilities{Add: []core.Capability{"CHOWN"}}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			constraint, pod := anyhow("s"), simplePod()
			test.constraint(constraint)
			test.pod(pod)
			if _, problem := ask(t, "4.20", constraint, pod, ranges("1/1", "s0:c1", "")); problem != test.problem {
				t.Errorf("expected %q\n   given %q", test.problem, problem)
			}
		})
	}
}

// An update changes nothing but ephemeral containers, and keeps the constraint.
func TestUpdates(t *testing.T) {
	release, err := ParseRelease("4.20")
	if err != nil {
		t.Fatal(err)
	}
	first, second := anyhow("first"), anyhow("second")
	first.Priority = pointer(int32(1))
	first.RequiredDropCapabilities = caps("KILL")
	request := Request{
		Release:     release,
		Namespace:   Namespace{"n", ranges("1/1", "s0", "")},
		Constraints: []*securityv1.SecurityContextConstraints{second, first},
		MayUse:      func(*securityv1.SecurityContextConstraints) Subject { return Account },
		Pod:         simplePod(),
	}
	for _, step := range []struct {
		mutation  Mutation
		validated string
		expected  string
	}{
		{MutateAll, "second", "first"}, // a hint counts for no creation
		{MutateNothing, "", "second"},  // the first would have to change the pod
		{MutateNothing, "first", "second"},
		{MutateEphemeral, "", "second"},
	} {
		request.Mutation, request.Validated = step.mutation, step.validated
		if decision, err := Decide(request); err != nil || decision.SCC != step.expected {
			t.Errorf("%+v: %q, %v", step, decision.SCC, err)
		}
	}
	request.Constraints = request.Constraints[1:]
	for _, mutation := range []Mutation{MutateNothing, MutateEphemeral} {
		request.Mutation = mutation
		decision, err := Decide(request)
		if err != nil || decision.Pod != nil || decision.Refusal().Error() != unable+"<nil>" || decision.FinalRefusal().Error() != unable+"[]" {
			t.Errorf("%v: %+v, %v", mutation, decision, err)
		}
	}
}
