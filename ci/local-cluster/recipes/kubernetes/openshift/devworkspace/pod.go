package devworkspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

// input is all that the objects of a workspace are made of.
type input struct {
	workspace *unstructured.Unstructured
	template  template
	settings  settings
	platform  platform
	// maps are the ConfigMaps that every workspace of the namespace mounts.
	maps []corev1.ConfigMap
	// pullSecrets are those of the workspace's service account.
	pullSecrets []corev1.LocalObjectReference
}

func (in input) id() string { return statusText(in.workspace, "devworkspaceId") }

// containers are the containers of a workspace, without what is mounted besides
// its own volumes.
func (in input) containers() ([]corev1.Container, error) {
	var made []corev1.Container
	for _, component := range in.template.Components {
		if component.Container == nil {
			continue
		}
		container, err := overrideContainer(component, in.container(component))
		if err != nil {
			return nil, err
		}
		made = append(made, container)
	}
	if len(made) > 0 && in.usesSharedClaim() {
		// The kubelet opens only the last directory of a subPath to the pod's group,
		// and the workspace's own must be (devworkspace-operator,
		// pkg/provision/workspace/deployment.go).
		first := corev1.VolumeMount{
			Name: sharedClaim, MountPath: "/tmp/workspace-storage", SubPath: in.id(),
		}
		made[0].VolumeMounts = append([]corev1.VolumeMount{first}, made[0].VolumeMounts...)
	}
	return made, nil
}

func (in input) container(component component) corev1.Container {
	of := component.Container
	memory := func(written string) corev1.ResourceList {
		// The shape has parsed it.
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(written)}
	}
	return corev1.Container{
		Name:            component.Name,
		Image:           of.Image,
		ImagePullPolicy: in.settings.PullPolicy,
		Command:         of.Command,
		Args:            of.Args,
		Env:             in.environment(component),
		Resources: corev1.ResourceRequirements{
			Limits: memory(of.MemoryLimit), Requests: memory(of.MemoryRequest),
		},
		SecurityContext: in.settings.ContainerContext.DeepCopy(),
		VolumeMounts:    in.mounts(of.VolumeMounts),
	}
}

// environment is what a container is told: its own variables, then what every
// container is told.
func (in input) environment(component component) []corev1.EnvVar {
	variables := []corev1.EnvVar{{Name: "DEVWORKSPACE_COMPONENT_NAME", Value: component.Name}}
	for _, own := range component.Container.Env {
		variables = append(variables, corev1.EnvVar{Name: own.Name, Value: own.Value})
	}
	variables = append(variables, []corev1.EnvVar{
		{Name: "DEVWORKSPACE_NAMESPACE", Value: in.workspace.GetNamespace()},
		{Name: "DEVWORKSPACE_NAME", Value: in.workspace.GetName()},
		{Name: "DEVWORKSPACE_ID", Value: in.id()},
		{Name: "DEVWORKSPACE_CREATOR", Value: in.workspace.GetLabels()[labelCreator]},
		{Name: "DEVWORKSPACE_IDLE_TIMEOUT", Value: idleTimeout},
	}...)
	// Only the configuration's value counts, not that of pod-overrides (ws-09).
	if !ptr.Deref(in.settings.HostUsers, true) {
		variables = append(variables, corev1.EnvVar{Name: "HOST_USERS", Value: "false"})
	}
	return append(variables, []corev1.EnvVar{
		{Name: "SSH_ASKPASS", Value: "/.ssh-askpass/ssh-askpass.sh"},
		{Name: "DISPLAY", Value: ":0"},
		{Name: "DEVWORKSPACE_METADATA", Value: "/devworkspace-metadata"},
		{Name: "DEVWORKSPACE_FLATTENED_DEVFILE", Value: "/devworkspace-metadata/" + flattenedFile},
		{Name: "DEVWORKSPACE_ORIGINAL_DEVFILE", Value: "/devworkspace-metadata/" + originalFile},
	}...)
}

// mounts are those of a workspace's own volumes: folders of one claim, which may
// be that of all workspaces, or volumes of their own.
func (in input) mounts(of []mount) []corev1.VolumeMount {
	claimed := map[string]bool{}
	for _, component := range in.template.Components {
		if component.Volume != nil && !component.Volume.Ephemeral {
			claimed[component.Name] = true
		}
	}
	var made []corev1.VolumeMount
	for _, mount := range of {
		one := corev1.VolumeMount{Name: mount.Name, MountPath: mount.Path}
		if claimed[mount.Name] {
			one.Name, one.SubPath = in.claimName(), in.folder(mount.Name)
		}
		made = append(made, one)
	}
	return made
}

// mountedMaps are the volumes of the ConfigMaps, and where every container has
// their files: file by file.
func mountedMaps(of []corev1.ConfigMap) ([]corev1.Volume, []corev1.VolumeMount, error) {
	sorted := slices.Clone(of)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a].Name < sorted[b].Name })
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	for _, one := range sorted {
		mode, err := strconv.ParseInt(one.Annotations[annotationAccessMode], 0, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("failed to process configmap %s: %w", one.Name, err)
		}
		volumes = append(volumes, mapVolume(one.Name, one.Name, int32(mode)))
		keys := slices.Concat(slices.Collect(maps.Keys(one.Data)),
			slices.Collect(maps.Keys(one.BinaryData)))
		sort.Strings(keys)
		for _, key := range keys {
			folder := one.Annotations[annotationMountPath]
			mounts = append(mounts, corev1.VolumeMount{
				Name: one.Name, ReadOnly: true, MountPath: path.Join(folder, key), SubPath: key,
			})
		}
	}
	return volumes, mounts, nil
}

func mapVolume(volume, name string, mode int32) corev1.Volume {
	return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name},
			DefaultMode:          ptr.To(mode),
		},
	}}
}

// volumes are all volumes of the pod, in the operator's order.
func (in input) volumes(ofMaps []corev1.Volume) []corev1.Volume {
	made := append([]corev1.Volume{mapVolume("ssh-askpass", askpassMap, 0o755)}, ofMaps...)
	for _, component := range in.template.Components {
		if component.Volume != nil && component.Volume.Ephemeral {
			empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
			made = append(made, corev1.Volume{Name: component.Name, VolumeSource: empty})
		}
	}
	if claim := in.claimName(); in.needsClaim() {
		made = append(made, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	metadata := mapVolume("workspace-metadata", metadataMapName(in.id()), 0o644)
	metadata.ConfigMap.Optional = ptr.To(true)
	return append(made, metadata)
}

// deployment is the Deployment of a workspace. What can't be made is told in the
// operator's words.
func (in input) deployment() (*appsv1.Deployment, error) {
	containers, err := in.containers()
	if err != nil {
		return nil, err
	}
	volumes, mounts, err := mountedMaps(in.maps)
	if err != nil {
		return nil, err
	}
	mounts = append(mounts,
		corev1.VolumeMount{Name: "ssh-askpass", ReadOnly: true,
			MountPath: "/.ssh-askpass/ssh-askpass.sh", SubPath: "ssh-askpass.sh"},
		corev1.VolumeMount{Name: "workspace-metadata", ReadOnly: true,
			MountPath: "/devworkspace-metadata"})
	for index := range containers {
		containers[index].VolumeMounts = append(containers[index].VolumeMounts, mounts...)
	}
	pod := corev1.PodSpec{
		Containers:                    containers,
		Volumes:                       in.volumes(volumes),
		ImagePullSecrets:              in.pullSecrets,
		RestartPolicy:                 corev1.RestartPolicyAlways,
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		SecurityContext:               in.settings.PodContext,
		ServiceAccountName:            accountName(in.id()),
		RuntimeClassName:              in.settings.RuntimeClass,
		HostUsers:                     in.settings.HostUsers,
	}
	if err := overridePod(in.template.Attributes.PodOverrides, &pod); err != nil {
		return nil, err
	}
	if _, ok := in.workspace.GetLabels()[labelCreator]; !ok {
		return nil, errors.New(
			"workspace must have creator specified to be run. Recreate it to fix an issue")
	}
	return in.around(pod), nil
}

// around is the Deployment around a pod.
func (in input) around(pod corev1.PodSpec) *appsv1.Deployment {
	meta := in.meta(in.id())
	meta.Labels[labelCreator] = in.workspace.GetLabels()[labelCreator]
	ofPod := metav1.ObjectMeta{
		Name: meta.Name, Namespace: meta.Namespace,
		Labels: maps.Clone(meta.Labels), Annotations: maps.Clone(in.settings.PodAnnotations),
	}
	if restricted, ok := in.workspace.GetAnnotations()[annotationRestricted]; ok {
		meta.Annotations = map[string]string{annotationRestricted: restricted}
		ofPod.Annotations[annotationRestricted] = restricted
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.To[int32](1),
			Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{labelID: in.id()}},
			Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			ProgressDeadlineSeconds: ptr.To[int32](300),
			Template:                corev1.PodTemplateSpec{ObjectMeta: ofPod, Spec: pod},
		},
	}
}

// needsClaim tells whether a volume of the workspace is to be kept.
func (in input) needsClaim() bool {
	return slices.ContainsFunc(in.template.Components, func(component component) bool {
		return component.Volume != nil && !component.Volume.Ephemeral
	})
}

// claimSize is the sum of the sizes of the volumes that are kept.
func (in input) claimSize() resource.Quantity {
	sum := resource.NewQuantity(0, resource.BinarySI)
	for _, component := range in.template.Components {
		if component.Volume != nil && !component.Volume.Ephemeral {
			// The shape has parsed it.
			sum.Add(resource.MustParse(component.Volume.Size))
		}
	}
	return *sum
}

// object is a typed object as the double sends it.
func object(typed any) *unstructured.Unstructured {
	made := &unstructured.Unstructured{}
	written, err := json.Marshal(typed)
	if err == nil {
		err = json.Unmarshal(written, &made.Object)
	}
	if err != nil {
		panic(fmt.Sprintf("an object can't be written as JSON: %v", err))
	}
	return made
}
