package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/apis/core"

	"local/kubernetes/openshift/scc"
)

const namespace = "work"

var resource = securityv1.GroupVersion.WithResource("securitycontextconstraints")

// constraint is one that allows every user and nothing else.
func constraint(name string, change func(*securityv1.SecurityContextConstraints)) runtime.Object {
	made := &securityv1.SecurityContextConstraints{
		TypeMeta:           metav1.TypeMeta{APIVersion: securityv1.GroupVersion.String(), Kind: "SecurityContextConstraints"},
		ObjectMeta:         metav1.ObjectMeta{Name: name},
		RunAsUser:          securityv1.RunAsUserStrategyOptions{Type: securityv1.RunAsUserStrategyMustRunAsRange},
		SELinuxContext:     securityv1.SELinuxContextStrategyOptions{Type: securityv1.SELinuxStrategyMustRunAs},
		FSGroup:            securityv1.FSGroupStrategyOptions{Type: securityv1.FSGroupStrategyRunAsAny},
		SupplementalGroups: securityv1.SupplementalGroupsStrategyOptions{Type: securityv1.SupplementalGroupsStrategyRunAsAny},
		Volumes:            []securityv1.FSType{"secret"},
	}
	if change != nil {
		change(made)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(made)
	if err != nil {
		panic(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func shipped() []runtime.Object {
	var objects []runtime.Object
	for _, name := range standard {
		objects = append(objects, constraint(name, func(made *securityv1.SecurityContextConstraints) {
			made.AllowPrivilegedContainer = name == "privileged"
		}))
	}
	return objects
}

// allows lets somebody use constraints in the namespace.
func allows(may map[string][]string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetVerb() != "use" || a.GetAPIGroup() != "security.openshift.io" || a.GetResource() != "securitycontextconstraints" ||
			a.GetNamespace() != namespace || !a.IsResourceRequest() {
			return authorizer.DecisionDeny, "", errors.New("nobody asks that")
		}
		if slices.Contains(may[a.GetUser().GetName()], a.GetName()) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

func ready(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{
		securityv1.UIDRangeAnnotation: "1000/10", securityv1.MCSAnnotation: "s0:c1,c2",
	}}}
}

// server is what an API server gives to the plugins.
type server struct {
	pods   *pods
	exec   exec
	client *fake.Clientset
}

// start starts the plugins on a server with constraints and other objects.
func start(t testing.TB, may map[string][]string, objects []runtime.Object, constraints []runtime.Object) server {
	t.Helper()
	release, err := scc.ParseRelease("4.20")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	client := fake.NewSimpleClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	custom := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{resource: "SecurityContextConstraintsList"})
	for _, made := range constraints {
		if _, err := custom.Resource(resource).Create(context.Background(), made.(*unstructured.Unstructured), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	shared := newShared()
	made := server{newPods(PodsPlugin, release, shared), newExec(release, shared), client}
	for _, plugin := range []*pods{made.pods, made.exec.pods} {
		plugin.limit, plugin.interval = 300*time.Millisecond, 5*time.Millisecond
		if err := plugin.ValidateInitialization(); err == nil {
			t.Fatal("it starts without anything")
		}
		plugin.SetAuthorizer(allows(may))
		plugin.SetDynamicClient(custom)
		plugin.SetDrainedNotification(stop)
		plugin.SetExternalKubeClientSet(client)
		plugin.SetExternalKubeInformerFactory(factory)
		if err := plugin.ValidateInitialization(); err != nil {
			t.Fatal(err)
		}
	}
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	return made
}

func newShared() *constraints { return &constraints{} }

func plainPod() *core.Pod {
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: namespace},
		Spec:       core.PodSpec{ServiceAccountName: "default", Containers: []core.Container{{Name: "c"}}},
	}
}

func privilegedPod() *core.Pod {
	pod := plainPod()
	yes := true
	pod.Spec.Containers[0].SecurityContext = &core.SecurityContext{Privileged: &yes}
	return pod
}

func attributes(operation admission.Operation, pod, old runtime.Object, in, subresource string) admission.Attributes {
	return admission.NewAttributesRecord(pod, old, core.Kind("Pod").WithVersion(""), in, "p",
		core.Resource("pods").WithVersion(""), subresource, operation, nil, false, &user.DefaultInfo{Name: "jane", Groups: []string{"g"}})
}

func creating(pod *core.Pod) admission.Attributes {
	return attributes(admission.Create, pod, nil, namespace, "")
}

func expectForbidden(t *testing.T, err error, part string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), part) {
		t.Errorf("expected a refusal with %q, given %v", part, err)
	}
}

// Who may use a constraint gets it, and the pod says by whose right.
func TestAdmits(t *testing.T) {
	for name, test := range map[string]struct {
		may                 map[string][]string
		change              func(*securityv1.SecurityContextConstraints)
		constraint, subject string
	}{
		"by the user's right":    {map[string][]string{"jane": {"restricted-v2"}}, nil, "restricted-v2", "user"},
		"by the account's right": {map[string][]string{"system:serviceaccount:work:default": {"nonroot"}}, nil, "nonroot", "serviceaccount"},
		"by both":                {map[string][]string{"jane": {"nonroot"}, "system:serviceaccount:work:default": {"nonroot"}}, nil, "nonroot", "serviceaccount"},
		"as a named user":        {nil, func(made *securityv1.SecurityContextConstraints) { made.Users = []string{"jane"} }, "own", "user"},
		"as one of a group":      {nil, func(made *securityv1.SecurityContextConstraints) { made.Groups = []string{"g"} }, "own", "user"},
		"as an account's group": {nil, func(made *securityv1.SecurityContextConstraints) {
			made.Groups = []string{"system:serviceaccounts:work"}
		}, "own", "serviceaccount"},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, test.may, []runtime.Object{ready(namespace, nil)}, append(shipped(), constraint("own", test.change)))
			pod := plainPod()
			if err := server.pods.Admit(context.Background(), creating(pod), nil); err != nil {
				t.Fatal(err)
			}
			if err := server.pods.Validate(context.Background(), creating(pod), nil); err != nil {
				t.Error(err)
			}
			if given := pod.Annotations[securityv1.ValidatedSCCAnnotation]; given != test.constraint {
				t.Errorf("admitted by %q", given)
			}
			if given := pod.Annotations[securityv1.ValidatedSCCSubjectTypeAnnotation]; given != test.subject {
				t.Errorf("by the right of %q", given)
			}
			if context := pod.Spec.Containers[0].SecurityContext; context == nil || *context.RunAsUser != 1000 {
				t.Errorf("context %v", context)
			}
		})
	}
}

// Without the constraints, or with some of the standard ones missing, every pod
// is refused.
func TestRefusesWithoutConstraints(t *testing.T) {
	may := map[string][]string{"jane": standard}
	server := start(t, may, []runtime.Object{ready(namespace, nil)}, shipped()[1:])
	expectForbidden(t, server.pods.Admit(context.Background(), creating(plainPod()), nil),
		"securitycontextconstraints.security.openshift.io cache is missing anyuid")

	server = start(t, may, []runtime.Object{ready(namespace, nil)}, shipped())
	server.pods.constraints = newShared() // one that nobody has started
	for what, refuse := range map[string]func() error{
		"admit":    func() error { return server.pods.Admit(context.Background(), creating(plainPod()), nil) },
		"validate": func() error { return server.pods.Validate(context.Background(), creating(plainPod()), nil) },
	} {
		began := time.Now()
		expectForbidden(t, refuse(), "securitycontextconstraints.security.openshift.io cache is not synchronized")
		if waited := time.Since(began); waited < server.pods.limit {
			t.Errorf("%s: refused after %v already", what, waited)
		}
	}
}

// A pod waits until its namespace has ranges, and is refused if it gets none.
func TestWaitsForRanges(t *testing.T) {
	bare := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	server := start(t, map[string][]string{"jane": {"restricted-v2"}}, []runtime.Object{bare}, shipped())
	expectForbidden(t, server.pods.Admit(context.Background(), creating(plainPod()), nil),
		`error fetching namespace "work": unable to find annotation openshift.io/sa.scc.uid-range`)
	server.pods.limit = 10 * time.Second
	// No wait helps a pod that requires a constraint which is missing.
	requiring := plainPod()
	requiring.Annotations = map[string]string{securityv1.RequiredSCCAnnotation: "gone"}
	began := time.Now()
	expectForbidden(t, server.pods.Admit(context.Background(), creating(requiring), nil), `failed to retrieve the required SCC "gone": `)
	if waited := time.Since(began); waited > server.pods.limit/2 {
		t.Errorf("refused only after %v", waited)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = server.client.CoreV1().Namespaces().Update(context.Background(), ready(namespace, nil), metav1.UpdateOptions{})
	}()
	if err := server.pods.Admit(context.Background(), creating(plainPod()), nil); err != nil {
		t.Error(err)
	}
}

// An authorizer that fails allows nothing, whatever it says.
func TestFailingAuthorizerAllowsNothing(t *testing.T) {
	server := start(t, nil, []runtime.Object{ready(namespace, nil)}, shipped())
	server.pods.SetAuthorizer(authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionAllow, "", errors.New("broken")
	}))
	expectForbidden(t, server.pods.Admit(context.Background(), creating(plainPod()), nil),
		`provider "restricted-v2": Forbidden: not usable by user or serviceaccount`)
}

// What is judged, and what passes without a look.
func TestIgnores(t *testing.T) {
	windows := privilegedPod()
	windows.Spec.OS = &core.PodOS{Name: core.Windows}
	networked := privilegedPod()
	networked.Annotations = map[string]string{networkAnnotation: "x"}
	noted := privilegedPod()
	noted.Annotations = map[string]string{"note": "x"}
	owned := privilegedPod()
	owned.OwnerReferences = []metav1.OwnerReference{{Name: "o"}}
	server := start(t, nil, []runtime.Object{
		ready(namespace, nil), ready("level", map[string]string{"openshift.io/run-level": "1"}),
		ready("off", map[string]string{"security.openshift.io/disable-securitycontextconstraints": "true"}),
		ready("other", map[string]string{"openshift.io/run-level": "2"}),
	}, shipped())
	for name, test := range map[string]struct {
		attributes admission.Attributes
		ignored    bool
	}{
		"create":                {creating(privilegedPod()), false},
		"status":                {attributes(admission.Update, privilegedPod(), plainPod(), namespace, "status"), true},
		"binding":               {attributes(admission.Create, privilegedPod(), nil, namespace, "binding"), true},
		"ephemeral containers":  {attributes(admission.Update, privilegedPod(), plainPod(), namespace, "ephemeralcontainers"), false},
		"windows":               {creating(windows), true},
		"network's annotation":  {attributes(admission.Update, networked, privilegedPod(), namespace, ""), true},
		"another annotation":    {attributes(admission.Update, noted, privilegedPod(), namespace, ""), false},
		"owner":                 {attributes(admission.Update, owned, privilegedPod(), namespace, ""), true},
		"new spec":              {attributes(admission.Update, privilegedPod(), plainPod(), namespace, ""), false},
		"namespace by name":     {attributes(admission.Create, privilegedPod(), nil, "kube-system", ""), true},
		"namespace by level":    {attributes(admission.Create, privilegedPod(), nil, "level", ""), true},
		"namespace by label":    {attributes(admission.Create, privilegedPod(), nil, "off", ""), true},
		"namespace of level 2":  {attributes(admission.Create, privilegedPod(), nil, "other", ""), false},
		"object that is no pod": {attributes(admission.Create, &core.Service{}, nil, namespace, ""), false},
	} {
		err := server.pods.Admit(context.Background(), test.attributes, nil)
		if test.ignored && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.ignored {
			expectForbidden(t, err, `pods "p" is forbidden: `)
		}
	}
}

// After all mutation the pod must still be what a constraint admits.
func TestChecksTheFinalPod(t *testing.T) {
	server := start(t, map[string][]string{"jane": {"restricted-v2", "nonroot"}}, []runtime.Object{ready(namespace, nil)}, shipped())
	admitted := func() *core.Pod {
		pod := plainPod()
		if err := server.pods.Admit(context.Background(), creating(pod), nil); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	changed := admitted()
	yes := true
	changed.Spec.Containers[0].SecurityContext.Privileged = &yes
	expectForbidden(t, server.pods.Validate(context.Background(), creating(changed), nil), "Privileged containers are not allowed")
	added := admitted()
	added.Spec.Containers = append(added.Spec.Containers, core.Container{Name: "sidecar"})
	expectForbidden(t, server.pods.Validate(context.Background(), creating(added), nil), "unable to validate against any security context constraint: [")
	other := admitted()
	// The constraints differ by name alone, so the first name has admitted the pod.
	other.Annotations[securityv1.RequiredSCCAnnotation] = "restricted-v2"
	expectForbidden(t, server.pods.Validate(context.Background(), creating(other), nil), "required scc/restricted-v2 does not match the suggested scc/nonroot")
	expectForbidden(t, server.pods.Admit(context.Background(), attributes(admission.Update, other, admitted(), namespace, ""), nil),
		"invalid change of required security context constraint annotation: openshift.io/required-scc")
}

// Ephemeral containers come late, and get what the others got.
func TestAdmitsEphemeralContainers(t *testing.T) {
	server := start(t, map[string][]string{"jane": {"restricted-v2"}}, []runtime.Object{ready(namespace, nil)}, shipped())
	old := plainPod()
	if err := server.pods.Admit(context.Background(), creating(old), nil); err != nil {
		t.Fatal(err)
	}
	updated := old.DeepCopy()
	updated.Spec.EphemeralContainers = []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{Name: "e"}}}
	update := attributes(admission.Update, updated, old, namespace, "ephemeralcontainers")
	if err := server.pods.Admit(context.Background(), update, nil); err != nil {
		t.Fatal(err)
	}
	if context := updated.Spec.EphemeralContainers[0].SecurityContext; context == nil || context.RunAsUser == nil || *context.RunAsUser != 1000 {
		t.Errorf("context %v", context)
	}
	if err := server.pods.Validate(context.Background(), update, nil); err != nil {
		t.Error(err)
	}
}

// Nobody gets into a pod that they could not create.
func TestRestrictsExec(t *testing.T) {
	yes := true
	running := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}},
	}
	connect := func(subresource string) admission.Attributes {
		return attributes(admission.Connect, &core.PodExecOptions{}, nil, namespace, subresource)
	}
	server := start(t, map[string][]string{"jane": {"restricted-v2"}}, []runtime.Object{ready(namespace, nil), running}, shipped())
	for _, subresource := range []string{"exec", "attach"} {
		expectForbidden(t, server.exec.Validate(context.Background(), connect(subresource), nil),
			subresource+" operation is not allowed because the pod's security context exceeds your permissions: pods \"p\" is forbidden: ")
	}
	if err := server.exec.Validate(context.Background(), connect("portforward"), nil); err != nil {
		t.Error(err)
	}
	server = start(t, map[string][]string{"jane": {"privileged"}}, []runtime.Object{ready(namespace, nil), running}, shipped())
	if err := server.exec.Validate(context.Background(), connect("exec"), nil); err != nil {
		t.Error(err)
	}
	server = start(t, nil, []runtime.Object{ready(namespace, nil)}, shipped())
	if err := server.exec.Validate(context.Background(), connect("exec"), nil); !apierrors.IsNotFound(err) {
		t.Errorf("of a pod that isn't there: %v", err)
	}
}

// The plugins stand before the webhooks, in OpenShift's order.
func TestOrder(t *testing.T) {
	given := Order([]string{"ServiceAccount", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ResourceQuota"})
	expected := []string{"ServiceAccount", "MutatingAdmissionPolicy", PodsPlugin, ExecPlugin, ValidatingPlugin, DefaultingPlugin, "MutatingAdmissionWebhook", "ResourceQuota"}
	if !slices.Equal(given, expected) {
		t.Errorf("%v", given)
	}
	plugins := admission.NewPlugins()
	Register(plugins, scc.Release{})
	for _, name := range []string{PodsPlugin, ExecPlugin, ValidatingPlugin, DefaultingPlugin} {
		if !slices.Contains(plugins.Registered(), name) {
			t.Errorf("%s is not registered", name)
		}
	}
}

func object(operation admission.Operation, sent, old runtime.Object) admission.Attributes {
	return admission.NewAttributesRecord(sent, old, securityv1.GroupVersion.WithKind("SecurityContextConstraints"), "", "own", resource, "", operation, nil, false, nil)
}

// Constraints are filled in when they are stored, and bad ones are refused.
func TestStoresConstraints(t *testing.T) {
	sent := constraint("own", nil).(*unstructured.Unstructured)
	unstructured.RemoveNestedField(sent.Object, "volumes")
	if err := (&defaulting{}).Admit(context.Background(), object(admission.Create, sent, nil), nil); err != nil {
		t.Fatal(err)
	}
	if allowed, _, _ := unstructured.NestedBool(sent.Object, "allowPrivilegeEscalation"); !allowed {
		t.Errorf("%v", sent.Object)
	}
	if volumes, _, _ := unstructured.NestedSlice(sent.Object, "volumes"); len(volumes) != 29 {
		t.Errorf("%d volumes: %v", len(volumes), volumes)
	}
	if _, has, _ := unstructured.NestedFieldNoCopy(sent.Object, "metadata", "creationTimestamp"); has || sent.GetName() != "own" || sent.GetKind() == "" {
		t.Errorf("metadata %v", sent.Object["metadata"])
	}
	sent.SetResourceVersion("1")
	check := &validating{}
	for _, attributes := range []admission.Attributes{object(admission.Create, sent, nil), object(admission.Update, sent, sent)} {
		if err := check.Validate(context.Background(), attributes, nil); err != nil {
			t.Error(err)
		}
	}
	bad := sent.DeepCopy()
	unstructured.RemoveNestedField(bad.Object, "runAsUser")
	const expected = `SecurityContextConstraints.security.openshift.io "own" is invalid: runAsUser.type: Invalid value: "": invalid strategy type.  Valid values are MustRunAs, MustRunAsNonRoot, MustRunAsRange, RunAsAny`
	for _, attributes := range []admission.Attributes{object(admission.Create, bad, nil), object(admission.Update, bad, sent)} {
		if err := check.Validate(context.Background(), attributes, nil); err == nil || err.Error() != expected || !apierrors.IsInvalid(err) {
			t.Errorf("%v", err)
		}
	}
	if err := (&defaulting{}).Admit(context.Background(), creating(plainPod()), nil); err != nil {
		t.Error(err)
	}
}
