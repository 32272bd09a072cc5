package devworkspace

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const (
	originalFile  = "original.devworkspace.yaml"
	flattenedFile = "flattened.devworkspace.yaml"
)

// askpassScript is the content of the ConfigMap as it was recorded. It asks for a
// passphrase that no recorded workspace has.
const askpassScript = `#!/bin/sh
PASSPHRASE_FILE_PATH="/etc/ssh/passphrase"
if [ ! -f $PASSPHRASE_FILE_PATH ]; then
    echo "Error: passphrase file is missing in the '/etc/ssh/' directory" 1>&2
    exit 1
fi
cat $PASSPHRASE_FILE_PATH
`

// meta is the metadata of an object that a workspace owns.
func (in input) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: in.workspace.GetNamespace(),
		Labels:    map[string]string{labelID: in.id(), labelName: in.workspace.GetName()},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "workspace.devfile.io/v1alpha2", Kind: "DevWorkspace",
			Name: in.workspace.GetName(), UID: in.workspace.GetUID(),
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		}},
	}
}

// askpass is the ConfigMap that all workspaces of a namespace share.
func askpass(namespace string) *unstructured.Unstructured {
	return object(corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: askpassMap, Namespace: namespace, Labels: map[string]string{
			"app.kubernetes.io/defaultName": "ssh-askpass-secret",
			"app.kubernetes.io/part-of":     "devworkspace-operator",
			labelWatchMap:                   "true",
		}},
		Data: map[string]string{"ssh-askpass.sh": askpassScript},
	})
}

// claim is where a workspace's volumes are kept that outlive its pod.
func (in input) claim() *unstructured.Unstructured {
	if in.template.isShared() {
		return sharedClaimIn(in.workspace.GetNamespace())
	}
	meta := in.meta(claimName(in.id()))
	meta.Labels = map[string]string{labelID: in.id(), labelVolumeType: perWorkspace}
	return object(corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: meta,
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: in.claimSize()},
			},
		},
	})
}

// routing is the DevWorkspaceRouting. No recorded workspace has an endpoint, so
// there are no Services and no main URL.
func (in input) routing() *unstructured.Unstructured {
	meta := in.meta(routingName(in.id()))
	meta.Labels = map[string]string{labelID: in.id()}
	meta.Annotations = map[string]string{annotationStarted: "true"}
	if restricted, ok := in.workspace.GetAnnotations()[annotationRestricted]; ok {
		meta.Annotations[annotationRestricted] = restricted
	}
	made := object(metav1.PartialObjectMetadata{ObjectMeta: meta})
	made.SetAPIVersion("controller.devfile.io/v1alpha1")
	made.SetKind("DevWorkspaceRouting")
	made.Object["spec"] = map[string]any{
		"devworkspaceId": in.id(),
		"endpoints":      map[string]any{},
		"podSelector":    map[string]any{labelID: in.id()},
		"routingClass":   "basic",
	}
	return made
}

// metadataMap shows the workspace to its own containers. Nothing that was
// recorded has a parent or a plugin, so the flattened form is the original.
func (in input) metadataMap() (*unstructured.Unstructured, error) {
	template, _, _ := unstructured.NestedFieldNoCopy(in.workspace.Object, "spec", "template")
	text, err := yaml.Marshal(template)
	if err != nil {
		return nil, err
	}
	meta := in.meta(metadataMapName(in.id()))
	meta.Labels = map[string]string{
		labelID:                     in.id(),
		labelWatchMap:               "true",
		"app.kubernetes.io/name":    "devworkspace-controller",
		"app.kubernetes.io/part-of": "devworkspace-operator",
	}
	return object(corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: meta,
		Data:       map[string]string{originalFile: string(text), flattenedFile: string(text)},
	}), nil
}

// account is the service account of a workspace's pod. Its pull secret is that
// which a controller of OpenShift names in every service account; the operator
// waits for one there, but it need not exist where nothing is pulled.
func (in input) account() *unstructured.Unstructured {
	name := accountName(in.id())
	account := corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   in.meta(name),
		AutomountServiceAccountToken: ptr.To(true),
	}
	if in.platform.hasRegistry() {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: name + "-dockercfg"}}
	}
	return object(account)
}

// pullSecretsOf are those that a service account names.
func pullSecretsOf(account *unstructured.Unstructured) []corev1.LocalObjectReference {
	var read corev1.ServiceAccount
	if written, err := json.Marshal(account.Object); err == nil {
		_ = json.Unmarshal(written, &read)
	}
	return read.ImagePullSecrets
}

func rbacMeta(name, namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
		"app.kubernetes.io/name":    "devworkspace-workspaces",
		"app.kubernetes.io/part-of": "devworkspace-operator",
		labelRBAC:                   "true",
	}}
}

func role(name, namespace string, rules ...rbacv1.PolicyRule) *unstructured.Unstructured {
	return object(rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"},
		ObjectMeta: rbacMeta(name, namespace),
		Rules:      rules,
	})
}

// roles are what the service accounts of a namespace's workspaces may do: the
// same for all, and to use the SCC that this one asks for.
func (in input) roles() []*unstructured.Unstructured {
	rule := func(groups, resources []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
	}
	core, metrics := []string{""}, []string{"metrics.k8s.io"}
	apps, devfile := []string{"apps", "extensions"}, []string{"workspace.devfile.io"}
	controller := []string{"controller.devfile.io"}
	changes := []string{"get", "list", "create", "patch", "update", "delete"}
	namespace := in.workspace.GetNamespace()
	made := []*unstructured.Unstructured{role(defaultRole, namespace,
		rule(core, []string{"pods/exec"}, "create"),
		rule(core, []string{"pods"}, "get", "list", "watch"),
		rule(metrics, []string{"pods"}, "get", "list", "watch"),
		rule(apps, []string{"deployments", "replicasets"}, "get", "list", "watch"),
		rule(core, []string{"secrets"}, changes...),
		rule(core, []string{"configmaps"}, changes...),
		rule(devfile, []string{"devworkspaces"}, "get", "watch", "list", "patch", "update"),
		rule(controller, []string{"devworkspaceroutings"}, "get", "list", "watch"),
		rule(devfile, []string{"devworkspacetemplates"},
			"get", "create", "patch", "update", "delete", "list", "watch"),
	)}
	if constraint := in.template.Attributes.Constraint; constraint != "" {
		use := rule([]string{"security.openshift.io"}, []string{"securitycontextconstraints"}, "use")
		use.ResourceNames = []string{constraint}
		made = append(made, role(constraintRole(constraint), namespace, use))
	}
	return made
}

// bindings give the workspace's service account its roles, and the right to pull
// images of the cluster's own registry. Each is shared by the workspaces of the
// namespace.
func (in input) bindings() []rbacv1.RoleBinding {
	namespace := in.workspace.GetNamespace()
	bind := func(name, kind, role string) rbacv1.RoleBinding {
		return rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
			ObjectMeta: rbacMeta(name, namespace),
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: kind, Name: role},
		}
	}
	made := []rbacv1.RoleBinding{bind(defaultBinding, "Role", defaultRole)}
	if constraint := in.template.Attributes.Constraint; constraint != "" {
		role := constraintRole(constraint)
		made = append(made, bind(role, "Role", role))
	}
	if in.platform.hasRegistry() {
		made = append(made, bind(pullerBinding(namespace), "ClusterRole", "system:image-puller"))
	}
	return made
}

func subjectOf(id, namespace string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Name: accountName(id), Namespace: namespace}
}

// withSubject is the list with a subject; false where it has it already.
func withSubject(list []rbacv1.Subject, subject rbacv1.Subject) ([]rbacv1.Subject, bool) {
	if slices.Contains(list, subject) {
		return list, false
	}
	return append(slices.Clone(list), subject), true
}

// withoutSubject is the list without a subject; false where it has it not.
func withoutSubject(list []rbacv1.Subject, subject rbacv1.Subject) ([]rbacv1.Subject, bool) {
	left := slices.DeleteFunc(slices.Clone(list), func(one rbacv1.Subject) bool { return one == subject })
	return left, len(left) < len(list)
}
