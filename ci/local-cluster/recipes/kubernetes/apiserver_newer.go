//go:build !kubernetes_1_32

package main

import (
	"k8s.io/apiserver/pkg/server/flagz"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// Each options object has a registry of its own since Kubernetes 1.33.
func newServerOptions() (*options.ServerRunOptions, globals) {
	settings := options.NewServerRunOptions()
	registry := settings.GenericServerRunOptions.ComponentGlobalsRegistry
	gate := registry.FeatureGateFor(compatibility.DefaultKubeComponent)
	return settings, globals{gate, registry.Set, func() {
		gate.(featuregate.MutableFeatureGate).AddMetrics()
		registry.AddMetrics()
	}}
}

func addVersionedFlags(settings *options.ServerRunOptions, flags cliflag.NamedFlagSets) {
	settings.Flagz = flagz.NamedFlagSetsReader{FlagSets: flags}
}
