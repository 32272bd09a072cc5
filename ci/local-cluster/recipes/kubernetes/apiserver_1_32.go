//go:build kubernetes_1_32

package main

import (
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/version"
	"k8s.io/component-base/zpages/flagz"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func newServerOptions() (*options.ServerRunOptions, globals) {
	registry := featuregate.DefaultComponentGlobalsRegistry
	_, gate := registry.ComponentGlobalsOrRegister(featuregate.DefaultKubeComponent,
		version.DefaultBuildEffectiveVersion(), utilfeature.DefaultMutableFeatureGate)
	return options.NewServerRunOptions(), globals{gate, registry.Set, gate.AddMetrics}
}

func addVersionedFlags(settings *options.ServerRunOptions, flags cliflag.NamedFlagSets) {
	settings.Flagz = flagz.NamedFlagSetsReader{FlagSets: flags}
	options.AddCustomGlobalFlags(flags.FlagSet("generic"))
}
