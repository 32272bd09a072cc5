package scc

import (
	"errors"
	"fmt"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
)

// Namespace is what admission reads of a namespace.
type Namespace struct {
	Name        string
	Annotations map[string]string
}

// Ready tells what a namespace still lacks before pods can be judged in it: a
// controller annotates a namespace only after its creation. The real plugin
// waits for these two annotations, and for no others.
func (n Namespace) Ready() error {
	for _, key := range []string{securityv1.UIDRangeAnnotation, securityv1.MCSAnnotation} {
		if _, set := n.Annotations[key]; !set {
			return missing(key)
		}
	}
	return nil
}

func missing(annotation string) error {
	return fmt.Errorf("unable to find annotation %s", annotation)
}

// block is a range of ids, both ends included.
type block struct{ first, last int64 }

// parseBlock reads "START/SIZE" or "START-END". Ids are 32-bit numbers, and so
// a size of 0 wraps around, as it does in library-go, package uid. Text after
// the numbers is ignored, also as there.
func parseBlock(text string) (block, error) {
	var a, b uint32
	if strings.Contains(text, "/") {
		if _, err := fmt.Sscanf(text, "%d/%d", &a, &b); err != nil {
			return block{}, err
		}
		return block{int64(a), int64(a + b - 1)}, nil
	}
	if _, err := fmt.Sscanf(text, "%d-%d", &a, &b); err != nil {
		return block{}, err
	}
	return block{int64(a), int64(b)}, nil
}

// users is the namespace's range of user ids.
func (n Namespace) users() (block, error) {
	text, set := n.Annotations[securityv1.UIDRangeAnnotation]
	if !set {
		return block{}, missing(securityv1.UIDRangeAnnotation)
	}
	if text == "" {
		return block{}, fmt.Errorf("found annotation %s but it was empty", securityv1.UIDRangeAnnotation)
	}
	return parseBlock(text)
}

// level is the namespace's SELinux level.
func (n Namespace) level() (string, error) {
	text, set := n.Annotations[securityv1.MCSAnnotation]
	if !set {
		return "", missing(securityv1.MCSAnnotation)
	}
	if text == "" {
		return "", fmt.Errorf("found annotation %s but it was empty", securityv1.MCSAnnotation)
	}
	return text, nil
}

// groups are the namespace's ranges of group ids: those of its own annotation,
// or else the range of user ids.
func (n Namespace) groups() ([]block, error) {
	text, set := n.Annotations[securityv1.SupplementalGroupsAnnotation]
	if !set {
		if text, set = n.Annotations[securityv1.UIDRangeAnnotation]; !set {
			return nil, fmt.Errorf("unable to find supplemental group or uid annotation for namespace %s", n.Name)
		}
	}
	if text == "" {
		return nil, fmt.Errorf("unable to find groups using %s and %s annotations",
			securityv1.SupplementalGroupsAnnotation, securityv1.UIDRangeAnnotation)
	}
	var blocks []block
	for _, part := range strings.Split(text, ",") {
		parsed, err := parseBlock(part)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, parsed)
	}
	return blocks, nil
}

// provider is a constraint with everything filled in that it takes from the
// namespace.
type provider struct {
	*securityv1.SecurityContextConstraints
	release Release
}

// newProvider fills a copy of the constraint in from the namespace and refuses
// one that can't work.
func newProvider(release Release, namespace Namespace, constraint *securityv1.SecurityContextConstraints) (*provider, error) {
	constraint = constraint.DeepCopy()
	if what, err := fillIn(namespace, constraint); err != nil {
		return nil, fmt.Errorf("unable to find pre-allocated %s annotation for namespace %s while trying to configure SCC %s: %v",
			what, namespace.Name, constraint.Name, err)
	}
	if err := complete(constraint); err != nil {
		return nil, fmt.Errorf("error creating provider for SCC %s in namespace %s: %v", constraint.Name, namespace.Name, err)
	}
	return &provider{constraint, release}, nil
}

// fillIn sets what the constraint leaves to the namespace. With an error it says
// what is missing: uid, mcs or group.
func fillIn(namespace Namespace, constraint *securityv1.SecurityContextConstraints) (string, error) {
	user := &constraint.RunAsUser
	if user.Type == securityv1.RunAsUserStrategyMustRunAsRange && user.UIDRangeMin == nil && user.UIDRangeMax == nil {
		ids, err := namespace.users()
		if err != nil {
			return "uid", err
		}
		user.UIDRangeMin, user.UIDRangeMax = &ids.first, &ids.last
	}
	selinux := &constraint.SELinuxContext
	if selinux.Type == securityv1.SELinuxStrategyMustRunAs && (selinux.SELinuxOptions == nil || selinux.SELinuxOptions.Level == "") {
		level, err := namespace.level()
		if err != nil {
			return "mcs", err
		}
		if selinux.SELinuxOptions == nil {
			selinux.SELinuxOptions = &corev1.SELinuxOptions{}
		}
		selinux.SELinuxOptions.Level = level
	}
	if constraint.FSGroup.Type == securityv1.FSGroupStrategyMustRunAs && len(constraint.FSGroup.Ranges) == 0 {
		blocks, err := namespace.groups()
		if err != nil {
			return "group", err
		}
		// One id, not the whole range.
		constraint.FSGroup.Ranges = []securityv1.IDRange{{Min: blocks[0].first, Max: blocks[0].first}}
	}
	groups := &constraint.SupplementalGroups
	if groups.Type == securityv1.SupplementalGroupsStrategyMustRunAs && len(groups.Ranges) == 0 {
		blocks, err := namespace.groups()
		if err != nil {
			return "group", err
		}
		for _, ids := range blocks {
			groups.Ranges = append(groups.Ranges, securityv1.IDRange{Min: ids.first, Max: ids.last})
		}
	}
	return "", nil
}

// complete says what a constraint lacks to judge pods by it.
func complete(constraint *securityv1.SecurityContextConstraints) error {
	user := constraint.RunAsUser
	switch user.Type {
	case securityv1.RunAsUserStrategyMustRunAs:
		if user.UID == nil {
			return errors.New("MustRunAs requires a UID")
		}
	case securityv1.RunAsUserStrategyMustRunAsRange:
		if user.UIDRangeMin == nil {
			return errors.New("MustRunAsRange requires a UIDRangeMin")
		}
		if user.UIDRangeMax == nil {
			return errors.New("MustRunAsRange requires a UIDRangeMax")
		}
	case securityv1.RunAsUserStrategyMustRunAsNonRoot, securityv1.RunAsUserStrategyRunAsAny:
	default:
		return fmt.Errorf("Unrecognized RunAsUser strategy type %s", user.Type)
	}
	// A type MustRunAs has its options and ranges by now: fillIn sees to it.
	switch constraint.SELinuxContext.Type {
	case securityv1.SELinuxStrategyMustRunAs, securityv1.SELinuxStrategyRunAsAny:
	default:
		return fmt.Errorf("Unrecognized SELinuxContext strategy type %s", constraint.SELinuxContext.Type)
	}
	switch constraint.FSGroup.Type {
	case securityv1.FSGroupStrategyMustRunAs, securityv1.FSGroupStrategyRunAsAny:
	default:
		return fmt.Errorf("Unrecognized FSGroup strategy type %s", constraint.FSGroup.Type)
	}
	switch constraint.SupplementalGroups.Type {
	case securityv1.SupplementalGroupsStrategyMustRunAs, securityv1.SupplementalGroupsStrategyRunAsAny:
		return nil
	default:
		return fmt.Errorf("Unrecognized SupplementalGroups strategy type %s", constraint.SupplementalGroups.Type)
	}
}
