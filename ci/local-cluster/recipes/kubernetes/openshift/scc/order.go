package scc

import (
	"sort"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
)

// What a constraint allows is summed up in one number; the lower, the stricter.
// Each weight is above all smaller ones together. The weights are facts of
// apiserver-library-go, package sccmatching.
const (
	scorePrivileged       = 1_600_000
	scoreHostPorts        = 800_000
	scoreHostNetwork      = 400_000
	scoreHostPath         = 200_000
	scoreOtherVolumes     = 100_000
	scoreCapabilities     = 5000
	scoreDefaultAdd       = 300
	scoreAllowAll         = 4000
	scoreAllowOne         = 10
	scoreDropAll          = -3000
	scoreDropOne          = -50
	scoreCapabilitiesMost = 9999
)

// What the type of runAsUser adds to the score, and that of seLinuxContext too.
var scoreOfType = map[string]int{
	string(securityv1.RunAsUserStrategyMustRunAs):        10_000,
	string(securityv1.RunAsUserStrategyMustRunAsRange):   20_000,
	string(securityv1.RunAsUserStrategyMustRunAsNonRoot): 30_000,
	string(securityv1.RunAsUserStrategyRunAsAny):         40_000,
}

// Sorted returns the constraints in the order in which admission tries them:
// the highest priority first, then the strictest, then by name.
func Sorted(constraints []*securityv1.SecurityContextConstraints) []*securityv1.SecurityContextConstraints {
	sorted := append([]*securityv1.SecurityContextConstraints(nil), constraints...)
	sort.SliceStable(sorted, func(i, j int) bool { return before(sorted[i], sorted[j]) })
	return sorted
}

func before(a, b *securityv1.SecurityContextConstraints) bool {
	if x, y := priority(a), priority(b); x != y {
		return x > y
	}
	if x, y := score(a), score(b); x != y {
		return x < y
	}
	return a.Name < b.Name
}

func priority(constraint *securityv1.SecurityContextConstraints) int32 {
	if constraint.Priority == nil {
		return 0
	}
	return *constraint.Priority
}

// score is how much a constraint allows.
func score(constraint *securityv1.SecurityContextConstraints) int {
	total := volumeScore(constraint.Volumes) + capabilityScore(constraint) +
		scoreOfType[string(constraint.SELinuxContext.Type)] + scoreOfType[string(constraint.RunAsUser.Type)]
	if constraint.AllowPrivilegedContainer {
		total += scorePrivileged
	}
	if constraint.AllowHostPorts {
		total += scoreHostPorts
	}
	if constraint.AllowHostNetwork {
		total += scoreHostNetwork
	}
	return total
}

func volumeScore(volumes []securityv1.FSType) int {
	most := 0
	for _, volume := range volumes {
		switch volume {
		case securityv1.FSTypeHostPath, securityv1.FSTypeAll:
			return scoreHostPath
		case securityv1.FSTypeSecret, securityv1.FSTypeConfigMap, securityv1.FSTypeEmptyDir,
			securityv1.FSTypeDownwardAPI, securityv1.FSProjected, securityv1.FSTypeNone:
		default:
			most = scoreOtherVolumes
		}
	}
	return most
}

func capabilityScore(constraint *securityv1.SecurityContextConstraints) int {
	total := scoreCapabilities + scoreDefaultAdd*len(constraint.DefaultAddCapabilities)
	if names(constraint.AllowedCapabilities, "*") || names(constraint.AllowedCapabilities, "ALL") {
		total += scoreAllowAll
	} else {
		total += scoreAllowOne * len(constraint.AllowedCapabilities)
	}
	if names(constraint.RequiredDropCapabilities, "ALL") {
		total += scoreDropAll
	} else {
		total += scoreDropOne * len(constraint.RequiredDropCapabilities)
	}
	return min(max(total, 0), scoreCapabilitiesMost)
}

// names tells whether the list has the capability, in whatever case.
func names(list []corev1.Capability, capability string) bool {
	for _, entry := range list {
		if strings.ToUpper(string(entry)) == capability {
			return true
		}
	}
	return false
}

// preferring moves the constraint of that name to the front.
func preferring(name string, constraints []*securityv1.SecurityContextConstraints) []*securityv1.SecurityContextConstraints {
	for i, constraint := range constraints {
		if constraint.Name == name {
			copy(constraints[1:i+1], constraints[:i])
			constraints[0] = constraint
			break
		}
	}
	return constraints
}
