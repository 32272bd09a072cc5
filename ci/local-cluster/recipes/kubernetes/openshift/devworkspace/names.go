package devworkspace

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// What the operator calls itself, its objects and its labels
// (devfile/devworkspace-operator, pkg/constants and pkg/common/naming.go).
const (
	operatorNamespace  = "devworkspace-controller"
	operatorDeployment = "devworkspace-controller-manager"
	operatorAccount    = "devworkspace-controller-serviceaccount"
	globalConfig       = "devworkspace-operator-config"
	webhooksName       = "controller.devfile.io"

	prefix                = "controller.devfile.io/"
	labelID               = prefix + "devworkspace_id"
	labelName             = prefix + "devworkspace_name"
	labelCreator          = prefix + "creator"
	labelVolumeType       = prefix + "devworkspace_pvc_type"
	labelMount            = prefix + "mount-to-devworkspace"
	labelWatchMap         = prefix + "watch-configmap"
	labelRBAC             = prefix + "workspace-rbac"
	annotationRestricted  = prefix + "restricted-access"
	annotationStartedAt   = prefix + "started-at"
	annotationStarted     = prefix + "devworkspace-started"
	annotationMountPath   = prefix + "mount-path"
	annotationMountAs     = prefix + "mount-as"
	annotationAccessMode  = prefix + "mount-access-mode"
	attributeConstraint   = prefix + "scc"
	attributeConfig       = prefix + "devworkspace-config"
	attributeProjectClone = prefix + "project-clone"
	attributeStorageType  = prefix + "storage-type"
	attributePod          = "pod-overrides"
	attributeContainer    = "container-overrides"

	finalizerRBAC    = "rbac." + webhooksName
	finalizerStorage = "storage." + webhooksName

	perWorkspace = "per-workspace"
	perUser      = "per-user"
	ephemeral    = "ephemeral"

	defaultRole    = "devworkspace-default-role"
	defaultBinding = "devworkspace-default-rolebinding"
	askpassMap     = "devworkspace-ssh-askpass"
)

// operatorUser is the operator's service account as a user of the API.
var operatorUser = "system:serviceaccount:" + operatorNamespace + ":" + operatorAccount

var (
	workspaces  = schema.GroupVersionResource{Group: "workspace.devfile.io", Version: "v1alpha2", Resource: "devworkspaces"}
	routings    = schema.GroupVersionResource{Group: "controller.devfile.io", Version: "v1alpha1", Resource: "devworkspaceroutings"}
	configs     = schema.GroupVersionResource{Group: "controller.devfile.io", Version: "v1alpha1", Resource: "devworkspaceoperatorconfigs"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	pods        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	claims      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	accounts    = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	roles       = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	bindings    = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	jobs        = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// workspaceID is the id that a workspace gets: the first three parts of its uid.
func workspaceID(uid types.UID) string {
	parts := strings.Split(string(uid), "-")
	return "workspace" + strings.Join(parts[:min(3, len(parts))], "")
}

func accountName(id string) string     { return id + "-sa" }
func routingName(id string) string     { return "routing-" + id }
func metadataMapName(id string) string { return id + "-metadata" }
func claimName(id string) string       { return "storage-" + id }
func cleanupName(id string) string     { return "cleanup-" + id }

func constraintRole(constraint string) string { return "devworkspace-use-" + constraint }

func pullerBinding(namespace string) string {
	return fmt.Sprintf("devworkspace-registry-image-puller-%s-binding", namespace)
}
