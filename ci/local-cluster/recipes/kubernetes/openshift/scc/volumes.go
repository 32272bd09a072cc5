package scc

import (
	"fmt"
	"slices"
	"strings"

	securityv1 "github.com/openshift/api/security/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
)

// The sysctls that a pod may set under every constraint, if the constraint
// doesn't forbid them.
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_syncookies",
}

// Further safe ones of newer releases.
var newerSafeSysctls = []string{
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.tcp_rmem",
	"net.ipv4.tcp_wmem",
}

func (p *provider) checkSysctls(sysctls []core.Sysctl) field.ErrorList {
	var problems field.ErrorList
	path := field.NewPath("pod", "spec", "securityContext", "sysctls")
	for i, sysctl := range sysctls {
		switch name := sysctl.Name; {
		case matches(p.ForbiddenSysctls, name):
			problems = append(problems, field.Forbidden(path.Index(i), fmt.Sprintf("sysctl %q is not allowed", name)))
		case slices.Contains(safeSysctls, name),
			p.release.moreSafeSysctls && slices.Contains(newerSafeSysctls, name),
			matches(p.AllowedUnsafeSysctls, name):
		default:
			problems = append(problems, field.Forbidden(path.Index(i), fmt.Sprintf("unsafe sysctl %q is not allowed", name)))
		}
	}
	return problems
}

// matches tells whether one of the patterns is the name, or its beginning and a
// star.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if prefix, star := strings.CutSuffix(pattern, "*"); star {
			return strings.HasPrefix(name, prefix)
		}
		return pattern == name
	})
}

func (p *provider) checkVolumes(volumes []core.Volume) field.ErrorList {
	if slices.Contains(p.Volumes, securityv1.FSTypeAll) {
		return nil
	}
	var problems field.ErrorList
	for i, volume := range volumes {
		path := field.NewPath("spec", "volumes").Index(i)
		kind := volumeType(volume)
		switch {
		case kind == "":
			problems = append(problems, field.Invalid(path, "", fmt.Sprintf("unknown volume type for volume: %#v", volume)))
		case slices.Contains(p.Volumes, kind):
		// Every pod may have the volume with its service account's token.
		case kind == securityv1.FSProjected && slices.Contains(p.Volumes, securityv1.FSTypeSecret) && isAccountToken(volume.Projected):
		default:
			problems = append(problems, field.Invalid(path, string(kind), fmt.Sprintf("%s volumes are not allowed to be used", kind)))
		}
	}
	return problems
}

func (p *provider) checkFlexVolumes(volumes []core.Volume, path *field.Path) field.ErrorList {
	if len(p.AllowedFlexVolumes) == 0 ||
		!slices.Contains(p.Volumes, securityv1.FSTypeFlexVolume) && !slices.Contains(p.Volumes, securityv1.FSTypeAll) {
		return nil
	}
	var problems field.ErrorList
	for i, volume := range volumes {
		if volume.FlexVolume == nil {
			continue
		}
		driver := volume.FlexVolume.Driver
		if !slices.Contains(p.AllowedFlexVolumes, securityv1.AllowedFlexVolume{Driver: driver}) {
			problems = append(problems, field.Invalid(path.Child("volumes").Index(i).Child("driver"), driver,
				"Flexvolume driver is not allowed to be used"))
		}
	}
	return problems
}

// volumeType is the volume's type as constraints name it; empty for one that
// they have no name for.
func volumeType(volume core.Volume) securityv1.FSType {
	source := volume.VolumeSource
	for _, candidate := range []struct {
		has  bool
		kind securityv1.FSType
	}{
		{source.HostPath != nil, securityv1.FSTypeHostPath},
		{source.EmptyDir != nil, securityv1.FSTypeEmptyDir},
		{source.GCEPersistentDisk != nil, securityv1.FSTypeGCEPersistentDisk},
		{source.AWSElasticBlockStore != nil, securityv1.FSTypeAWSElasticBlockStore},
		{source.GitRepo != nil, securityv1.FSTypeGitRepo},
		{source.Secret != nil, securityv1.FSTypeSecret},
		{source.NFS != nil, securityv1.FSTypeNFS},
		{source.ISCSI != nil, securityv1.FSTypeISCSI},
		{source.Glusterfs != nil, securityv1.FSTypeGlusterfs},
		{source.PersistentVolumeClaim != nil, securityv1.FSTypePersistentVolumeClaim},
		{source.RBD != nil, securityv1.FSTypeRBD},
		{source.FlexVolume != nil, securityv1.FSTypeFlexVolume},
		{source.Cinder != nil, securityv1.FSTypeCinder},
		{source.CephFS != nil, securityv1.FSTypeCephFS},
		{source.Flocker != nil, securityv1.FSTypeFlocker},
		{source.DownwardAPI != nil, securityv1.FSTypeDownwardAPI},
		{source.FC != nil, securityv1.FSTypeFC},
		{source.AzureFile != nil, securityv1.FSTypeAzureFile},
		{source.ConfigMap != nil, securityv1.FSTypeConfigMap},
		{source.VsphereVolume != nil, securityv1.FSTypeVsphereVolume},
		{source.Quobyte != nil, securityv1.FSTypeQuobyte},
		{source.AzureDisk != nil, securityv1.FSTypeAzureDisk},
		{source.PhotonPersistentDisk != nil, securityv1.FSTypePhotonPersistentDisk},
		{source.Projected != nil, securityv1.FSProjected},
		{source.PortworxVolume != nil, securityv1.FSPortworxVolume},
		{source.ScaleIO != nil, securityv1.FSScaleIO},
		{source.StorageOS != nil, securityv1.FSStorageOS},
		{source.CSI != nil, securityv1.FSTypeCSI},
		{source.Ephemeral != nil, securityv1.FSTypeEphemeral},
		{source.Image != nil, securityv1.FSTypeImage},
	} {
		if candidate.has {
			return candidate.kind
		}
	}
	return ""
}

// isAccountToken tells whether a projected volume has nothing but what the
// cluster itself puts into a pod: the account's token for the API server, the
// certificates to reach it, and the namespace's name.
func isAccountToken(volume *core.ProjectedVolumeSource) bool {
	for _, source := range volume.Sources {
		token, config, downward := source.ServiceAccountToken, source.ConfigMap, source.DownwardAPI
		switch {
		case token == nil && config == nil && downward == nil,
			token != nil && (token.Path != "token" || token.Audience != ""),
			config != nil && !isCertificate(config),
			downward != nil && slices.ContainsFunc(downward.Items, isNotNamespace):
			return false
		}
	}
	return true
}

func isCertificate(config *core.ConfigMapProjection) bool {
	files := map[string]string{"kube-root-ca.crt": "ca.crt", "openshift-service-ca.crt": "service-ca.crt"}
	file, known := files[config.Name]
	return known && len(config.Items) == 1 && config.Items[0].Key == file && config.Items[0].Path == file
}

func isNotNamespace(item core.DownwardAPIVolumeFile) bool {
	return item.Path != "namespace" || item.FieldRef == nil ||
		item.FieldRef.APIVersion != "v1" || item.FieldRef.FieldPath != "metadata.namespace"
}
