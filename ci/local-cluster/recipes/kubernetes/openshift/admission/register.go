// Package admission puts OpenShift's admission of security context constraints
// into an API server, as plugins of its own chain. What they decide is in
// package scc.
package admission

import (
	"io"
	"slices"

	"k8s.io/apiserver/pkg/admission"

	"local/kubernetes/openshift/scc"
)

// The names of the plugins, as in OpenShift.
const (
	PodsPlugin       = "security.openshift.io/SecurityContextConstraint"
	ExecPlugin       = "security.openshift.io/SCCExecRestrictions"
	ValidatingPlugin = "security.openshift.io/ValidateSecurityContextConstraints"
	DefaultingPlugin = "security.openshift.io/DefaultSecurityContextConstraints"
)

// Register adds the plugins to those that an API server may start. The release
// decides what they say.
//
// An API server makes a chain for itself, one for custom resources and one for
// aggregated APIs, and so each plugin several times. All of them see the same
// constraints.
func Register(plugins *admission.Plugins, release scc.Release) {
	shared := &constraints{}
	plugins.Register(PodsPlugin, func(io.Reader) (admission.Interface, error) {
		return newPods(PodsPlugin, release, shared), nil
	})
	plugins.Register(ExecPlugin, func(io.Reader) (admission.Interface, error) {
		return newExec(release, shared), nil
	})
	plugins.Register(ValidatingPlugin, func(io.Reader) (admission.Interface, error) {
		return &validating{admission.NewHandler(admission.Create, admission.Update)}, nil
	})
	plugins.Register(DefaultingPlugin, func(io.Reader) (admission.Interface, error) {
		return &defaulting{admission.NewHandler(admission.Create, admission.Update)}, nil
	})
}

// Order puts the plugins where OpenShift has them (openshift/kubernetes,
// admissionenablement): after all of Kubernetes' own that change objects, and
// before the webhooks.
func Order(upstream []string) []string {
	ours := []string{PodsPlugin, ExecPlugin, ValidatingPlugin, DefaultingPlugin}
	if webhooks := slices.Index(upstream, "MutatingAdmissionWebhook"); webhooks >= 0 {
		return slices.Insert(slices.Clone(upstream), webhooks, ours...)
	}
	return append(slices.Clone(upstream), ours...)
}
