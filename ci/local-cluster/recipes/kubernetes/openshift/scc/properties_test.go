package scc

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
)

// Each property is tried on the same inputs every time, and on new ones. A
// failure names the seed that makes it again.
func forAll(t *testing.T, tries int, property func(t *testing.T, source *rand.Rand)) {
	t.Helper()
	for _, seed := range []int64{1, 2, 3, time.Now().UnixNano()} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			source := rand.New(rand.NewSource(seed))
			for try := 0; try < tries && !t.Failed(); try++ {
				property(t, source)
			}
		})
	}
}

func oneOf[T any](source *rand.Rand, values ...T) T { return values[source.Intn(len(values))] }

func maybe[T any](source *rand.Rand, values ...T) *T {
	if source.Intn(2) == 0 {
		return nil
	}
	return pointer(oneOf(source, values...))
}

// some returns a part of the values, in their order.
func some[T any](source *rand.Rand, values ...T) []T {
	var part []T
	for _, value := range values {
		if source.Intn(3) == 0 {
			part = append(part, value)
		}
	}
	return part
}

func coin(source *rand.Rand) bool { return source.Intn(2) == 0 }

// randomConstraint is one that an API server would store.
func randomConstraint(source *rand.Rand, name string) *securityv1.SecurityContextConstraints {
	for {
		constraint := anyhow(name)
		constraint.Priority = maybe(source, int32(0), 1, 10)
		constraint.AllowPrivilegedContainer, constraint.AllowHostNetwork = coin(source), coin(source)
		constraint.AllowHostPorts, constraint.AllowHostPID, constraint.AllowHostIPC = coin(source), coin(source), coin(source)
		constraint.ReadOnlyRootFilesystem = coin(source)
		constraint.UserNamespaceLevel = oneOf(source, securityv1.NamespaceLevelAllowHost, securityv1.NamespaceLevelRequirePod)
		constraint.AllowPrivilegeEscalation = pointer(coin(source))
		constraint.DefaultAllowPrivilegeEscalation = maybe(source, false, true)
		constraint.AllowedCapabilities = some[corev1.Capability](source, "CHOWN", "KILL", "CAP_SYS_ADMIN", "*")
		constraint.DefaultAddCapabilities = some[corev1.Capability](source, "SETUID", "KILL")
		constraint.RequiredDropCapabilities = some[corev1.Capability](source, "KILL", "MKNOD", "ALL")
		constraint.Volumes = some[securityv1.FSType](source, "secret", "emptyDir", "hostPath", "*")
		constraint.SeccompProfiles = some(source, "runtime/default", "*", "localhost/x", "unconfined")
		constraint.AllowedUnsafeSysctls = some(source, "kernel.msg*")
		constraint.ForbiddenSysctls = some(source, "net.*")
		constraint.RunAsUser = oneOf(source,
			securityv1.RunAsUserStrategyOptions{Type: "RunAsAny"},
			securityv1.RunAsUserStrategyOptions{Type: "MustRunAsNonRoot"},
			securityv1.RunAsUserStrategyOptions{Type: "MustRunAs", UID: pointer(int64(source.Intn(3)))},
			securityv1.RunAsUserStrategyOptions{Type: "MustRunAsRange"},
			securityv1.RunAsUserStrategyOptions{Type: "MustRunAsRange", UIDRangeMin: pointer(int64(0)), UIDRangeMax: pointer(int64(2))})
		constraint.SELinuxContext = oneOf(source,
			securityv1.SELinuxContextStrategyOptions{Type: "RunAsAny"},
			securityv1.SELinuxContextStrategyOptions{Type: "MustRunAs"},
			securityv1.SELinuxContextStrategyOptions{Type: "MustRunAs", SELinuxOptions: &corev1.SELinuxOptions{Type: "t"}})
		groups := func() []securityv1.IDRange {
			return oneOf(source, nil, []securityv1.IDRange{{Min: 0, Max: 1}}, []securityv1.IDRange{{Min: 5, Max: 5}, {Min: 1, Max: 2}})
		}
		constraint.FSGroup = securityv1.FSGroupStrategyOptions{Type: oneOf(source, securityv1.FSGroupStrategyRunAsAny, securityv1.FSGroupStrategyMustRunAs), Ranges: groups()}
		constraint.SupplementalGroups = securityv1.SupplementalGroupsStrategyOptions{Type: oneOf(source, securityv1.SupplementalGroupsStrategyRunAsAny, securityv1.SupplementalGroupsStrategyMustRunAs), Ranges: groups()}
		if len(Validate(constraint)) == 0 {
			return constraint
		}
	}
}

func randomPod(t *testing.T, source *rand.Rand) *core.Pod {
	pod := decoded(t, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`))
	pod.Namespace = "n"
	for key, value := range map[string]string{podSeccompAnnotation: "unconfined", containerSeccompAnnotation + "c": "localhost/x"} {
		if source.Intn(6) == 0 {
			pod.Annotations = map[string]string{key: value}
		}
	}
	labels := func() *core.SELinuxOptions {
		return oneOf(source, nil, nil, &core.SELinuxOptions{Level: "s0:c2,c1"}, &core.SELinuxOptions{Level: "s0:c1,c2", Type: "t"})
	}
	profile := func() *core.SeccompProfile {
		return oneOf(source, nil, nil, &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}, &core.SeccompProfile{Type: core.SeccompProfileTypeUnconfined})
	}
	if coin(source) {
		pod.Spec.SecurityContext = &core.PodSecurityContext{
			RunAsUser: maybe(source, int64(0), 1, 1000), RunAsNonRoot: maybe(source, true, false), FSGroup: maybe(source, int64(0), 1, 1000),
			SupplementalGroups: oneOf(source, nil, nil, []int64{}, []int64{1}, []int64{5, 1000}), SELinuxOptions: labels(), SeccompProfile: profile(),
		}
		if source.Intn(4) == 0 {
			pod.Spec.SecurityContext.Sysctls = []core.Sysctl{{Name: oneOf(source, "kernel.msgmax", "net.ipv4.tcp_syncookies")}}
		}
	}
	for i := source.Intn(3); i > 0; i-- {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, core.Container{Name: fmt.Sprintf("i%d", i), Image: "i"})
	}
	for i := source.Intn(2); i > 0; i-- {
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, core.EphemeralContainer{
			EphemeralContainerCommon: core.EphemeralContainerCommon{Name: "e", Image: "i"},
		})
	}
	var ephemeral []core.Container
	for _, container := range pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, core.Container(container.EphemeralContainerCommon))
	}
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers, ephemeral} {
		for i := range list {
			if source.Intn(3) == 0 {
				continue
			}
			list[i].SecurityContext = &core.SecurityContext{
				RunAsUser: maybe(source, int64(0), 1, 1000), RunAsNonRoot: maybe(source, true, false), SELinuxOptions: labels(), SeccompProfile: profile(),
				AllowPrivilegeEscalation: maybe(source, true, false), ReadOnlyRootFilesystem: maybe(source, true, true, false),
			}
			if source.Intn(4) == 0 {
				list[i].SecurityContext.Privileged = pointer(coin(source))
			}
			if coin(source) {
				list[i].SecurityContext.Capabilities = &core.Capabilities{
					Add: some[core.Capability](source, "CHOWN", "SETUID", "CAP_SYS_ADMIN"), Drop: some[core.Capability](source, "MKNOD", "KILL", "ALL"),
				}
			}
			if source.Intn(6) == 0 {
				list[i].Ports = []core.ContainerPort{{HostPort: 80}}
			}
		}
	}
	for i, container := range ephemeral {
		pod.Spec.EphemeralContainers[i].EphemeralContainerCommon = core.EphemeralContainerCommon(container)
	}
	if source.Intn(3) == 0 {
		pod.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: oneOf(source,
			core.VolumeSource{Secret: &core.SecretVolumeSource{}}, core.VolumeSource{HostPath: &core.HostPathVolumeSource{}})}}
	}
	if coin(source) {
		return pod
	}
	// Where the internal pod has these fields depends on the version of Kubernetes.
	external := corev1.Pod{}
	if err := legacyscheme.Scheme.Convert(pod, &external, nil); err != nil {
		t.Fatal(err)
	}
	external.Spec.HostUsers = maybe(source, false, false, true)
	external.Spec.HostNetwork, external.Spec.HostPID, external.Spec.HostIPC = source.Intn(6) == 0, source.Intn(6) == 0, source.Intn(6) == 0
	shared := &core.Pod{}
	if err := legacyscheme.Scheme.Convert(&external, shared, nil); err != nil {
		t.Fatal(err)
	}
	return shared
}

func randomRequest(t *testing.T, source *rand.Rand) Request {
	release, err := ParseRelease(oneOf(source, "4.18", "4.19", "4.20", "5.0"))
	if err != nil {
		t.Fatal(err)
	}
	var constraints []*securityv1.SecurityContextConstraints
	allowed := map[string]Subject{}
	for i := 1 + source.Intn(6); i > 0; i-- {
		name := fmt.Sprintf("s%d", i)
		constraints = append(constraints, randomConstraint(source, name))
		allowed[name] = oneOf(source, User, Account, Account, Nobody)
	}
	return Request{
		Release:     release,
		Namespace:   Namespace{"n", ranges("1000/10", "s0:c1,c2", oneOf(source, "", "1000/10,5/1"))},
		Constraints: constraints,
		MayUse:      func(constraint *securityv1.SecurityContextConstraints) Subject { return allowed[constraint.Name] },
		Mutation:    MutateAll,
		Pod:         randomPod(t, source),
	}
}

// A pod that was admitted is admitted again, by the same constraint and without
// another change, and it passes the final check.
func TestAdmissionIsIdempotent(t *testing.T) {
	admittedPods := 0
	forAll(t, 3000, func(t *testing.T, source *rand.Rand) {
		request := randomRequest(t, source)
		original := request.Pod.DeepCopy()
		first, err := Decide(request)
		if err != nil {
			t.Fatal(err)
		}
		if !apiequality.Semantic.DeepEqual(original, request.Pod) {
			t.Fatalf("the request's own pod was changed")
		}
		if first.Pod == nil {
			return
		}
		admittedPods++
		first.Annotate()
		for _, again := range []struct {
			mutation  Mutation
			validated string
		}{{MutateAll, ""}, {MutateNothing, first.SCC}, {MutateEphemeral, ""}} {
			request.Pod, request.Mutation, request.Validated = first.Pod, again.mutation, again.validated
			second, err := Decide(request)
			if err != nil || second.Pod == nil {
				t.Fatalf("%+v: refused after admission by %s: %v %v", again, first.SCC, err, second.problems)
			}
			second.Annotate()
			if second.SCC != first.SCC || !apiequality.Semantic.DeepEqual(first.Pod, second.Pod) {
				t.Fatalf("%+v: first %s %s, then %s %s", again, first.SCC, shown(t, first.Pod), second.SCC, shown(t, second.Pod))
			}
		}
	})
	if admittedPods < 500 {
		t.Errorf("only %d pods were admitted at all", admittedPods)
	}
}

// A constraint finds nothing wrong with a pod that it admitted itself.
func TestAdmittedPodsAreValid(t *testing.T) {
	forAll(t, 3000, func(t *testing.T, source *rand.Rand) {
		request := randomRequest(t, source)
		decision, err := Decide(request)
		if err != nil {
			t.Fatal(err)
		}
		if decision.Pod == nil {
			return
		}
		i := slices.IndexFunc(request.Constraints, func(constraint *securityv1.SecurityContextConstraints) bool { return constraint.Name == decision.SCC })
		made, err := newProvider(request.Release, request.Namespace, request.Constraints[i])
		if err != nil {
			t.Fatal(err)
		}
		if request.MayUse(request.Constraints[i]) == Nobody {
			t.Fatalf("%s admits it, and nobody may use that", decision.SCC)
		}
		unchanged, problems := made.apply(decision.Pod)
		if len(problems) > 0 || !apiequality.Semantic.DeepEqual(unchanged, decision.Pod) {
			t.Fatalf("%s: %v", decision.SCC, problems)
		}
	})
}

// tighten makes a constraint stricter in one way.
func tighten(source *rand.Rand, constraint *securityv1.SecurityContextConstraints) {
	oneOf(source,
		func() { constraint.AllowPrivilegedContainer = false },
		func() { constraint.AllowHostNetwork = false },
		func() { constraint.AllowHostPorts = false },
		func() { constraint.AllowHostPID = false },
		func() { constraint.AllowHostIPC = false },
		func() {
			constraint.AllowPrivilegeEscalation, constraint.DefaultAllowPrivilegeEscalation = pointer(false), nil
		},
		func() { constraint.ReadOnlyRootFilesystem = true },
		func() { constraint.UserNamespaceLevel = securityv1.NamespaceLevelRequirePod },
		func() { constraint.AllowedCapabilities = nil },
		func() { constraint.Volumes = []securityv1.FSType{"none"} },
		func() { constraint.AllowedUnsafeSysctls = nil },
		func() { constraint.ForbiddenSysctls = []string{"*"} },
		func() {
			constraint.FSGroup = securityv1.FSGroupStrategyOptions{Type: "MustRunAs", Ranges: []securityv1.IDRange{{Min: 1, Max: 1}}}
		},
		func() {
			constraint.SupplementalGroups = securityv1.SupplementalGroupsStrategyOptions{Type: "MustRunAs", Ranges: []securityv1.IDRange{{Min: 1, Max: 1}}}
		},
		func() {
			if constraint.RunAsUser.Type == "RunAsAny" {
				constraint.RunAsUser = oneOf(source,
					securityv1.RunAsUserStrategyOptions{Type: "MustRunAsNonRoot"},
					securityv1.RunAsUserStrategyOptions{Type: "MustRunAsRange"},
					securityv1.RunAsUserStrategyOptions{Type: "MustRunAs", UID: pointer(int64(1))})
			}
		},
		func() {
			if constraint.SELinuxContext.Type == "RunAsAny" {
				constraint.SELinuxContext.Type = "MustRunAs"
			}
		},
		func() {
			if slices.Contains(constraint.SeccompProfiles, "*") {
				constraint.SeccompProfiles = []string{"runtime/default"}
			}
		},
	)()
}

// What a stricter constraint admits, the laxer one admits too.
func TestStricterConstraintsAdmitNoMore(t *testing.T) {
	refusedMore := 0
	forAll(t, 6000, func(t *testing.T, source *rand.Rand) {
		lax := randomConstraint(source, "s")
		strict := lax.DeepCopy()
		// A group that only the stricter one requires is no less strict than the
		// laxer one's; where that has ranges of its own, they must hold it.
		lax.FSGroup.Ranges, lax.SupplementalGroups.Ranges = []securityv1.IDRange{{Min: 0, Max: 1}}, []securityv1.IDRange{{Min: 0, Max: 1}}
		strict.FSGroup.Ranges, strict.SupplementalGroups.Ranges = lax.FSGroup.Ranges, lax.SupplementalGroups.Ranges
		for i := 1 + source.Intn(3); i > 0; i-- {
			tighten(source, strict)
		}
		pod := randomPod(t, source)
		request := func(constraint *securityv1.SecurityContextConstraints) Request {
			return Request{
				Namespace:   Namespace{"n", ranges("1000/10", "s0:c1,c2", "")},
				Constraints: []*securityv1.SecurityContextConstraints{constraint},
				MayUse:      func(*securityv1.SecurityContextConstraints) Subject { return User },
				Mutation:    MutateAll,
				Pod:         pod,
			}
		}
		byStrict, err := Decide(request(strict))
		if err != nil {
			t.Fatal(err)
		}
		byLax, err := Decide(request(lax))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case byStrict.Pod != nil && byLax.Pod == nil:
			t.Fatalf("only the stricter one admits %s\n   lax %s\nstrict %s\n%s", shown(t, pod), shown(t, lax), shown(t, strict), byLax.Refusal())
		case byStrict.Pod == nil && byLax.Pod != nil:
			refusedMore++
		}
	})
	if refusedMore < 50 {
		t.Errorf("the stricter constraint made a difference for %d pods only", refusedMore)
	}
}

// The order of the constraints doesn't depend on the order in which they come.
func TestOrderIsTotal(t *testing.T) {
	forAll(t, 500, func(t *testing.T, source *rand.Rand) {
		constraints := randomRequest(t, source).Constraints
		sorted := Sorted(constraints)
		source.Shuffle(len(constraints), func(i, j int) { constraints[i], constraints[j] = constraints[j], constraints[i] })
		if again := Sorted(constraints); !slices.Equal(sorted, again) {
			t.Fatal("another order came out")
		}
		for i := 1; i < len(sorted); i++ {
			if priority(sorted[i-1]) < priority(sorted[i]) ||
				priority(sorted[i-1]) == priority(sorted[i]) && score(sorted[i-1]) > score(sorted[i]) {
				t.Fatalf("%s comes before %s", sorted[i-1].Name, sorted[i].Name)
			}
		}
	})
}
