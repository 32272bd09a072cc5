//go:build !kubernetes_1_32

package admission

import (
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/util/compatibility"
)

// inspect shows the plugin the server's version: newer Kubernetes has no gate left that
// the plugin asks for.
func inspect(plugin admission.Interface) {
	plugin.(initializer.WantsEffectiveVersion).InspectEffectiveVersion(compatibility.DefaultBuildEffectiveVersion())
}
