package devworkspace

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

const stranger, owner = "stranger's uid", "80efdc55-5da4-4da5-9a8e-8474ef487a18"

// served is the double's server, where only the owner may use an SCC.
func served(t *testing.T, objects ...runtime.Object) (*server, func(path string, body, into any) int) {
	t.Helper()
	kube := kubefake.NewSimpleClientset()
	kube.PrependReactor("create", "localsubjectaccessreviews",
		func(action kubetesting.Action) (bool, runtime.Object, error) {
			review := action.(kubetesting.CreateAction).GetObject().(*authorizationv1.LocalSubjectAccessReview)
			review.Status.Allowed = review.Spec.UID == owner
			return true, review, nil
		})
	server := &server{cluster: cluster{client: onStage(t, objects...).client}, kube: kube}
	web := httptest.NewServer(server.handler())
	t.Cleanup(web.Close)
	return server, func(path string, body, into any) int {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Post(web.URL+path, "application/json", bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode == http.StatusOK && into != nil {
			if err := json.NewDecoder(response.Body).Decode(into); err != nil {
				t.Fatal(err)
			}
		}
		return response.StatusCode
	}
}

// asked is a request of admission about an object.
func asked(
	t *testing.T, resource, uid string, object, old *unstructured.Unstructured,
) *admissionv1.AdmissionRequest {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "request", Namespace: "home", Name: "name",
		UserInfo: authenticationv1.UserInfo{UID: uid, Username: "somebody"},
		Resource: metav1.GroupVersionResource{Resource: resource},
	}
	raw := func(object *unstructured.Unstructured) runtime.RawExtension {
		text, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: text}
	}
	if object != nil {
		request.Object = raw(object)
	}
	if old != nil {
		request.OldObject = raw(old)
	}
	return request
}

func changedTo(object *unstructured.Unstructured, value any, path ...string) *unstructured.Unstructured {
	changed := object.DeepCopy()
	if value == nil {
		unstructured.RemoveNestedField(changed.Object, path...)
	} else if err := unstructured.SetNestedField(changed.Object, value, path...); err != nil {
		panic(err)
	}
	return changed
}

func TestAdmissionOfWorkspaces(t *testing.T) {
	stored := first(t, recording(t), "DevWorkspace", "devworkspace")
	setStatus(stored, "devworkspaceId", "workspace1")
	constraint := []string{"spec", "template", "attributes", attributeConstraint}
	other := changedTo(stored, "restricted-v2", constraint...)
	restarted := changedTo(stored, false, "spec", "started")
	open := changedTo(stored, nil, "metadata", "annotations")
	free := changedTo(stored, nil, constraint...)
	label := func(value any) *unstructured.Unstructured {
		return changedTo(stored, value, "metadata", "labels", labelCreator)
	}
	cases := []struct {
		name, uid   string
		object, old *unstructured.Unstructured
		refusal     string
		label       string
	}{
		{"owner creates", owner, label(nil), nil, "", owner},
		{"a label is not believed", owner, label("another"), nil, "", owner},
		{"stranger asks for an SCC", stranger, stored, nil,
			"user is not permitted use the nestcheck-bikhdsun SCC", ""},
		{"stranger asks for none", stranger, free, nil, "", stranger},
		{"empty SCC", owner, changedTo(stored, "", constraint...), nil,
			"empty value for attribute controller.devfile.io/scc is invalid", ""},
		{"owner stops", owner, restarted, stored, "", ""},
		{"owner asks for another SCC", owner, other, stored,
			"controller.devfile.io/scc attribute cannot be modified after being set -- workspace must be deleted", ""},
		{"owner asks for none any more", owner, free, stored, "", ""},
		{"owner asks for an SCC later", owner, stored, free, "", ""},
		{"stranger stops", stranger, restarted, stored, "", ""},
		{"stranger changes", stranger, changedTo(stored, "x", "spec", "template", "attributes", "nestcheck"), stored,
			"workspace has restricted-access enabled and can only be modified by its creator.", ""},
		{"stranger opens", stranger, open, stored, "cannot disable restricted-access once it is set", ""},
		{"stranger changes an open one", stranger, changedTo(open, "x", "spec", "template", "attributes", "nestcheck"),
			open, "", ""},
		{"the label comes back", owner, label(nil), stored, "", owner},
		{"the label can't change", owner, label("another"), stored,
			"label 'controller.devfile.io/creator' is assigned once devworkspace is created and is immutable", ""},
		{"one without a label", owner, stored, label(nil),
			"label 'controller.devfile.io/creator' is missing. Please recreate devworkspace to get it initialized", ""},
		{"the id can't change", owner, changedTo(stored, "workspace2", "status", "devworkspaceId"), stored,
			"DevWorkspace ID cannot be changed once it is set", ""},
	}
	_, post := served(t)
	for _, one := range cases {
		t.Run(one.name, func(t *testing.T) {
			review := admissionv1.AdmissionReview{Request: asked(t, "devworkspaces", one.uid, one.object, one.old)}
			var answer admissionv1.AdmissionReview
			if status := post(mutatePath, review, &answer); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			expectAnswer(t, answer.Response, one.refusal, one.label)
		})
	}
}

func expectAnswer(t *testing.T, answer *admissionv1.AdmissionResponse, refusal, label string) {
	t.Helper()
	if answer.UID != "request" {
		t.Errorf("an answer to %q", answer.UID)
	}
	found := ""
	if answer.Result != nil {
		found = answer.Result.Message
		if answer.Result.Code != http.StatusForbidden {
			t.Errorf("code %d", answer.Result.Code)
		}
	}
	if answer.Allowed != (refusal == "") || found != refusal {
		t.Errorf("allowed %v, %q; expected %q", answer.Allowed, found, refusal)
	}
	if has := strings.Contains(string(answer.Patch), `"`+label+`"`); label != "" && !has {
		t.Errorf("the patch %s has no %s", answer.Patch, label)
	}
	if label == "" && len(answer.Patch) > 0 {
		t.Errorf("a patch: %s", answer.Patch)
	}
}

func pod(labels, annotations map[string]string) *unstructured.Unstructured {
	made := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "name", "namespace": "home"},
	}}
	made.SetLabels(labels)
	made.SetAnnotations(annotations)
	return made
}

func TestAdmissionOfPods(t *testing.T) {
	ours := map[string]string{labelID: "workspace1", labelCreator: owner}
	restricted := map[string]string{annotationRestricted: "true"}
	_, post := served(t)
	for _, one := range []struct {
		name        string
		object, old *unstructured.Unstructured
		refusal     string
	}{
		{"as it is made", pod(ours, restricted), nil, ""},
		{"without a creator", pod(map[string]string{labelID: "workspace1"}, nil), nil,
			".metadata validation failed: 'controller.devfile.io/creator' label is missing"},
		{"unchanged", pod(ours, restricted), pod(ours, restricted), ""},
		{"of another creator", pod(map[string]string{labelID: "workspace1", labelCreator: stranger}, restricted),
			pod(ours, restricted), "Label 'controller.devfile.io/creator' is set by the controller and cannot be updated"},
		{"opened", pod(ours, nil), pod(ours, restricted),
			"Cannot change annotation 'controller.devfile.io/restricted-access' after it is set to 'true'"},
	} {
		t.Run(one.name, func(t *testing.T) {
			var answer admissionv1.AdmissionReview
			post(mutatePath, admissionv1.AdmissionReview{
				Request: asked(t, "pods", stranger, one.object, one.old)}, &answer)
			expectAnswer(t, answer.Response, one.refusal, "")
		})
	}
}

func TestWhoMayEnterAPod(t *testing.T) {
	ours := map[string]string{labelID: "workspace1", labelCreator: owner}
	restricted := map[string]string{annotationRestricted: "true"}
	options := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PodExecOptions"}}
	for _, one := range []struct {
		name, uid string
		pod       *unstructured.Unstructured
		refusal   string
	}{
		{"owner", owner, pod(ours, restricted), ""},
		{"stranger", stranger, pod(ours, restricted), "The only devworkspace creator has exec access"},
		{"stranger, an open one", stranger, pod(ours, nil), ""},
		{"stranger, no workspace's", stranger, pod(nil, restricted), ""},
		{"nobody's", owner, pod(map[string]string{labelID: "workspace1"}, restricted),
			"The workspace info is missing in the devworkspace-related pod"},
		{"none", stranger, nil, ""},
	} {
		t.Run(one.name, func(t *testing.T) {
			var objects []runtime.Object
			if one.pod != nil {
				objects = append(objects, one.pod)
			}
			_, post := served(t, objects...)
			var answer admissionv1.AdmissionReview
			post(validatePath, admissionv1.AdmissionReview{
				Request: asked(t, "pods", one.uid, options, nil)}, &answer)
			expectAnswer(t, answer.Response, one.refusal, "")
		})
	}
}

// What nobody has decided about is refused, not let through.
func TestOtherResourcesAreRefused(t *testing.T) {
	_, post := served(t)
	var answer admissionv1.AdmissionReview
	post(mutatePath, admissionv1.AdmissionReview{
		Request: asked(t, "services", owner, pod(nil, nil), nil)}, &answer)
	if answer.Response.Allowed {
		t.Error("a Service was let through")
	}
	for _, path := range []string{mutatePath, validatePath, convertPath} {
		if status := post(path, map[string]any{}, nil); status != http.StatusBadRequest {
			t.Errorf("%s answers nothing with %d", path, status)
		}
	}
}

func TestReadinessIsToldLast(t *testing.T) {
	server, post := served(t)
	if status := post("/readyz", nil, nil); status != http.StatusServiceUnavailable {
		t.Errorf("status %d before it is ready", status)
	}
	server.isReady.Store(true)
	if status := post("/readyz", nil, nil); status != http.StatusOK {
		t.Errorf("status %d once it is ready", status)
	}
}

// convertOne asks the server for a conversion.
func convertOne(
	t *testing.T, object *unstructured.Unstructured, version string,
) (*unstructured.Unstructured, string) {
	t.Helper()
	_, post := served(t)
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var answer apiextensionsv1.ConversionReview
	post(convertPath, apiextensionsv1.ConversionReview{Request: &apiextensionsv1.ConversionRequest{
		UID: "request", DesiredAPIVersion: version, Objects: []runtime.RawExtension{{Raw: text}},
	}}, &answer)
	if answer.Response.Result.Status != metav1.StatusSuccess {
		return nil, answer.Response.Result.Message
	}
	made := &unstructured.Unstructured{}
	if err := made.UnmarshalJSON(answer.Response.ConvertedObjects[0].Raw); err != nil {
		t.Fatal(err)
	}
	return made, ""
}

// The recorded workspace that was created in the old version is stored as one of
// the new version, and every recorded one can be read in the old version.
func TestConversionOfRecordedWorkspaces(t *testing.T) {
	events := recording(t)
	old := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": oldVersion, "kind": "DevWorkspace", "metadata": map[string]any{"name": "ws-04-old"},
		"spec": map[string]any{"started": false, "template": map[string]any{"components": []any{
			map[string]any{"container": map[string]any{
				"name": "tools", "image": "unused", "sourceMapping": "/projects"}},
		}}},
	}}
	made, failure := convertOne(t, old, newVersion)
	if failure != "" {
		t.Fatal(failure)
	}
	recorded := first(t, events, "DevWorkspace", "ws-04-old")
	for _, difference := range differences("spec", made.Object["spec"], recorded.Object["spec"]) {
		t.Error(difference)
	}
	for name := range configOf {
		list := versions(events, "DevWorkspace", name)
		stored := list[len(list)-1]
		read, failure := convertOne(t, stored, oldVersion)
		if failure != "" {
			t.Fatalf("%s: %s", name, failure)
		}
		if found := statusText(read, "workspaceId"); found != statusText(stored, "devworkspaceId") {
			t.Errorf("%s has the id %q in the old version", name, found)
		}
		components, _, _ := unstructured.NestedSlice(read.Object, "spec", "template", "components")
		tools, _, _ := unstructured.NestedString(components[0].(map[string]any), "container", "name")
		if tools != "tools" {
			t.Errorf("%s has a first component %v in the old version", name, components[0])
		}
		back, failure := convertOne(t, read, newVersion)
		if failure != "" {
			t.Fatalf("%s: %s", name, failure)
		}
		if found := statusText(back, "devworkspaceId"); found != statusText(stored, "devworkspaceId") {
			t.Errorf("%s has the id %q after both conversions", name, found)
		}
	}
}

func TestWhatCannotBeConvertedIsNamed(t *testing.T) {
	stored := first(t, recording(t), "DevWorkspace", "devworkspace")
	for place, change := range map[string]func(*unstructured.Unstructured){
		"spec.template.commands": func(it *unstructured.Unstructured) {
			put(t, it.Object, `[]`, "spec", "template", "commands")
		},
		"spec.template.components[0].plugin": func(it *unstructured.Unstructured) {
			put(t, it.Object, `{}`, "spec", "template", "components", 0, "plugin")
		},
	} {
		changed := stored.DeepCopy()
		change(changed)
		if _, failure := convertOne(t, changed, oldVersion); failure != notRecorded([]string{place}) {
			t.Errorf("%s: %q", place, failure)
		}
	}
	if _, failure := convertOne(t, stored, "workspace.devfile.io/v1"); !strings.Contains(failure, "v1") {
		t.Errorf("an unknown version: %q", failure)
	}
}
