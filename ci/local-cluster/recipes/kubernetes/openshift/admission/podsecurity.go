package admission

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
)

// Pod Security warns of the pod template of a Deployment before there is a pod. In
// OpenShift it looks at the template as SCC admission would make it for the
// template's service account (openshift/kubernetes, patch of plugin PodSecurity).

// templateDecorator gives the plugin PodSecurity such templates.
type templateDecorator struct {
	mutex sync.Mutex
	pods  *pods
}

// Decorator must be the first of the API server's decorators: it has to see the
// plugins themselves.
func Decorator() admission.Decorator { return &templateDecorator{} }

// Decorate remembers the plugin for pods and wraps PodSecurity, which comes before it.
func (d *templateDecorator) Decorate(handler admission.Interface, name string) admission.Interface {
	switch name {
	case PodsPlugin:
		d.mutex.Lock()
		defer d.mutex.Unlock()
		d.pods, _ = handler.(*pods)
	case podsecurity.PluginName:
		if validating, ok := handler.(admission.ValidationInterface); ok {
			return templates{validating, d}
		}
	}
	return handler
}

func (d *templateDecorator) plugin() *pods {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.pods
}

// templates is the plugin PodSecurity with templates as SCC admission makes them.
type templates struct {
	admission.ValidationInterface
	decorator *templateDecorator
}

// Validate asks PodSecurity.
func (t templates) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if plugin := t.decorator.plugin(); plugin != nil {
		a = admittedTemplate{Attributes: a, pods: plugin}
	}
	return t.ValidationInterface.Validate(ctx, a, o)
}

// admittedTemplate is a request whose object has the template as SCC admission makes it.
type admittedTemplate struct {
	admission.Attributes
	pods *pods
}

// GetObject is asked once, and only where PodSecurity has something to judge. A
// template that SCC admission refuses stays as it is: the pods are what is refused.
func (a admittedTemplate) GetObject() runtime.Object {
	object := a.Attributes.GetObject()
	if templateIn(object) == nil {
		return object
	}
	object = object.DeepCopyObject()
	template := templateIn(object)
	pod := &core.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	owner, err := meta.Accessor(object)
	if err != nil {
		return object
	}
	pod.Namespace = a.GetNamespace()
	if pod.Name == "" {
		pod.Name = "pod-for-container-named-" + owner.GetName()
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	who := &user.DefaultInfo{
		Name:   serviceaccount.MakeUsername(pod.Namespace, pod.Spec.ServiceAccountName),
		Groups: slices.Concat([]string{user.AllAuthenticated}, serviceaccount.MakeGroupNames(pod.Namespace)),
	}
	created := admission.NewAttributesRecord(pod, nil, core.Kind("Pod").WithVersion("v1"), pod.Namespace, pod.Name,
		core.Resource("pods").WithVersion("v1"), "", admission.Create, nil, false, who)
	// Not in the request's context: what admission warns of is about no pod of the client.
	if err := a.pods.Admit(context.Background(), created, nil); err != nil {
		klog.V(2).InfoS("Pod Security sees a template as it was sent", "object", owner.GetName(), "namespace", pod.Namespace, "err", err)
		return object
	}
	template.Spec = pod.Spec
	return object
}

// templateIn is the pod template in a workload; nil in anything else.
func templateIn(object runtime.Object) *core.PodTemplateSpec {
	switch object := object.(type) {
	case *core.PodTemplate:
		return &object.Template
	case *core.ReplicationController:
		return object.Spec.Template
	case *apps.ReplicaSet:
		return &object.Spec.Template
	case *apps.Deployment:
		return &object.Spec.Template
	case *apps.DaemonSet:
		return &object.Spec.Template
	case *apps.StatefulSet:
		return &object.Spec.Template
	case *batch.Job:
		return &object.Spec.Template
	case *batch.CronJob:
		return &object.Spec.JobTemplate.Spec.Template
	default:
		return nil
	}
}
