package policy

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestShippedConstraintsAreTheRecordedOnes compares every field of what the project
// creates with what the API server of a real release had.
func TestShippedConstraintsAreTheRecordedOnes(t *testing.T) {
	for name, release := range recorded {
		t.Run(name, func(t *testing.T) {
			var first struct {
				Shipped []map[string]any `json:"shipped"`
			}
			decode(t, readLines(t, filepath.Join(recordings, "scc", name+".jsonl"))[0], &first)
			if len(first.Shipped) < 10 {
				t.Fatalf("only %d constraints are recorded", len(first.Shipped))
			}
			constraints := constraintsOf(t, release)
			if len(constraints) != len(first.Shipped) {
				t.Errorf("%d constraints, and %d are recorded", len(constraints), len(first.Shipped))
			}
			for _, expected := range first.Shipped {
				name, _ := expected["name"].(string)
				delete(expected, "name")
				found := stored(constraints[name])
				if !reflect.DeepEqual(found, expected) {
					t.Errorf("%s is\n%v, not\n%v", name, found, expected)
				}
			}
		})
	}
}

// stored is a constraint as the API server stores it: the level of user namespaces
// has a default, and an id of 0 at the lower end of a range of groups is left out.
func stored(constraint map[string]any) map[string]any {
	if _, ok := constraint["userNamespaceLevel"]; !ok && constraint != nil {
		constraint["userNamespaceLevel"] = "AllowHostLevel"
	}
	for _, field := range []string{"fsGroup", "supplementalGroups"} {
		strategy, _ := constraint[field].(map[string]any)
		ranges, _ := strategy["ranges"].([]any)
		for _, one := range ranges {
			if ids, _ := one.(map[string]any); ids["min"] == 0.0 {
				delete(ids, "min")
			}
		}
	}
	return constraint
}

// constraintsOf are the constraints of a release by name, as they are sent.
func constraintsOf(t *testing.T, release string) map[string]map[string]any {
	t.Helper()
	constraints := map[string]map[string]any{}
	for _, object := range readShipped(t, release) {
		var fields map[string]any
		decode(t, object, &fields)
		if fields["kind"] == "SecurityContextConstraints" {
			metadata, _ := fields["metadata"].(map[string]any)
			name, _ := metadata["name"].(string)
			delete(fields, "metadata")
			constraints[name] = fields
		}
	}
	return constraints
}

// TestEveryConstraintHasItsRole checks the order of creation too.
func TestEveryConstraintHasItsRole(t *testing.T) {
	granted := map[string][]string{
		"4.19": {"restricted-v2"}, "4.20-early": {"restricted-v2"},
		"4.20": {"restricted-v2", "restricted-v3"}, "newest": {"restricted-v2", "restricted-v3"},
	}
	kinds := []string{"SecurityContextConstraints", "ClusterRole", "ClusterRoleBinding"}
	for release, expected := range granted {
		names := map[string][]string{}
		last := 0
		for _, object := range readShipped(t, release) {
			var one metav1.PartialObjectMetadata
			decode(t, object, &one)
			place := slices.Index(kinds, one.Kind)
			if place < last {
				t.Errorf("%s: %s %s comes too late", release, one.Kind, one.Name)
			}
			last = place
			names[one.Kind] = append(names[one.Kind], one.Name)
			if one.Kind == "ClusterRoleBinding" {
				checkBinding(t, object)
			}
		}
		rights := shippedRights(t, release)
		for n, name := range names["SecurityContextConstraints"] {
			role := "system:openshift:scc:" + name
			if names["ClusterRole"][n] != role {
				t.Errorf("%s: role %d is %s", release, n, names["ClusterRole"][n])
			}
			for _, other := range names["SecurityContextConstraints"] {
				if allowsUse(rights.rulesOf("", role)[0], other) != (other == name) {
					t.Errorf("%s: %s and %s", release, role, other)
				}
			}
		}
		var found []string
		for _, constraint := range rights.constraintsFor(serviceAccounts("n", "default")[0]) {
			found = append(found, constraint.Name)
		}
		if !slices.Equal(found, expected) {
			t.Errorf("%s: everybody may use %v, not %v", release, found, expected)
		}
	}
}

func checkBinding(t *testing.T, object json.RawMessage) {
	t.Helper()
	one := decode(t, object, &rbacv1.ClusterRoleBinding{})
	if len(one.Subjects) != 1 || one.Subjects[0] != group("system:authenticated") || one.RoleRef.Name != one.Name {
		t.Errorf("binding %+v", one)
	}
}

// TestEarlyConstraintsDifferAsKnown names all that the first z-streams of 4.20 had
// otherwise.
func TestEarlyConstraintsDifferAsKnown(t *testing.T) {
	early, now := constraintsOf(t, "4.20-early"), constraintsOf(t, "4.20")
	for name, constraint := range early {
		var differing []string
		for field := range now[name] {
			if !reflect.DeepEqual(constraint[field], now[name][field]) {
				differing = append(differing, field)
			}
		}
		slices.Sort(differing)
		expected := []string{"volumes"}
		switch name {
		case "privileged":
			expected = nil
		case "nested-container", "restricted-v3":
			expected = []string{"runAsUser", "volumes"}
			if user, _ := constraint["runAsUser"].(map[string]any); user["uidRangeMin"] != nil || user["ranges"] == nil {
				t.Errorf("%s: user %v", name, user)
			}
		}
		if !slices.Equal(differing, expected) {
			t.Errorf("%s differs in %v, not in %v", name, differing, expected)
		}
	}
	if len(early) != len(now) {
		t.Errorf("%d constraints, not %d", len(early), len(now))
	}
}

// TestReleasesDifferAsKnown compares neighbouring releases.
func TestReleasesDifferAsKnown(t *testing.T) {
	newest := constraintsOf(t, "newest")
	if newest["hostmount-anyuid-v2"] == nil {
		t.Error("newest has no hostmount-anyuid-v2")
	}
	delete(newest, "hostmount-anyuid-v2")
	if !reflect.DeepEqual(newest, constraintsOf(t, "4.20")) {
		t.Error("newest is not as 4.20")
	}
}
