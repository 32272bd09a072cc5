package devworkspace

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/utils/ptr"
)

// Where no SCC gives a pod its user, the operator does, unless a configuration says
// otherwise.
func TestOnKubernetesAPodHasTheOperatorsUser(t *testing.T) {
	found, unknown := resolve(onKubernetes)
	if len(unknown) > 0 {
		t.Fatal(unknown)
	}
	user, group := ptr.Deref(found.PodContext.RunAsUser, 0), ptr.Deref(found.PodContext.RunAsGroup, 1)
	if user != 1234 || group != 0 || ptr.Deref(found.PodContext.FSGroup, 0) != 1234 {
		t.Errorf("user %d, group %d, fsGroup %v", user, group, found.PodContext.FSGroup)
	}
	if found.ContainerContext.AllowPrivilegeEscalation != nil {
		t.Error("containers may not escalate, as on OpenShift")
	}
	found, _ = resolve(onOpenShift)
	if found.PodContext.RunAsUser != nil || ptr.Deref(found.ContainerContext.AllowPrivilegeEscalation, true) {
		t.Errorf("OpenShift: %+v, %+v", found.PodContext, found.ContainerContext)
	}
}

func TestKubernetesHasNoRegistryOfItsOwn(t *testing.T) {
	workspace := first(t, recording(t), "DevWorkspace", "devworkspace")
	in := input{workspace: workspace, template: templateOf(workspace), platform: onKubernetes}
	var account corev1.ServiceAccount
	if err := into(in.account(), &account); err != nil {
		t.Fatal(err)
	}
	if len(account.ImagePullSecrets) > 0 {
		t.Errorf("the account has pull secrets: %v", account.ImagePullSecrets)
	}
	if slices.ContainsFunc(in.bindings(), func(one rbacv1.RoleBinding) bool {
		return one.Name == pullerBinding(workspace.GetNamespace())
	}) {
		t.Error("the account may pull from a registry that is not there")
	}
}

func TestOnKubernetesAWorkspaceCanAskForNoConstraint(t *testing.T) {
	server, _ := served(t)
	workspace := first(t, recording(t), "DevWorkspace", "devworkspace")
	request := asked(t, workspaces.Resource, owner, workspace, nil)
	for on, wanted := range map[platform]string{
		onOpenShift:  "",
		onKubernetes: "specifying additional SCCs is only permitted on OpenShift",
	} {
		server.on = on
		if refusal := server.mayUse(context.Background(), request, "some"); refusal != wanted {
			t.Errorf("platform %d: %q", on, refusal)
		}
	}
}

func TestAnUnknownPlatformIsRefused(t *testing.T) {
	if on, err := platformOf("kubernetes"); err != nil || on != onKubernetes {
		t.Errorf("%d, %v", on, err)
	}
	if _, err := platformOf("microshift"); err == nil {
		t.Error("MicroShift is one")
	}
}
