package policy

import (
	"fmt"
	"slices"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const (
	allAuthenticated   = "system:authenticated"
	allServiceAccounts = "system:serviceaccounts"
	constraintResource = "securitycontextconstraints"
)

// binding is a RoleBinding or a ClusterRoleBinding; the latter has no namespace.
type binding struct {
	namespace string
	role      rbacv1.RoleRef
	subjects  []rbacv1.Subject
}

// rights are the constraints of a cluster, and who may use them in one namespace.
type rights struct {
	constraints []*securityv1.SecurityContextConstraints
	// bindings are those of the cluster and of the namespace.
	bindings []binding
	// rulesOf are the rules of a Role, or of a ClusterRole for namespace "". A role
	// that does not exist has none.
	rulesOf func(namespace, name string) []rbacv1.PolicyRule
}

// identity is a service account as the API server sees it.
type identity struct {
	user   string
	groups []string
}

func identityOf(account *corev1.ServiceAccount) identity {
	return identity{
		user: "system:serviceaccount:" + account.Namespace + ":" + account.Name,
		groups: []string{
			allServiceAccounts,
			allServiceAccounts + ":" + account.Namespace,
			allAuthenticated,
		},
	}
}

// constraintsFor lists what a service account may use: by the constraint's own
// lists of users and groups, and by the verb `use`.
func (r rights) constraintsFor(account *corev1.ServiceAccount) []*securityv1.SecurityContextConstraints {
	who := identityOf(account)
	var rules []rbacv1.PolicyRule
	for _, binding := range r.bindings {
		inForce := binding.namespace == "" || binding.namespace == account.Namespace
		if inForce && binding.role.APIGroup == rbacv1.GroupName && binding.names(who) {
			rules = append(rules, r.rulesOf(binding.roleNamespace(), binding.role.Name)...)
		}
	}
	var usable []*securityv1.SecurityContextConstraints
	for _, constraint := range r.constraints {
		if lists(constraint, who) || slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return allowsUse(rule, constraint.Name)
		}) {
			usable = append(usable, constraint)
		}
	}
	return usable
}

func (b binding) roleNamespace() string {
	if b.role.Kind == "Role" {
		return b.namespace
	}
	return ""
}

// names says whether a binding names a service account, or a group of service
// accounts. A subject of kind User does not count, even with a service account's
// name: the controller does not look at users.
func (b binding) names(who identity) bool {
	return slices.ContainsFunc(b.subjects, func(subject rbacv1.Subject) bool {
		switch {
		case subject.Kind == rbacv1.ServiceAccountKind && subject.APIGroup == "":
			namespace := subject.Namespace
			if namespace == "" {
				namespace = b.namespace
			}
			return who.user == "system:serviceaccount:"+namespace+":"+subject.Name
		case subject.Kind == rbacv1.GroupKind && subject.APIGroup == rbacv1.GroupName:
			return slices.Contains(who.groups, subject.Name)
		}
		return false
	})
}

func lists(constraint *securityv1.SecurityContextConstraints, who identity) bool {
	return slices.Contains(constraint.Users, who.user) ||
		slices.ContainsFunc(constraint.Groups, func(group string) bool {
			return slices.Contains(who.groups, group)
		})
}

// allowsUse says whether a rule of RBAC allows the verb `use` on a constraint.
func allowsUse(rule rbacv1.PolicyRule, constraint string) bool {
	has := func(list []string, value, all string) bool {
		return slices.Contains(list, value) || slices.Contains(list, all)
	}
	return has(rule.Verbs, "use", rbacv1.VerbAll) &&
		has(rule.APIGroups, securityv1.GroupName, rbacv1.APIGroupAll) &&
		has(rule.Resources, constraintResource, rbacv1.ResourceAll) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, constraint))
}

// levelOfNamespace is the lowest level that lets every pod pass that one of the
// namespace's service accounts may run. No account, or accounts that may use
// nothing, leave it undecided.
func levelOfNamespace(release Release, namespace *corev1.Namespace, accounts []*corev1.ServiceAccount, rights rights) (level, error) {
	usable := map[string]*securityv1.SecurityContextConstraints{}
	for _, account := range accounts {
		for _, constraint := range rights.constraintsFor(account) {
			usable[constraint.Name] = constraint
		}
	}
	uidRange := namespace.Annotations[securityv1.UIDRangeAnnotation]
	found := undecided
	var problems []string
	for _, constraint := range usable {
		one, err := levelOf(release, constraint, uidRange)
		if err != nil {
			problems = append(problems, err.Error())
		}
		found = max(found, one)
	}
	// Nothing allows more than privileged, whatever the others are.
	if len(problems) > 0 && found != privileged {
		slices.Sort(problems)
		return undecided, fmt.Errorf("the level is not known: %s", strings.Join(problems, "; "))
	}
	return found, nil
}
