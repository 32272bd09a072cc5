package policy

import (
	"slices"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// one has the constraint `one`, which nobody may use.
func one() rights {
	return rights{
		constraints: []*securityv1.SecurityContextConstraints{{ObjectMeta: metav1.ObjectMeta{Name: "one"}}},
		rulesOf:     func(string, string) []rbacv1.PolicyRule { return nil },
	}
}

func mayUse(rights rights) bool {
	usable := rights.constraintsFor(serviceAccounts("n", "a")[0])
	return slices.ContainsFunc(usable, func(scc *securityv1.SecurityContextConstraints) bool { return scc.Name == "one" })
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

func TestWhoABindingNames(t *testing.T) {
	rules := record{May: []string{"one"}}.rules()
	for _, test := range []struct {
		name     string
		expected bool
		subject  rbacv1.Subject
	}{
		{"itself", true, account("n", "a")},
		{"itself, in the binding's namespace", true, account("", "a")},
		{"another account", false, account("n", "b")},
		{"an account of another namespace", false, account("m", "a")},
		{"all accounts", true, group("system:serviceaccounts")},
		{"all accounts of the namespace", true, group("system:serviceaccounts:n")},
		{"all accounts of another namespace", false, group("system:serviceaccounts:m")},
		{"everybody", true, group("system:authenticated")},
		{"nobody", false, group("system:unauthenticated")},
		{"a group without API group", false, rbacv1.Subject{Kind: "Group", Name: "system:authenticated"}},
		{"itself as a user", false, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "system:serviceaccount:n:a"}},
	} {
		if found := mayUse(one().with("n", rules, test.subject)); found != test.expected {
			t.Errorf("%s: %v", test.name, found)
		}
	}
	if mayUse(one().with("m", rules, account("n", "a"))) {
		t.Error("a RoleBinding counts in another namespace")
	}
}

func TestWhereABindingsRoleIs(t *testing.T) {
	rules := record{May: []string{"one"}}.rules()
	for _, test := range []struct {
		name              string
		expected          bool
		namespace, kind   string
		roleIn, roleGroup string
	}{
		{"ClusterRoleBinding", true, "", "ClusterRole", "", rbacv1.GroupName},
		{"RoleBinding of a ClusterRole", true, "n", "ClusterRole", "", rbacv1.GroupName},
		{"RoleBinding of a Role", true, "n", "Role", "n", rbacv1.GroupName},
		{"RoleBinding of a Role of another namespace", false, "n", "Role", "m", rbacv1.GroupName},
		{"RoleBinding of a Role that is a ClusterRole", false, "n", "Role", "", rbacv1.GroupName},
		{"role of another API group", false, "", "ClusterRole", "", "other"},
	} {
		rights := one()
		rights.rulesOf = func(namespace, name string) []rbacv1.PolicyRule {
			if namespace == test.roleIn && name == "role" {
				return rules
			}
			return nil
		}
		role := rbacv1.RoleRef{APIGroup: test.roleGroup, Kind: test.kind, Name: "role"}
		rights.bindings = []binding{{test.namespace, role, []rbacv1.Subject{account("n", "a")}}}
		if found := mayUse(rights); found != test.expected {
			t.Errorf("%s: %v", test.name, found)
		}
	}
}

func TestWhatARuleAllows(t *testing.T) {
	all, group := []string{"*"}, []string{"security.openshift.io"}
	resource, use := []string{"securitycontextconstraints"}, []string{"use"}
	for _, test := range []struct {
		name     string
		expected bool
		rule     rbacv1.PolicyRule
	}{
		{"everything", true, rbacv1.PolicyRule{Verbs: all, APIGroups: all, Resources: all}},
		{"any constraint", true, rbacv1.PolicyRule{Verbs: use, APIGroups: group, Resources: resource}},
		{"this one", true, rbacv1.PolicyRule{Verbs: use, APIGroups: group, Resources: resource, ResourceNames: []string{"two", "one"}}},
		{"another one", false, rbacv1.PolicyRule{Verbs: use, APIGroups: group, Resources: resource, ResourceNames: []string{"two"}}},
		{"a star is no name", false, rbacv1.PolicyRule{Verbs: use, APIGroups: group, Resources: resource, ResourceNames: all}},
		{"another verb", false, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: group, Resources: resource}},
		{"another API group", false, rbacv1.PolicyRule{Verbs: use, APIGroups: []string{""}, Resources: resource}},
		{"another resource", false, rbacv1.PolicyRule{Verbs: use, APIGroups: group, Resources: []string{"rangeallocations"}}},
		{"URLs", false, rbacv1.PolicyRule{Verbs: all, NonResourceURLs: all}},
	} {
		if found := allowsUse(test.rule, "one"); found != test.expected {
			t.Errorf("%s: %v", test.name, found)
		}
	}
}

func TestAConstraintsOwnLists(t *testing.T) {
	for name, expected := range map[string]bool{"system:serviceaccount:n:a": true, "system:serviceaccount:n:b": false, "a": false} {
		rights := one()
		rights.constraints[0].Users = []string{name}
		if found := mayUse(rights); found != expected {
			t.Errorf("user %s: %v", name, found)
		}
	}
	for name, expected := range map[string]bool{"system:authenticated": true, "system:serviceaccounts:n": true, "system:masters": false} {
		rights := one()
		rights.constraints[0].Groups = []string{name}
		if found := mayUse(rights); found != expected {
			t.Errorf("group %s: %v", name, found)
		}
	}
}

func TestTheMostThatAnyAccountMayUseDecides(t *testing.T) {
	namespace := namespaceOf(t, "n", nil, map[string]string{securityv1.UIDRangeAnnotation: "1000/10"})
	all := rights{
		constraints: []*securityv1.SecurityContextConstraints{strictest(), strictest(), strictest()},
		rulesOf:     func(string, string) []rbacv1.PolicyRule { return nil },
	}
	for n, name := range []string{"strict", "loose", "broken"} {
		all.constraints[n].Name = name
		all.constraints[n].Users = []string{"system:serviceaccount:n:" + name}
	}
	all.constraints[1].AllowHostPID = true
	all.constraints[2].Volumes = []securityv1.FSType{"unheard"}
	for _, test := range []struct {
		accounts []string
		expected level
		fails    bool
	}{
		{nil, undecided, false},
		{[]string{"nobody"}, undecided, false},
		{[]string{"strict", "nobody"}, restricted, false},
		{[]string{"strict", "loose"}, privileged, false},
		{[]string{"strict", "broken"}, undecided, true},
		{[]string{"strict", "broken", "loose"}, privileged, false},
	} {
		found, err := levelOfNamespace(Release{4, 20}, namespace, serviceAccounts("n", test.accounts...), all)
		if found != test.expected || (err != nil) != test.fails {
			t.Errorf("%v: %q, %v", test.accounts, found, err)
		}
	}
}
