package policy

import (
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// namespacesBefore is how many namespaces there were when a recording began: the
// four of Kubernetes, openshift-infra and openshift-kube-controller-manager.
const namespacesBefore = 6

func TestRecordedNamespaces(t *testing.T) {
	for name, release := range recorded {
		t.Run(name, func(t *testing.T) {
			var texts []string
			allocator := NewAllocator(DefaultSpace, newMemoryStore(), func() []string { return texts })
			if err := allocator.Repair(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range namespacesBefore {
				reserve(t, allocator, types.UID(rune('a'+len(texts))))
				texts = append(texts, "")
			}
			records := readRecords(t, name)
			if len(records) < 31 {
				t.Fatalf("only %d records", len(records))
			}
			for _, record := range records {
				t.Run(record.ID, func(t *testing.T) { replay(t, name, release, allocator, record) })
			}
		})
	}
}

// replay decides about one namespace, as the controllers do, one after the other.
func replay(t *testing.T, name, text string, allocator *Allocator, record record) {
	release, err := ParseRelease(text)
	if err != nil {
		t.Fatal(err)
	}
	namespace := namespaceOf(t, record.Namespace, record.MadeWith.Labels, record.MadeWith.Annotations)
	if rangesFor(namespace, DefaultSpace, 0) != nil {
		number := reserve(t, allocator, types.UID(record.Namespace))
		maps.Copy(namespace.Annotations, rangesFor(namespace, DefaultSpace, number))
	}
	accounts := serviceAccounts(record.Namespace, "default")
	if other := record.account(); other != "" && other != "default" {
		accounts = append(accounts, serviceAccounts(record.Namespace, other)...)
	}
	rights := shippedRights(t, text)
	if len(record.May) > 0 {
		rights = rights.with(record.Namespace, record.rules(), record.subject())
	}
	if isSynced(namespace) {
		found, err := levelOfNamespace(release, namespace, accounts, rights)
		if err != nil {
			t.Fatal(err)
		}
		applyTo(t, release, namespace, found)
	}
	if !maps.Equal(namespace.Annotations, record.Annotations) {
		t.Errorf("annotations are\n%v, not\n%v", namespace.Annotations, record.Annotations)
	}
	if !maps.Equal(namespace.Labels, record.Labels) {
		t.Errorf("labels are\n%v, not\n%v", namespace.Labels, record.Labels)
	}
}

// applyTo does what the API server does with the change, and looks once more: there
// must be nothing left to do.
func applyTo(t *testing.T, release Release, namespace *corev1.Namespace, found level) {
	t.Helper()
	wanted, err := labelsFor(release, enforcingModes, namespace, found)
	if err != nil {
		t.Fatal(err)
	}
	if wanted == nil {
		t.Fatal("nothing is to be done")
	}
	maps.Copy(namespace.Labels, wanted.labels)
	maps.Copy(namespace.Annotations, wanted.annotations)
	own(t, namespace, labelManager, wanted.labels)
	if again, err := labelsFor(release, enforcingModes, namespace, found); again != nil || err != nil {
		t.Errorf("it is not done: %v, %v", again, err)
	}
}

func TestReplayKnowsWhatChanged(t *testing.T) {
	release, _ := ParseRelease("4.20")
	rights := shippedRights(t, "4.20")
	namespace := namespaceOf(t, "n", nil, map[string]string{"openshift.io/sa.scc.uid-range": "1000/10"})
	levels := map[string]level{"anyuid": baseline, "nested-container": privileged, "restricted-v3": restricted}
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		one := record{Namespace: "n", May: []string{name}, Subject: "default"}
		found, err := levelOfNamespace(release, namespace, serviceAccounts("n", "default"), rights.with("n", one.rules(), one.subject()))
		if found != levels[name] || err != nil {
			t.Errorf("%s: %s, %v", name, found, err)
		}
	}
}
