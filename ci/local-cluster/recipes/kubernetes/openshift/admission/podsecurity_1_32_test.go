//go:build kubernetes_1_32

package admission

import (
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// inspect shows the plugin the server's gates.
func inspect(plugin admission.Interface) {
	plugin.(initializer.WantsFeatures).InspectFeatureGates(utilfeature.DefaultFeatureGate)
}
