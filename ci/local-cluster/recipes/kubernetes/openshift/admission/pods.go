package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/apis/core"

	"local/kubernetes/openshift/scc"
)

// pods is the plugin that admits pods.
type pods struct {
	*admission.Handler
	name        string
	release     scc.Release
	constraints *constraints
	// How long a request waits for the constraints and for its namespace's
	// annotations, and how often it looks.
	limit, interval time.Duration

	authorizer       authorizer.Authorizer
	client           kubernetes.Interface
	dynamic          dynamic.Interface
	namespaces       corev1listers.NamespaceLister
	namespacesSynced cache.InformerSynced
	stop             <-chan struct{}
}

var (
	_ admission.MutationInterface                  = &pods{}
	_ admission.ValidationInterface                = &pods{}
	_ initializer.WantsAuthorizer                  = &pods{}
	_ initializer.WantsDynamicClient               = &pods{}
	_ initializer.WantsDrainedNotification         = &pods{}
	_ initializer.WantsExternalKubeClientSet       = &pods{}
	_ initializer.WantsExternalKubeInformerFactory = &pods{}
)

func newPods(name string, release scc.Release, shared *constraints) *pods {
	return &pods{
		Handler:     admission.NewHandler(admission.Create, admission.Update),
		name:        name,
		release:     release,
		constraints: shared,
		limit:       10 * time.Second,
		interval:    100 * time.Millisecond,
	}
}

func (p *pods) SetAuthorizer(authorizer authorizer.Authorizer)       { p.authorizer = authorizer }
func (p *pods) SetDynamicClient(client dynamic.Interface)            { p.dynamic = client }
func (p *pods) SetDrainedNotification(stop <-chan struct{})          { p.stop = stop }
func (p *pods) SetExternalKubeClientSet(client kubernetes.Interface) { p.client = client }
func (p *pods) SetExternalKubeInformerFactory(f informers.SharedInformerFactory) {
	p.namespaces = f.Core().V1().Namespaces().Lister()
	p.namespacesSynced = f.Core().V1().Namespaces().Informer().HasSynced
}

// ValidateInitialization tells what the API server did not give the plugin. With
// everything given, it begins to follow the constraints.
func (p *pods) ValidateInitialization() error {
	for what, given := range map[string]bool{
		"an authorizer":        p.authorizer != nil,
		"a client":             p.client != nil && p.dynamic != nil,
		"a list of namespaces": p.namespaces != nil && p.namespacesSynced != nil,
		"an end":               p.stop != nil,
	} {
		if !given {
			return fmt.Errorf("%s requires %s", p.name, what)
		}
	}
	p.constraints.start(p.dynamic, p.stop)
	return nil
}

// Admit judges a pod and changes it as the constraint says that admits it. Of a
// pod that exists it changes at most the ephemeral containers.
func (p *pods) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, err := p.subject(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	mutation := scc.MutateAll
	if a.GetOperation() == admission.Update {
		old := a.GetOldObject().(*core.Pod)
		if pod.Annotations[securityv1.RequiredSCCAnnotation] != old.Annotations[securityv1.RequiredSCCAnnotation] {
			return admission.NewForbidden(a, fmt.Errorf("invalid change of required security context constraint annotation: %v", securityv1.RequiredSCCAnnotation))
		}
		mutation = scc.MutateNothing
		if a.GetSubresource() == "ephemeralcontainers" {
			mutation = scc.MutateEphemeral
		}
	}
	decision, err := p.decide(ctx, a, pod, mutation, "")
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if decision.Pod == nil {
		return admission.NewForbidden(a, decision.Refusal())
	}
	decision.Annotate()
	*pod = *decision.Pod
	return nil
}

// Validate judges a pod once more, after webhooks and others changed it. Now the
// constraint must admit it as it is.
func (p *pods) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, err := p.subject(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	required, validated := pod.Annotations[securityv1.RequiredSCCAnnotation], pod.Annotations[securityv1.ValidatedSCCAnnotation]
	if required != "" && required != validated {
		return admission.NewForbidden(a, fmt.Errorf("required scc/%v does not match the suggested scc/%v", required, validated))
	}
	decision, err := p.decide(ctx, a, pod, scc.MutateNothing, validated)
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if decision.Pod == nil || !apiequality.Semantic.DeepEqual(pod, decision.Pod) {
		return admission.NewForbidden(a, decision.FinalRefusal())
	}
	return nil
}

// decide asks package scc, once all that it must know is known.
func (p *pods) decide(ctx context.Context, a admission.Attributes, pod *core.Pod, mutation scc.Mutation, validated string) (scc.Decision, error) {
	if err := p.waitForConstraints(ctx); err != nil {
		return scc.Decision{}, err
	}
	request := scc.Request{
		Release:     p.release,
		Constraints: p.constraints.list(),
		MayUse:      p.mayUse(ctx, a, pod.Spec.ServiceAccountName),
		Mutation:    mutation,
		Validated:   validated,
		Pod:         pod,
	}
	// A constraint that is required and missing is known before the namespace is.
	if _, err := request.Candidates(); err != nil {
		return scc.Decision{}, err
	}
	var err error
	if request.Namespace, err = p.waitForNamespace(ctx, a.GetNamespace()); err != nil {
		return scc.Decision{}, err
	}
	return scc.Decide(request)
}

// waitForConstraints waits until the constraints are listed, and all standard
// ones among them.
func (p *pods) waitForConstraints(ctx context.Context) error {
	if !p.poll(ctx, func() bool { return p.constraints.synced() && p.namespacesSynced() }) {
		return errors.New("securitycontextconstraints.security.openshift.io cache is not synchronized")
	}
	var missing error
	if !p.poll(ctx, func() bool { missing = p.constraints.whole(); return missing == nil }) {
		return missing
	}
	return nil
}

// waitForNamespace waits until the namespace has its ranges.
func (p *pods) waitForNamespace(ctx context.Context, name string) (scc.Namespace, error) {
	namespace := scc.Namespace{Name: name}
	var problem error
	ready := p.poll(ctx, func() bool {
		found, err := p.namespaces.Get(name)
		if err == nil {
			namespace.Annotations = found.Annotations
			err = namespace.Ready()
		}
		problem = err
		return err == nil
	})
	if !ready {
		return scc.Namespace{}, fmt.Errorf("error fetching namespace %q: %w", name, problem)
	}
	return namespace, nil
}

// poll looks at once and then again and again, up to the limit.
func (p *pods) poll(ctx context.Context, done func() bool) bool {
	return wait.PollUntilContextTimeout(ctx, p.interval, p.limit, true, func(context.Context) (bool, error) { return done(), nil }) == nil
}

// mayUse asks the constraint itself and the authorizer. The service account
// comes first, as in OpenShift 4.20; before, nobody could tell.
func (p *pods) mayUse(ctx context.Context, a admission.Attributes, account string) func(*securityv1.SecurityContextConstraints) scc.Subject {
	return func(constraint *securityv1.SecurityContextConstraints) scc.Subject {
		if account != "" && p.allowed(ctx, constraint, serviceaccount.UserInfo(a.GetNamespace(), account, ""), a.GetNamespace()) {
			return scc.Account
		}
		if p.allowed(ctx, constraint, a.GetUserInfo(), a.GetNamespace()) {
			return scc.User
		}
		return scc.Nobody
	}
}

// allowed tells whether somebody may use a constraint in a namespace: it names
// them, or a role there or in the whole cluster does. An authorizer that fails
// allows nothing.
func (p *pods) allowed(ctx context.Context, constraint *securityv1.SecurityContextConstraints, who user.Info, namespace string) bool {
	if slices.Contains(constraint.Users, who.GetName()) {
		return true
	}
	for _, group := range who.GetGroups() {
		if slices.Contains(constraint.Groups, group) {
			return true
		}
	}
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User:            who,
		Verb:            "use",
		Namespace:       namespace,
		APIGroup:        securityv1.GroupName,
		Resource:        "securitycontextconstraints",
		Name:            constraint.Name,
		ResourceRequest: true,
	})
	return err == nil && decision == authorizer.DecisionAllow
}
