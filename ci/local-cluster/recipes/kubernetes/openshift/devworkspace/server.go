package devworkspace

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	admissionv1 "k8s.io/api/admission/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// The paths that the API server calls.
const (
	mutatePath   = "/mutate"
	validatePath = "/validate"
	convertPath  = "/convert"
)

// largest is more than the API server sends.
const largest = 16 << 20

// server answers the API server, and tells whether all of the double is at work.
type server struct {
	cluster
	kube    kubernetes.Interface
	isReady atomic.Bool
}

func (server *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(response, "ok")
	})
	mux.HandleFunc("/readyz", func(response http.ResponseWriter, _ *http.Request) {
		if !server.isReady.Load() {
			http.Error(response, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(response, "ok")
	})
	mux.HandleFunc(convertPath, server.convert)
	mux.HandleFunc(mutatePath, server.review(server.mutate))
	mux.HandleFunc(validatePath, server.review(server.validate))
	return mux
}

func (server *server) convert(response http.ResponseWriter, request *http.Request) {
	var review apiextensionsv1.ConversionReview
	if !read(response, request, &review) {
		return
	}
	if review.Request == nil {
		http.Error(response, "a ConversionReview without a request", http.StatusBadRequest)
		return
	}
	review.Response = convertAll(review.Request)
	review.Request = nil
	write(response, review)
}

// An admit decides about one request of admission.
type admit func(
	ctx context.Context, request *admissionv1.AdmissionRequest, object, old *unstructured.Unstructured,
) (verdict, error)

// review serves a decision. What can't be decided is refused.
func (server *server) review(admit admit) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		var review admissionv1.AdmissionReview
		if !read(response, request, &review) {
			return
		}
		asked := review.Request
		if asked == nil {
			http.Error(response, "an AdmissionReview without a request", http.StatusBadRequest)
			return
		}
		object, old, err := objectsOf(asked)
		var found verdict
		if err == nil {
			found, err = admit(request.Context(), asked, object, old)
		}
		if err != nil {
			found = refuse("%v", err)
		}
		if found.refusal != "" {
			klog.InfoS("Refused", "operation", asked.Operation, "resource", asked.Resource.Resource,
				"object", klog.KRef(asked.Namespace, asked.Name), "user", asked.UserInfo.Username,
				"why", found.refusal)
		}
		review.Request, review.Response = nil, found.answer(asked, object)
		write(response, review)
	}
}

// objectsOf are the new and the old object of a request; nil where there is none.
func objectsOf(
	request *admissionv1.AdmissionRequest,
) (object, old *unstructured.Unstructured, err error) {
	decode := func(raw []byte) *unstructured.Unstructured {
		if len(raw) == 0 || err != nil {
			return nil
		}
		decoded := &unstructured.Unstructured{}
		err = decoded.UnmarshalJSON(raw)
		return decoded
	}
	object, old = decode(request.Object.Raw), decode(request.OldObject.Raw)
	return object, old, err
}

func (server *server) mutate(
	ctx context.Context, request *admissionv1.AdmissionRequest, object, old *unstructured.Unstructured,
) (verdict, error) {
	if object == nil {
		return verdict{}, fmt.Errorf("a request about %s without an object", request.Resource.Resource)
	}
	switch request.Resource.Resource {
	case workspaces.Resource:
		return judgeWorkspace(request, object, old, func(constraint string) string {
			return server.mayUse(ctx, request, constraint)
		}), nil
	case pods.Resource, deployments.Resource:
		return judgeObject(request, object, old), nil
	}
	return verdict{}, fmt.Errorf("%s", notRecorded([]string{"a webhook about " + request.Resource.Resource}))
}

// mayUse asks whether the user of a request may use an SCC in its namespace.
func (server *server) mayUse(
	ctx context.Context, request *admissionv1.AdmissionRequest, constraint string,
) string {
	if refusal := server.on.refuseConstraint(); refusal != "" {
		return refusal
	}
	review := &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: request.UserInfo.Username, Groups: request.UserInfo.Groups, UID: request.UserInfo.UID,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: request.Namespace, Verb: "use", Group: "security.openshift.io",
				Resource: "securitycontextconstraints", Name: constraint,
			},
		},
	}
	api := server.kube.AuthorizationV1().LocalSubjectAccessReviews(request.Namespace)
	answered, err := api.Create(ctx, review, metav1.CreateOptions{})
	switch {
	case err != nil:
		return fmt.Sprintf("failed to create subjectaccessreview for request: %v", err)
	case answered.Status.Allowed:
		return ""
	case answered.Status.Reason != "":
		return fmt.Sprintf("user is not permitted to use the %s SCC: %s", constraint, answered.Status.Reason)
	}
	return fmt.Sprintf("user is not permitted use the %s SCC", constraint)
}

// validate decides who may enter a pod. The pod is read from the API server's
// cache, which has what the kubelet has started.
func (server *server) validate(
	ctx context.Context, request *admissionv1.AdmissionRequest, _, _ *unstructured.Unstructured,
) (verdict, error) {
	api := server.of(pods, request.Namespace)
	pod, err := api.Get(ctx, request.Name, metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		pod, err = nil, nil
	}
	if err != nil {
		return verdict{}, err
	}
	return judgeExec(request, pod), nil
}

func read(response http.ResponseWriter, request *http.Request, into any) bool {
	text, err := io.ReadAll(io.LimitReader(request.Body, largest))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func write(response http.ResponseWriter, value any) {
	response.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(response).Encode(value); err != nil {
		klog.ErrorS(err, "An answer could not be sent")
	}
}
