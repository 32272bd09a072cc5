package devworkspace

import (
	"context"
	"encoding/json"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// endpoint is where the API server reaches the double.
type endpoint struct {
	// base is like https://10.0.0.1:9443.
	base string
	// authority is the certificate that signed the double's, as PEM.
	authority []byte
}

func (endpoint endpoint) at(path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		URL: ptr.To(endpoint.base + path), CABundle: endpoint.authority,
	}
}

// tokenLifetime outlives every cluster for tests.
const tokenLifetime = 365 * 24 * 60 * 60

// operatorToken is a token of the operator's service account: the double acts as
// it, with its rights and no others.
func operatorToken(ctx context.Context, admin kubernetes.Interface) (string, error) {
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenLifetime)},
	}
	api := admin.CoreV1().ServiceAccounts(operatorNamespace)
	granted, err := api.CreateToken(ctx, operatorAccount, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return granted.Status.Token, nil
}

// serveConversion lets the API server ask the double for conversions. It is the
// administrator's work: the operator has no rights on definitions.
func serveConversion(ctx context.Context, admin dynamic.Interface, endpoint endpoint) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"conversion": map[string]any{
		"strategy": "Webhook",
		"webhook": map[string]any{
			"conversionReviewVersions": []string{"v1"},
			"clientConfig": map[string]any{
				"url": endpoint.base + convertPath, "caBundle": endpoint.authority,
			},
		},
	}}})
	if err != nil {
		return err
	}
	_, err = admin.Resource(definitions).Patch(ctx, "devworkspaces.workspace.devfile.io",
		types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func rule(operations []admissionregistrationv1.OperationType, group string, versions []string,
	resource string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{group}, APIVersions: versions, Resources: []string{resource},
		},
	}
}

// webhooksMeta names both configurations as the operator names its own.
func webhooksMeta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: webhooksName,
		Labels: map[string]string{
			"app.kubernetes.io/name":    "devworkspace-webhook-server",
			"app.kubernetes.io/part-of": "devworkspace-operator",
			"nestcheck/test-double":     "devworkspace-operator",
		},
	}
}

// mutating are the webhooks that set and keep the labels of a workspace and of
// its objects. Tests know their order.
func mutating(endpoint endpoint) *admissionregistrationv1.MutatingWebhookConfiguration {
	changes := []admissionregistrationv1.OperationType{
		admissionregistrationv1.Create, admissionregistrationv1.Update,
	}
	one := func(
		name string, selector *metav1.LabelSelector, rules ...admissionregistrationv1.RuleWithOperations,
	) admissionregistrationv1.MutatingWebhook {
		return admissionregistrationv1.MutatingWebhook{
			Name:                    name,
			ClientConfig:            endpoint.at(mutatePath),
			Rules:                   rules,
			ObjectSelector:          selector,
			FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}
	}
	ofWorkspaces := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: labelID, Operator: metav1.LabelSelectorOpExists},
	}}
	versions := []string{"v1alpha1", "v1alpha2"}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: webhooksMeta(),
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			one("mutate.devworkspace-controller.svc", nil,
				rule(changes, workspaces.Group, versions, workspaces.Resource)),
			one("mutate-ws-resources.devworkspace-controller.svc", ofWorkspaces,
				rule(changes, pods.Group, []string{pods.Version}, pods.Resource),
				rule(changes, deployments.Group, []string{deployments.Version}, deployments.Resource)),
		},
	}
}

// validating is the webhook that says who may enter a workspace's pod.
func validating(endpoint endpoint) *admissionregistrationv1.ValidatingWebhookConfiguration {
	connects := []admissionregistrationv1.OperationType{admissionregistrationv1.Connect}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: webhooksMeta(),
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "validate-exec.devworkspace-controller.svc",
			ClientConfig:            endpoint.at(validatePath),
			Rules:                   []admissionregistrationv1.RuleWithOperations{rule(connects, "", []string{"v1"}, "pods/exec")},
			FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// serveAdmission lets the API server ask the double. What is there of an earlier
// start is replaced, once: later changes by others stay, as with the operator.
func serveAdmission(ctx context.Context, kube kubernetes.Interface, endpoint endpoint) error {
	mutatingAPI := kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := mutatingAPI.Create(ctx, mutating(endpoint), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		found, failure := mutatingAPI.Get(ctx, webhooksName, metav1.GetOptions{})
		if err = failure; err == nil {
			found.Webhooks = mutating(endpoint).Webhooks
			_, err = mutatingAPI.Update(ctx, found, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("make the mutating webhooks: %w", err)
	}
	validatingAPI := kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err = validatingAPI.Create(ctx, validating(endpoint), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		found, failure := validatingAPI.Get(ctx, webhooksName, metav1.GetOptions{})
		if err = failure; err == nil {
			found.Webhooks = validating(endpoint).Webhooks
			_, err = validatingAPI.Update(ctx, found, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("make the validating webhook: %w", err)
	}
	return nil
}
