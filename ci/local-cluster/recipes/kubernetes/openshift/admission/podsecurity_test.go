package admission

import (
	"context"
	"strings"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
)

type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

// forPodSecurity gives Kubernetes' own plugin what an API server gives to it.
type forPodSecurity struct {
	server  server
	factory informers.SharedInformerFactory
}

func (f forPodSecurity) Initialize(plugin admission.Interface) {
	inspect(plugin)
	plugin.(initializer.WantsExternalKubeClientSet).SetExternalKubeClientSet(f.server.client)
	plugin.(initializer.WantsExternalKubeInformerFactory).SetExternalKubeInformerFactory(f.factory)
}

// startPodSecurity starts Kubernetes' own plugin, with the decorator.
func startPodSecurity(t *testing.T, server server) admission.ValidationInterface {
	t.Helper()
	factory := informers.NewSharedInformerFactory(server.client, 0)
	plugins := admission.NewPlugins()
	podsecurity.Register(plugins)
	plugin, err := plugins.InitPlugin(podsecurity.PluginName, nil, forPodSecurity{server, factory})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	decorator := Decorator()
	decorated := decorator.Decorate(plugin, podsecurity.PluginName)
	decorator.Decorate(server.pods, PodsPlugin)
	return decorated.(admission.ValidationInterface)
}

// admittedByRestricted is a template that needs what restricted-v2 sets: on its own it
// does not suit the level.
func admittedByRestricted() core.PodTemplateSpec {
	return core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{Name: "c"}}}}
}

// Of a workload's template Pod Security says what it would say of the pod.
func TestPodSecurityJudgesTemplatesAsAdmitted(t *testing.T) {
	warned := ready(namespace, map[string]string{"pod-security.kubernetes.io/warn": "restricted"})
	no := false
	strict := constraint("strict", func(made *securityv1.SecurityContextConstraints) {
		made.AllowPrivilegeEscalation, made.DefaultAllowPrivilegeEscalation = &no, &no
		made.RequiredDropCapabilities = []corev1.Capability{"ALL"}
		made.SeccompProfiles = []string{"runtime/default"}
	})
	meta := metav1.ObjectMeta{Name: "w", Namespace: namespace}
	workloads := map[string]func(core.PodTemplateSpec) runtime.Object{
		"deployments": func(template core.PodTemplateSpec) runtime.Object {
			return &apps.Deployment{ObjectMeta: meta, Spec: apps.DeploymentSpec{Template: template}}
		},
		"cronjobs": func(template core.PodTemplateSpec) runtime.Object {
			made := &batch.CronJob{ObjectMeta: meta}
			made.Spec.JobTemplate.Spec.Template = template
			return made
		},
	}
	for may, expected := range map[string]string{"strict": "", "nobody": "would violate PodSecurity"} {
		rights := map[string][]string{"system:serviceaccount:work:default": {may}, "jane": {"privileged"}}
		server := start(t, rights, []runtime.Object{warned}, append(shipped(), strict))
		plugin := startPodSecurity(t, server)
		for resource, make := range workloads {
			object := make(admittedByRestricted())
			group := apps.Resource(resource)
			if resource == "cronjobs" {
				group = batch.Resource(resource)
			}
			attributes := admission.NewAttributesRecord(object, nil, apps.Kind("Deployment").WithVersion(""), namespace, "w",
				group.WithVersion(""), "", admission.Create, nil, false, &user.DefaultInfo{Name: "jane"})
			var given warnings
			if err := plugin.Validate(warning.WithWarningRecorder(context.Background(), &given), attributes, nil); err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(given, "; "); (all == "") != (expected == "") || !strings.Contains(all, expected) {
				t.Errorf("%s, and the account may use %s: warned %q, expected %q", resource, may, all, expected)
			}
			if template := templateIn(object); template.Spec.Containers[0].SecurityContext != nil {
				t.Errorf("%s: the object itself is changed", resource)
			}
		}
	}
}
