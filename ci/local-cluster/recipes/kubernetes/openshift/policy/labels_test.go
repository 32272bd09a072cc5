package policy

import (
	"maps"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sixLabels(value string) map[string]string {
	labels := map[string]string{}
	for _, mode := range enforcingModes {
		labels[podSecurity+mode], labels[podSecurity+mode+"-version"] = value, versionOfLabels
	}
	return labels
}

func without(labels map[string]string, label string) map[string]string {
	labels = maps.Clone(labels)
	delete(labels, label)
	return labels
}

func TestWhichNamespacesAreSynced(t *testing.T) {
	on, off := map[string]string{syncLabel: "true"}, map[string]string{syncLabel: "false"}
	all := sixLabels("baseline")
	for _, test := range []struct {
		name     string
		labels   map[string]string
		expected bool
	}{
		{"any", nil, true},
		{"any", off, false},
		{"any", on, true},
		{"any", map[string]string{syncLabel: "perhaps"}, true},
		{"any", all, false},
		{"any", without(all, podSecurity+"warn-version"), true},
		{"any", func() map[string]string { with := maps.Clone(all); with[syncLabel] = "true"; return with }(), true},
		{"default", on, false},
		{"kube-system", on, false},
		{"kube-anything", nil, true},
		{"openshift", on, false},
		{"openshifted", nil, true},
		{"openshift-anything", nil, false},
		{"openshift-anything", on, true},
		{"openshift-operators", nil, false},
		{"openshift-operators", on, true},
		{"openshift-monitoring", on, false},
	} {
		if found := isSynced(namespaceOf(t, test.name, test.labels, nil)); found != test.expected {
			t.Errorf("%s with %v: %v", test.name, test.labels, found)
		}
	}
	if len(exempt) != 65 {
		t.Errorf("%d namespaces are exempt", len(exempt))
	}
}

func TestUnreadableManagedFieldsMeanHandsOff(t *testing.T) {
	namespace := namespaceOf(t, "any", nil, nil)
	namespace.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x", FieldsV1: &metav1.FieldsV1{Raw: []byte("{")}}}
	if isSynced(namespace) {
		t.Error("it is synced")
	}
	if _, err := labelsFor(Release{4, 20}, enforcingModes, namespace, baseline); err == nil {
		t.Error("no error")
	}
}

// decided is the change of a namespace of 4.20 for the level privileged.
func decided(t *testing.T, namespace *corev1.Namespace) *change {
	t.Helper()
	wanted, err := labelsFor(Release{4, 20}, enforcingModes, namespace, privileged)
	if err != nil || wanted == nil {
		t.Fatalf("%v, %v", wanted, err)
	}
	return wanted
}

func TestLabelsOfOthersAreKept(t *testing.T) {
	enforce := podSecurity + "enforce"
	theirs := map[string]string{enforce: "baseline"}
	wanted := decided(t, namespaceOf(t, "n", theirs, nil))
	if !maps.Equal(wanted.labels, without(sixLabels("privileged"), enforce)) || wanted.force {
		t.Errorf("%+v", wanted)
	}
	theirs[syncLabel] = "true"
	wanted = decided(t, namespaceOf(t, "n", theirs, nil))
	if !maps.Equal(wanted.labels, sixLabels("privileged")) || !wanted.force {
		t.Errorf("forced: %+v", wanted)
	}
}

func TestOwnLabelsAreKeptUpToDate(t *testing.T) {
	namespace := namespaceOf(t, "n", nil, map[string]string{securityv1.MinimallySufficientPodSecurityStandard: "baseline"})
	maps.Copy(namespace.Labels, sixLabels("baseline"))
	own(t, namespace, labelManager, sixLabels("baseline"))
	if wanted := decided(t, namespace); !maps.Equal(wanted.labels, sixLabels("privileged")) || wanted.force {
		t.Errorf("%+v", wanted)
	}
	if wanted, err := labelsFor(Release{4, 20}, enforcingModes, namespace, baseline); wanted != nil || err != nil {
		t.Errorf("nothing is to be done: %+v, %v", wanted, err)
	}
	// Somebody took a label away: all is applied again.
	delete(namespace.Labels, podSecurity+"warn")
	wanted, err := labelsFor(Release{4, 20}, enforcingModes, namespace, baseline)
	if err != nil || wanted == nil || len(wanted.annotations) != 1 {
		t.Errorf("%+v, %v", wanted, err)
	}
}

func TestLabelsOfAnOldVersionAreTakenOver(t *testing.T) {
	namespace := namespaceOf(t, "n", nil, nil)
	maps.Copy(namespace.Labels, sixLabels("baseline"))
	own(t, namespace, rangeManager, sixLabels("baseline"))
	if !isSynced(namespace) {
		t.Error("it is not synced")
	}
	if wanted := decided(t, namespace); len(wanted.labels) != 6 || !wanted.force {
		t.Errorf("%+v", wanted)
	}
}

func TestTheLevelIsNotedFromFourNineteenOn(t *testing.T) {
	for release, expected := range map[Release]int{{4, 18}: 0, {4, 19}: 1, {5, 0}: 1} {
		wanted, err := labelsFor(release, advisingModes, namespaceOf(t, "n", nil, nil), baseline)
		if err != nil || len(wanted.annotations) != expected || len(wanted.labels) != 4 {
			t.Errorf("%s: %+v, %v", release, wanted, err)
		}
	}
}

func TestANamespaceKeepsRangesOfItsOwn(t *testing.T) {
	namespace := namespaceOf(t, "n", nil, map[string]string{securityv1.UIDRangeAnnotation: ""})
	if ranges := rangesFor(namespace, DefaultSpace, 1); ranges != nil {
		t.Errorf("%v", ranges)
	}
	namespace = namespaceOf(t, "n", nil, map[string]string{securityv1.MCSAnnotation: "x", securityv1.SupplementalGroupsAnnotation: "x"})
	ranges := rangesFor(namespace, DefaultSpace, 1)
	expected := map[string]string{
		securityv1.MCSAnnotation:                "x",
		securityv1.SupplementalGroupsAnnotation: "1000010000/10000",
		securityv1.UIDRangeAnnotation:           "1000010000/10000",
	}
	if !maps.Equal(ranges, expected) {
		t.Errorf("%v", ranges)
	}
}

func TestNamespacesOfKubernetesArePrivileged(t *testing.T) {
	namespace := namespaceOf(t, "default", map[string]string{podSecurity + "warn": "restricted"}, nil)
	wanted := labelsOfPrivileged(namespace)
	if wanted == nil || len(wanted.labels) != 3 || wanted.labels[podSecurity+"warn"] != "privileged" || !wanted.force {
		t.Fatalf("%+v", wanted)
	}
	maps.Copy(namespace.Labels, wanted.labels)
	if again := labelsOfPrivileged(namespace); again != nil {
		t.Errorf("%+v", again)
	}
}
