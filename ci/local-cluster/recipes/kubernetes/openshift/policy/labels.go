package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
)

// Field managers, as the real controllers call themselves.
const (
	rangeManager      = "cluster-policy-controller"
	labelManager      = "pod-security-admission-label-synchronization-controller"
	privilegedManager = "privileged-namespaces-psa-label-syncer"
)

const (
	syncLabel       = "security.openshift.io/scc.podSecurityLabelSync"
	podSecurity     = "pod-security.kubernetes.io/"
	versionOfLabels = "latest"
)

// Modes of Pod Security, which are names of labels too.
var (
	advisingModes  = []string{"audit", "warn"}
	enforcingModes = []string{"audit", "enforce", "warn"}
)

// privilegedNamespaces get the level privileged, whoever may use what in them.
var privilegedNamespaces = []string{"default", "kube-public", "kube-system"}

// change is what has to be applied to a namespace, all of it by one manager.
type change struct {
	labels      map[string]string
	annotations map[string]string
	// force takes fields away from other managers.
	force bool
}

// owners are the managers of each label of a namespace.
type owners map[string][]string

// ownersOf reads the managed fields. It fails when they can't be read.
func ownersOf(namespace *corev1.Namespace) (owners, error) {
	all := owners{}
	for _, entry := range namespace.ManagedFields {
		if entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Labels map[string]json.RawMessage `json:"f:labels"`
			} `json:"f:metadata"`
		}
		if err := json.Unmarshal(entry.FieldsV1.Raw, &fields); err != nil {
			return nil, fmt.Errorf("managed fields of namespace %q: %w", namespace.Name, err)
		}
		for field := range fields.Metadata.Labels {
			if label, ok := strings.CutPrefix(field, "f:"); ok {
				all[label] = append(all[label], entry.Manager)
			}
		}
	}
	return all, nil
}

// isOurs says whether a label may be set without taking it from somebody: nobody
// has it, or this controller does. Old versions of it had the name of the program.
func (o owners) isOurs(label string) bool {
	managers := o[label]
	return len(managers) == 0 || slices.Contains(managers, labelManager) || slices.Contains(managers, rangeManager)
}

// isSynced says whether the controller keeps the labels of a namespace. It leaves
// alone: namespaces of the payload; with the sync label "false"; those that are
// called openshift-…, and those whose six labels all belong to others, unless the
// sync label is "true".
func isSynced(namespace *corev1.Namespace) bool {
	switch wish := namespace.Labels[syncLabel]; {
	case exempt[namespace.Name]:
		return false
	case wish == "true":
		return true
	case wish == "false", strings.HasPrefix(namespace.Name, "openshift-"):
		return false
	}
	owners, err := ownersOf(namespace)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(enforcingModes, func(mode string) bool {
		for _, label := range []string{podSecurity + mode, podSecurity + mode + "-version"} {
			if _, present := namespace.Labels[label]; !present || owners.isOurs(label) {
				return true
			}
		}
		return false
	})
}

// labelsFor is what a synced namespace needs for a level; nil if it has it all.
// Labels of others are kept, unless the sync label is "true".
func labelsFor(release Release, modes []string, namespace *corev1.Namespace, found level) (*change, error) {
	owners, err := ownersOf(namespace)
	if err != nil {
		return nil, err
	}
	must := namespace.Labels[syncLabel] == "true"
	wanted := &change{labels: map[string]string{}, annotations: map[string]string{}, force: must}
	set := func(label, value string) {
		if must || owners.isOurs(label) {
			wanted.labels[label] = value
			// The program's own older name holds it: it has to be taken over.
			wanted.force = wanted.force || slices.Contains(owners[label], rangeManager)
		}
	}
	for _, mode := range modes {
		set(podSecurity+mode, found.String())
		set(podSecurity+mode+"-version", versionOfLabels)
	}
	if release.notesLevel() {
		wanted.annotations[securityv1.MinimallySufficientPodSecurityStandard] = found.String()
	}
	if has(namespace.Labels, wanted.labels) && has(namespace.Annotations, wanted.annotations) {
		return nil, nil
	}
	return wanted, nil
}

// labelsOfPrivileged is what one of privilegedNamespaces needs; nil if it has it.
func labelsOfPrivileged(namespace *corev1.Namespace) *change {
	wanted := &change{labels: map[string]string{}, force: true}
	for _, mode := range enforcingModes {
		wanted.labels[podSecurity+mode] = privileged.String()
	}
	if has(namespace.Labels, wanted.labels) {
		return nil
	}
	return wanted
}

// rangesFor is what a namespace gets with a block. An SELinux level of its own is
// kept. A uid range of its own means that it gets nothing: nil.
func rangesFor(namespace *corev1.Namespace, space Space, number int) map[string]string {
	if _, own := namespace.Annotations[securityv1.UIDRangeAnnotation]; own {
		return nil
	}
	block := space.At(number).String()
	ranges := map[string]string{
		securityv1.UIDRangeAnnotation:           block,
		securityv1.SupplementalGroupsAnnotation: block,
		securityv1.MCSAnnotation:                levelFor(number),
	}
	if own, ok := namespace.Annotations[securityv1.MCSAnnotation]; ok {
		ranges[securityv1.MCSAnnotation] = own
	}
	return ranges
}

// has says whether all entries of wanted are in stored.
func has(stored, wanted map[string]string) bool {
	return !slices.ContainsFunc(slices.Collect(maps.Keys(wanted)), func(key string) bool {
		value, ok := stored[key]
		return !ok || value != wanted[key]
	})
}
