package policy

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	recordings = "../../../../../../fixtures/recordings"
	shipped    = "../../../../data/shipped"
)

// recorded are the releases of which there are recordings, by file name.
var recorded = map[string]string{"4.19-techpreview": "4.19", "4.20-default": "4.20"}

// made are labels and annotations of a namespace.
type made struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// record is a namespace, and what the real controller did to it.
type record struct {
	ID        string   `json:"id"`
	Namespace string   `json:"namespace"`
	MadeWith  made     `json:"made_with"`
	May       []string `json:"may"`
	Subject   string   `json:"subject"`
	made
}

// account is the service account that the record is about, or "" for all.
func (r record) account() string {
	if r.Subject == "all service accounts" {
		return ""
	}
	return r.Subject
}

// subject is the subject of the record's RoleBinding.
func (r record) subject() rbacv1.Subject {
	if name := r.account(); name != "" {
		return rbacv1.Subject{Kind: "ServiceAccount", Name: name, Namespace: r.Namespace}
	}
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + r.Namespace}
}

// rules are the rules of the record's Role.
func (r record) rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		Verbs: []string{"use"}, APIGroups: []string{securityv1.GroupName},
		Resources: []string{constraintResource}, ResourceNames: r.May,
	}}
}

func readRecords(t *testing.T, name string) []record {
	t.Helper()
	var records []record
	for _, line := range readLines(t, filepath.Join(recordings, "namespaces", name+".jsonl")) {
		var one record
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		records = append(records, one)
	}
	return records
}

func readLines(t *testing.T, path string) [][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines [][]byte
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		lines = append(lines, []byte(scanner.Text()))
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// readShipped reads the objects that a release ships.
func readShipped(t *testing.T, name string) []json.RawMessage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shipped, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		t.Fatal(err)
	}
	return objects
}

// shippedRights are the constraints that a release ships, and who may use them.
func shippedRights(t *testing.T, name string) rights {
	t.Helper()
	roles := map[string][]rbacv1.PolicyRule{}
	all := rights{rulesOf: func(namespace, name string) []rbacv1.PolicyRule { return roles[namespace+"/"+name] }}
	for _, object := range readShipped(t, name) {
		var kind metav1.TypeMeta
		decode(t, object, &kind)
		switch kind.Kind {
		case "SecurityContextConstraints":
			all.constraints = append(all.constraints, decode(t, object, &securityv1.SecurityContextConstraints{}))
		case "ClusterRole":
			role := decode(t, object, &rbacv1.ClusterRole{})
			roles["/"+role.Name] = role.Rules
		case "ClusterRoleBinding":
			one := decode(t, object, &rbacv1.ClusterRoleBinding{})
			all.bindings = append(all.bindings, binding{"", one.RoleRef, one.Subjects})
		default:
			t.Fatalf("%s.json has a %s", name, kind.Kind)
		}
	}
	return all
}

func decode[T any](t *testing.T, text []byte, into *T) *T {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// with adds a Role and a RoleBinding of a namespace.
func (r rights) with(namespace string, rules []rbacv1.PolicyRule, subjects ...rbacv1.Subject) rights {
	before := r.rulesOf
	r.rulesOf = func(in, name string) []rbacv1.PolicyRule {
		if in == namespace && name == "user" {
			return rules
		}
		return before(in, name)
	}
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "user"}
	r.bindings = append(r.bindings[:len(r.bindings):len(r.bindings)], binding{namespace, role, subjects})
	return r
}

func serviceAccounts(namespace string, names ...string) []*corev1.ServiceAccount {
	var accounts []*corev1.ServiceAccount
	for _, name := range names {
		accounts = append(accounts, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	return accounts
}

// namespaceOf is a namespace whose labels somebody else made.
func namespaceOf(t *testing.T, name string, labels, annotations map[string]string) *corev1.Namespace {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{}, Annotations: map[string]string{},
	}}
	for key, value := range annotations {
		namespace.Annotations[key] = value
	}
	for key, value := range labels {
		namespace.Labels[key] = value
	}
	own(t, namespace, "somebody", labels)
	namespace.Labels["kubernetes.io/metadata.name"] = name
	return namespace
}

// own makes a manager the owner of labels.
func own(t *testing.T, namespace *corev1.Namespace, manager string, labels map[string]string) {
	t.Helper()
	fields := map[string]any{}
	for label := range labels {
		fields["f:"+label] = map[string]any{}
	}
	raw, err := json.Marshal(map[string]any{"f:metadata": map[string]any{"f:labels": fields}})
	if err != nil {
		t.Fatal(err)
	}
	namespace.ManagedFields = append(namespace.ManagedFields, metav1.ManagedFieldsEntry{
		Manager: manager, Operation: "Update", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: raw},
	})
}
