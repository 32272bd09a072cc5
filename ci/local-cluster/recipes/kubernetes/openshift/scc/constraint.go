package scc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// Every volume type but hostPath: what "*" becomes without allowHostDirVolumePlugin.
var harmlessVolumes = []securityv1.FSType{
	securityv1.FSTypeAWSElasticBlockStore, securityv1.FSTypeAzureDisk, securityv1.FSTypeAzureFile, securityv1.FSTypeCephFS,
	securityv1.FSTypeCinder, securityv1.FSTypeConfigMap, securityv1.FSTypeCSI, securityv1.FSTypeDownwardAPI,
	securityv1.FSTypeEmptyDir, securityv1.FSTypeEphemeral, securityv1.FSTypeFC, securityv1.FSTypeFlexVolume,
	securityv1.FSTypeFlocker, securityv1.FSTypeGCEPersistentDisk, securityv1.FSTypeGitRepo, securityv1.FSTypeGlusterfs,
	securityv1.FSTypeImage, securityv1.FSTypeISCSI, securityv1.FSTypeNFS, securityv1.FSTypePersistentVolumeClaim,
	securityv1.FSTypePhotonPersistentDisk, securityv1.FSPortworxVolume, securityv1.FSProjected, securityv1.FSTypeQuobyte,
	securityv1.FSTypeRBD, securityv1.FSScaleIO, securityv1.FSTypeSecret, securityv1.FSStorageOS, securityv1.FSTypeVsphereVolume,
}

// Default sets what the API server sets in a constraint before it stores it.
// What is absent means what it meant before the field existed.
func Default(constraint *securityv1.SecurityContextConstraints) {
	if constraint.FSGroup.Type == "" {
		constraint.FSGroup.Type = securityv1.FSGroupStrategyRunAsAny
	}
	if constraint.SupplementalGroups.Type == "" {
		constraint.SupplementalGroups.Type = securityv1.SupplementalGroupsStrategyRunAsAny
	}
	if constraint.Users == nil {
		constraint.Users = []string{}
	}
	if constraint.Groups == nil {
		constraint.Groups = []string{}
	}
	if constraint.AllowPrivilegeEscalation == nil {
		constraint.AllowPrivilegeEscalation = pointer(true)
	}
	constraint.Volumes = volumes(constraint.Volumes, constraint.AllowHostDirVolumePlugin)
}

// volumes are the volume types that a constraint allows, sorted: none at all
// means every type, an empty list no type. allowHostDirVolumePlugin, which is
// older than the list, overrules what the list says about hostPath.
func volumes(list []securityv1.FSType, hostPath bool) []securityv1.FSType {
	var allowed []securityv1.FSType
	switch {
	case list == nil:
		allowed = []securityv1.FSType{securityv1.FSTypeAll}
	case len(list) == 0 && !hostPath:
		return []securityv1.FSType{securityv1.FSTypeNone}
	default:
		allowed = slices.Clone(list)
	}
	all := slices.Contains(allowed, securityv1.FSTypeAll)
	switch {
	case hostPath && !all:
		allowed = append(allowed, securityv1.FSTypeHostPath)
	case !hostPath:
		allowed = slices.DeleteFunc(allowed, func(kind securityv1.FSType) bool {
			return kind == securityv1.FSTypeAll || kind == securityv1.FSTypeHostPath
		})
		if all {
			allowed = append(allowed, harmlessVolumes...)
		}
	}
	slices.Sort(allowed)
	return slices.Compact(allowed)
}

// Validate finds what the API server refuses in a constraint beyond its schema.
func Validate(constraint *securityv1.SecurityContextConstraints) field.ErrorList {
	problems := apivalidation.ValidateObjectMeta(&constraint.ObjectMeta, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if constraint.Priority != nil && *constraint.Priority < 0 {
		problems = append(problems, field.Invalid(field.NewPath("priority"), *constraint.Priority, "priority cannot be negative"))
	}
	problems = append(problems, validateUserAndLabel(constraint)...)
	problems = append(problems, validateGroups(string(constraint.FSGroup.Type), constraint.FSGroup.Ranges, field.NewPath("fsGroup"))...)
	problems = append(problems, validateGroups(string(constraint.SupplementalGroups.Type), constraint.SupplementalGroups.Ranges, field.NewPath("supplementalGroups"))...)
	problems = append(problems, validateCapabilities(constraint)...)
	if given := constraint.DefaultAllowPrivilegeEscalation; given != nil && *given &&
		constraint.AllowPrivilegeEscalation != nil && !*constraint.AllowPrivilegeEscalation {
		problems = append(problems, field.Invalid(field.NewPath("defaultAllowPrivilegeEscalation"), given,
			"Cannot set DefaultAllowPrivilegeEscalation to true without also setting AllowPrivilegeEscalation to true"))
	}
	problems = append(problems, validateVolumes(constraint)...)
	allowed, forbidden := field.NewPath("allowedUnsafeSysctls"), field.NewPath("forbiddenSysctls")
	problems = append(problems, validateSysctls(constraint.AllowedUnsafeSysctls, allowed)...)
	problems = append(problems, validateSysctls(constraint.ForbiddenSysctls, forbidden)...)
	return append(problems, validateOverlap(constraint.AllowedUnsafeSysctls, constraint.ForbiddenSysctls, allowed, forbidden)...)
}

// ValidateUpdate is Validate with what may not change.
func ValidateUpdate(updated, old *securityv1.SecurityContextConstraints) field.ErrorList {
	problems := apivalidation.ValidateObjectMetaUpdate(&updated.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(problems, Validate(updated)...)
}

func validateUserAndLabel(constraint *securityv1.SecurityContextConstraints) field.ErrorList {
	var problems field.ErrorList
	unknownType := func(path *field.Path, value any, known string) {
		problems = append(problems, field.Invalid(path.Child("type"), value, "invalid strategy type.  Valid values are "+known))
	}
	user := field.NewPath("runAsUser")
	switch constraint.RunAsUser.Type {
	case securityv1.RunAsUserStrategyMustRunAs, securityv1.RunAsUserStrategyMustRunAsNonRoot,
		securityv1.RunAsUserStrategyMustRunAsRange, securityv1.RunAsUserStrategyRunAsAny:
	default:
		unknownType(user, constraint.RunAsUser.Type, "MustRunAs, MustRunAsNonRoot, MustRunAsRange, RunAsAny")
	}
	if uid := constraint.RunAsUser.UID; uid != nil && *uid < 0 {
		problems = append(problems, field.Invalid(user.Child("uid"), *uid, "uid cannot be negative"))
	}
	switch constraint.SELinuxContext.Type {
	case securityv1.SELinuxStrategyMustRunAs, securityv1.SELinuxStrategyRunAsAny:
	default:
		unknownType(field.NewPath("seLinuxContext"), constraint.SELinuxContext.Type, "MustRunAs, RunAsAny")
	}
	return problems
}

func validateGroups(kind string, ranges []securityv1.IDRange, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if known := []string{"MustRunAs", "RunAsAny"}; !slices.Contains(known, kind) {
		problems = append(problems, field.NotSupported(path.Child("type"), kind, known))
	}
	for i, ids := range ranges {
		least, most := path.Child("ranges").Index(i).Child("min"), path.Child("ranges").Index(i).Child("max")
		if ids.Min < 0 {
			problems = append(problems, field.Invalid(least, ids.Min, "min cannot be negative"))
		}
		if ids.Max < 0 {
			problems = append(problems, field.Invalid(most, ids.Max, "max cannot be negative"))
		}
		if ids.Min > ids.Max {
			problems = append(problems, field.Invalid(least, ids, "min cannot be greater than max"))
		}
	}
	return problems
}

func validateCapabilities(constraint *securityv1.SecurityContextConstraints) field.ErrorList {
	var problems field.ErrorList
	dropped := constraint.RequiredDropCapabilities
	for _, list := range []struct {
		name         string
		capabilities []corev1.Capability
	}{
		{"defaultAddCapabilities", constraint.DefaultAddCapabilities},
		{"allowedCapabilities", constraint.AllowedCapabilities},
	} {
		for _, capability := range list.capabilities {
			if slices.Contains(dropped, capability) {
				problems = append(problems, field.Invalid(field.NewPath(list.name), capability,
					fmt.Sprintf("capability is listed in %s and requiredDropCapabilities", list.name)))
			}
		}
	}
	if len(dropped) > 0 && slices.Contains(constraint.AllowedCapabilities, securityv1.AllowAllCapabilities) {
		problems = append(problems, field.Invalid(field.NewPath("requiredDropCapabilities"), dropped,
			"required capabilities must be empty when all capabilities are allowed by a wildcard"))
	}
	return problems
}

func validateVolumes(constraint *securityv1.SecurityContextConstraints) field.ErrorList {
	var problems field.ErrorList
	if len(constraint.Volumes) > 1 && slices.Contains(constraint.Volumes, securityv1.FSTypeNone) {
		problems = append(problems, field.Invalid(field.NewPath("volumes"), constraint.Volumes, "if 'none' is specified, no other values are allowed"))
	}
	if len(constraint.AllowedFlexVolumes) == 0 {
		return problems
	}
	path := field.NewPath("allowedFlexVolumes")
	if !slices.Contains(constraint.Volumes, securityv1.FSTypeFlexVolume) && !slices.Contains(constraint.Volumes, securityv1.FSTypeAll) {
		return append(problems, field.Invalid(path, constraint.AllowedFlexVolumes,
			"volumes does not include 'flexVolume' or '*', so no flex volumes are allowed"))
	}
	for i, volume := range constraint.AllowedFlexVolumes {
		if volume.Driver == "" {
			problems = append(problems, field.Required(path.Index(i).Child("driver"), "must specify a driver"))
		}
	}
	return problems
}

const sysctlPattern = "(" + validation.SysctlSegmentFmt + "\\.)*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]"

var isSysctlPattern = regexp.MustCompile("^" + sysctlPattern + "$")

func validateSysctls(patterns []string, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	all := false
	for i, pattern := range patterns {
		switch {
		case pattern == "":
			problems = append(problems, field.Invalid(path.Index(i), pattern, "empty sysctl not allowed"))
		case len(pattern) > validation.SysctlMaxLength || !isSysctlPattern.MatchString(pattern):
			problems = append(problems, field.Invalid(path.Index(i), pattern,
				fmt.Sprintf("must have at most %d characters and match regex %s", validation.SysctlMaxLength, sysctlPattern)))
		case pattern[0] == '*':
			all = true
		}
	}
	if all && len(patterns) > 1 {
		problems = append(problems, field.Forbidden(path.Child("items"), "if '*' is present, must not specify other sysctls"))
	}
	return problems
}

// validateOverlap refuses a sysctl that is both allowed and forbidden. Of two
// patterns it blames the narrower one.
func validateOverlap(allowed, forbidden []string, allowedPath, forbiddenPath *field.Path) field.ErrorList {
	var problems field.ErrorList
	overlaps := func(path *field.Path, narrow, wide string) {
		problems = append(problems, field.Invalid(path, narrow, "sysctl overlaps with "+wide))
	}
	for i, yes := range allowed {
		for j, no := range forbidden {
			switch {
			case covers(no, yes):
				overlaps(allowedPath.Index(i), yes, no)
			case covers(yes, no):
				overlaps(forbiddenPath.Index(j), no, yes)
			}
		}
	}
	return problems
}

// covers tells whether all that the narrow pattern matches, the wide one does.
func covers(wide, narrow string) bool {
	prefix, star := strings.CutSuffix(wide, "*")
	if !star {
		return wide == narrow
	}
	return strings.HasPrefix(strings.TrimSuffix(narrow, "*"), prefix)
}
