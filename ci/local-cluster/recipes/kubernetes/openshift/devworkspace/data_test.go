package devworkspace

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// dataPath is where the objects are that a cluster gets besides the double.
const dataPath = "../../../../data/devworkspace/"

func data(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(dataPath + name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if err == io.EOF {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// Whoever looks at an object of the operator sees that it is a double's. The others
// belong to no operator, or have no labels in the recording.
func TestObjectsSayThatTheyAreOfADouble(t *testing.T) {
	others := []string{"system:image-puller", globalConfig}
	for _, name := range []string{"definitions.yaml", "objects.yaml"} {
		for _, object := range data(t, name) {
			isMarked := object.GetLabels()["nestcheck/test-double"] == "devworkspace-operator"
			if isMarked == slices.Contains(others, object.GetName()) {
				t.Errorf("%s %s: marked %v", object.GetKind(), object.GetName(), isMarked)
			}
		}
	}
}

// The configuration is that of the recording, and one that the double knows.
func TestTheGlobalConfigurationIsTheRecordedOne(t *testing.T) {
	recorded := first(t, recording(t), "DevWorkspaceOperatorConfig", globalConfig)
	for _, object := range data(t, "objects.yaml") {
		if object.GetKind() != "DevWorkspaceOperatorConfig" {
			continue
		}
		for _, difference := range differences("config", object.Object["config"], recorded.Object["config"]) {
			t.Error(difference)
		}
		if _, unknown := resolve(onOpenShift, object); len(unknown) > 0 {
			t.Error(unknown)
		}
	}
}

// Nobody can give what he has not: the double has all that it gives to workspaces,
// but the use of an SCC.
func TestTheDoubleHasTheRightsThatItGives(t *testing.T) {
	var own rbacv1.ClusterRole
	for _, object := range data(t, "objects.yaml") {
		if object.GetName() == "devworkspace-controller-role" {
			if err := into(object, &own); err != nil {
				t.Fatal(err)
			}
		}
	}
	workspace := first(t, recording(t), "DevWorkspace", "devworkspace")
	given := input{workspace: workspace, template: templateOf(workspace)}.roles()
	var role rbacv1.Role
	if err := into(given[0], &role); err != nil {
		t.Fatal(err)
	}
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if !covers(own.Rules, group, resource, verb) {
						t.Errorf("it may not %s %s.%s", verb, resource, group)
					}
				}
			}
		}
	}
	if covers(own.Rules, "security.openshift.io", "securitycontextconstraints", "use") {
		t.Error("it may use every SCC")
	}
}

func covers(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	has := func(list []string, one string) bool {
		return slices.Contains(list, one) || slices.Contains(list, "*")
	}
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return has(rule.APIGroups, group) && has(rule.Resources, resource) && has(rule.Verbs, verb)
	})
}

// The harness reads the version from the tag of the operator's image.
func TestTheDeploymentsNameTheVersion(t *testing.T) {
	for _, object := range data(t, "objects.yaml") {
		if object.GetKind() != "Deployment" {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		image, _ := containers[0].(map[string]any)["image"].(string)
		if !strings.HasPrefix(image, "localhost/") || !strings.HasSuffix(image, ":v0.42.0") {
			t.Errorf("%s has the image %s", object.GetName(), image)
		}
	}
}
