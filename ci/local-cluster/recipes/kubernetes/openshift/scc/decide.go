// Package scc decides as OpenShift's SCC admission does: which security context
// constraint admits a pod, what it sets in the pod, or why none admits it.
//
// It has no state and asks nobody. Package admission serves it in the API
// server. The rules and the words of the messages are those of the real plugin
// (apiserver-library-go); recordings of it are in fixtures/recordings/scc.
package scc

import (
	"errors"
	"fmt"

	securityv1 "github.com/openshift/api/security/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
)

// Subject is who may use a constraint.
type Subject string

const (
	Nobody  Subject = "none"
	User    Subject = "user"
	Account Subject = "serviceaccount"
)

// Mutation is how much of a pod admission may change.
type Mutation int

const (
	// MutateNothing is for an update, and for the check after all mutation.
	MutateNothing Mutation = iota
	// MutateEphemeral is for an update of a pod's ephemeral containers.
	MutateEphemeral
	// MutateAll is for a creation.
	MutateAll
)

// Request is all that a decision depends on.
type Request struct {
	Release   Release
	Namespace Namespace
	// Constraints are all that the cluster has.
	Constraints []*securityv1.SecurityContextConstraints
	// MayUse tells who may use a constraint: of the pod's service account and
	// the user who sends it, the one that the release asks first. It is asked
	// once for a constraint at most, and only while none has admitted the pod.
	MayUse   func(*securityv1.SecurityContextConstraints) Subject
	Mutation Mutation
	// Validated, if the cluster has it, is the constraint to try first. It counts
	// only where the mutation is less than MutateAll.
	Validated string
	// Pod is not changed.
	Pod *core.Pod
}

// Decision is an answer: an admitted pod, or problems.
type Decision struct {
	// Pod is the pod as admitted, without the annotations of Annotate. It is nil
	// if the pod is refused.
	Pod *core.Pod
	// SCC admits the pod, because Subject may use it.
	SCC     string
	Subject Subject
	// The problems with the constraints that were tried before that.
	problems field.ErrorList
	release  Release
}

// Decide tries the constraints in their order, or the one that the pod's
// annotation openshift.io/required-scc names. Its error is a reason to refuse
// the pod without having judged it.
func Decide(request Request) (Decision, error) {
	constraints, err := request.Candidates()
	if err != nil {
		return Decision{}, err
	}
	if err := request.Namespace.Ready(); err != nil {
		return Decision{}, fmt.Errorf("error fetching namespace %q: %w", request.Namespace.Name, err)
	}
	providers, err := request.providers(constraints)
	if err != nil {
		return Decision{}, err
	}
	decision := Decision{release: request.Release}
	for _, candidate := range providers {
		subject := request.MayUse(candidate.SecurityContextConstraints)
		if subject == Nobody {
			candidate.refused = true
			decision.problems = append(decision.problems, field.Forbidden(
				field.NewPath(fmt.Sprintf("provider %q", candidate.Name)), "not usable by user or serviceaccount"))
			continue
		}
		pod, problems := candidate.apply(request.Pod)
		if len(problems) > 0 {
			decision.problems = append(decision.problems, problems...)
			continue
		}
		if request.suits(pod) {
			decision.Pod, decision.SCC, decision.Subject = pod, candidate.Name, subject
			return decision, nil
		}
	}
	decision.problems = append(decision.problems, request.oldDefault(providers)...)
	return decision, nil
}

// Candidates are the constraints to try, in their order. Its error does not
// depend on the namespace.
func (r Request) Candidates() ([]*securityv1.SecurityContextConstraints, error) {
	constraints := r.Constraints
	if required := r.Pod.Annotations[securityv1.RequiredSCCAnnotation]; required != "" {
		constraints = nil
		for _, constraint := range r.Constraints {
			if constraint.Name == required {
				constraints = append(constraints, constraint)
			}
		}
		if len(constraints) == 0 {
			missing := apierrors.NewNotFound(securityv1.Resource("securitycontextconstraints"), required)
			return nil, fmt.Errorf("failed to retrieve the required SCC %q: %w", required, missing)
		}
	}
	if len(constraints) == 0 {
		return nil, errors.New("no SecurityContextConstraints found in cluster")
	}
	constraints = Sorted(constraints)
	if r.Mutation != MutateAll && r.Validated != "" {
		constraints = preferring(r.Validated, constraints)
	}
	return constraints, nil
}

// candidate is a provider that is being tried.
type candidate struct {
	*provider
	// Neither the user nor the account may use it.
	refused bool
}

// providers fills the constraints in from the namespace. One that can't work
// refuses every pod, whoever may use it.
func (r Request) providers(constraints []*securityv1.SecurityContextConstraints) ([]*candidate, error) {
	var candidates []*candidate
	var problems []error
	for _, constraint := range constraints {
		made, err := newProvider(r.Release, r.Namespace, constraint)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		candidates = append(candidates, &candidate{provider: made})
	}
	return candidates, utilerrors.NewAggregate(problems)
}

// suits tells whether the changes that a constraint made are allowed.
func (r Request) suits(pod *core.Pod) bool {
	switch r.Mutation {
	case MutateAll:
		return true
	case MutateEphemeral:
		pod = pod.DeepCopy()
		pod.Spec.EphemeralContainers = r.Pod.Spec.EphemeralContainers
	}
	return apiequality.Semantic.DeepEqual(r.Pod, pod)
}

// oldDefault tells the author of a refused pod that `restricted`, which everybody
// could use before OpenShift 4.11, would admit it.
func (r Request) oldDefault(candidates []*candidate) field.ErrorList {
	var old *candidate
	newDefault := false
	for _, tried := range candidates {
		switch tried.Name {
		case "restricted":
			old = tried
		case "restricted-v2":
			newDefault = true
		}
	}
	if old == nil || !old.refused || !newDefault {
		return nil
	}
	if _, problems := old.apply(r.Pod); len(problems) > 0 {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("no access to scc/restricted"),
		"the pod fails to validate against the `restricted-v2` security context constraint, "+
			"but would validate successfully against the `restricted` security context constraint")}
}

// Annotate writes into an admitted pod what admitted it.
func (d Decision) Annotate() {
	if d.Pod.Annotations == nil {
		d.Pod.Annotations = map[string]string{}
	}
	d.Pod.Annotations[securityv1.ValidatedSCCAnnotation] = d.SCC
	if d.release.tellsSubject {
		d.Pod.Annotations[securityv1.ValidatedSCCSubjectTypeAnnotation] = string(d.Subject)
	}
}

const unable = "unable to validate against any security context constraint: "

// Refusal is the message for a pod that no constraint admits.
func (d Decision) Refusal() error {
	return errors.New(unable + d.release.aggregate(d.problems))
}

// FinalRefusal is the message for a pod that is no longer as a constraint
// admitted it, after all mutation. It is written in another form.
func (d Decision) FinalRefusal() error {
	return errors.New(unable + d.release.list(d.problems))
}
