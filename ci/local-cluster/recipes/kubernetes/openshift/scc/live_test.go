package scc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// live replays a recording on a cluster.
type live struct {
	cluster cluster
	config  *rest.Config
	admin   kubernetes.Interface
	custom  dynamic.NamespaceableResourceInterface
	actors  map[string]kubernetes.Interface
	// What is in the cluster now for a record.
	sccs                []json.RawMessage
	names               []string
	userMay, accountMay []string
	stored              map[string]any
}

// A cluster gives every recorded answer. The recording must be of its release:
// NESTCHECK_RECORDINGS_FILE names it, or else the shipped constraints tell.
func TestClusterAnswersAsRecorded(t *testing.T) {
	kubeconfig := os.Getenv("NESTCHECK_RECORDINGS_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("NESTCHECK_RECORDINGS_KUBECONFIG names no cluster")
	}
	replayed := 0
	for _, file := range recordingFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			first, records := load(t, file)
			cluster := connect(t, kubeconfig, first)
			if !cluster.ships(t) {
				t.Skip("the cluster has other constraints than the recorded one")
			}
			replayed++
			cluster.prepare(t)
			wrong := 0
			for _, record := range records {
				if expected, given := record.answer(t), cluster.try(t, record); !reflect.DeepEqual(expected, given) {
					wrong++
					t.Errorf("%s: recorded %s\n   given %s", record.ID, shown(t, expected), shown(t, given))
				}
			}
			t.Logf("%d of %d records answered as recorded", len(records)-wrong, len(records))
			cluster.measure(t)
		})
	}
	if replayed == 0 {
		t.Error("no recording is of this cluster's release")
	}
}

func connect(t *testing.T, kubeconfig string, first cluster) *live {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client := func(config *rest.Config) kubernetes.Interface {
		made, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	as := func(name string, groups ...string) kubernetes.Interface {
		impersonating := rest.CopyConfig(config)
		impersonating.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated")}
		return client(impersonating)
	}
	custom, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &live{
		cluster: first,
		config:  config,
		admin:   client(config),
		custom:  custom.Resource(securityv1.GroupVersion.WithResource("securitycontextconstraints")),
		actors:  map[string]kubernetes.Interface{"user": as(first.User), "admin": as("system:admin", "system:masters")},
	}
}

// ships tells whether the cluster has the recorded constraints and no others.
func (l *live) ships(t *testing.T) bool {
	t.Helper()
	list, err := l.custom.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var recorded, given []string
	for _, constraint := range l.cluster.constraints(t, record{}) {
		recorded = append(recorded, constraint.Name)
	}
	for _, constraint := range list.Items {
		given = append(given, constraint.GetName())
	}
	slices.Sort(recorded)
	slices.Sort(given)
	return slices.Equal(recorded, given)
}

// prepare makes the namespace, the user's rights in it and the accounts. All is
// gone again after the test.
func (l *live) prepare(t *testing.T) {
	t.Helper()
	name, ctx := l.cluster.Namespace.Name, t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: l.cluster.Namespace.Annotations, Labels: map[string]string{
		"security.openshift.io/scc.podSecurityLabelSync": "false", "pod-security.kubernetes.io/enforce": "privileged",
	}}}
	must(l.admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}))
	t.Cleanup(func() {
		for _, constraint := range l.names {
			_ = l.custom.Delete(context.Background(), constraint, metav1.DeleteOptions{})
		}
		if err := l.admin.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("namespace %s is left behind: %v", name, err)
		}
	})
	must(l.admin.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{}))
	must(l.admin.RbacV1().RoleBindings(name).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "edit"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: l.cluster.User}},
	}, metav1.CreateOptions{}))
	for role, subject := range map[string]rbacv1.Subject{
		"user-may":    {Kind: "User", APIGroup: rbacv1.GroupName, Name: l.cluster.User},
		"account-may": {Kind: "ServiceAccount", Namespace: name, Name: "default"},
	} {
		must(l.admin.RbacV1().Roles(name).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: role}}, metav1.CreateOptions{}))
		must(l.admin.RbacV1().RoleBindings(name).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
			Subjects:   []rbacv1.Subject{subject},
		}, metav1.CreateOptions{}))
	}
	l.eventually(t, "the service account default", func() bool {
		_, err := l.admin.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	l.eventually(t, "the rights of "+l.cluster.User, func() bool {
		return l.may(t, l.cluster.User, nil, authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Namespace: name})
	})
}

func (l *live) eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (l *live) may(t *testing.T, who string, groups []string, attributes authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review, err := l.admin.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: who, Groups: groups, ResourceAttributes: &attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// try makes the record's constraints and rights, checks how the constraints were
// stored, and creates the pod as a dry run.
func (l *live) try(t *testing.T, r record) answer {
	t.Helper()
	if !reflect.DeepEqual(l.sccs, r.SCCs) {
		l.replaceConstraints(t, r)
	}
	expected := map[string]any{}
	for name, stored := range r.Stored {
		expected[name] = decodedAny(t, stored)
	}
	if len(expected)+len(l.stored) > 0 && !reflect.DeepEqual(expected, l.stored) {
		t.Errorf("%s: recorded as stored %v\n   given %v", r.ID, expected, l.stored)
	}
	l.userMay = l.grant(t, "user-may", l.cluster.User, l.userMay, r.UserMay)
	l.accountMay = l.grant(t, "account-may", "system:serviceaccount:"+l.cluster.Namespace.Name+":default", l.accountMay, r.AccountMay)
	return l.create(t, l.actors[r.Actor], r.Pod)
}

func (l *live) create(t *testing.T, actor kubernetes.Interface, sent json.RawMessage) answer {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(sent, pod); err != nil {
		t.Fatal(err)
	}
	created, err := actor.CoreV1().Pods(l.cluster.Namespace.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return answer{Code: int(status.Status().Code), Refused: &refused{string(status.Status().Reason), status.Status().Message}}
	} else if err != nil {
		t.Fatal(err)
	}
	return answer{Code: 201, Admitted: plain(t, admittedOf(t, created))}
}

// replaceConstraints removes the last record's constraints, makes the next one's,
// and waits until admission knows.
func (l *live) replaceConstraints(t *testing.T, r record) {
	t.Helper()
	for _, name := range l.names {
		if err := l.custom.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		l.eventually(t, "admission forgets "+name, func() bool { return !l.known(t, name) })
	}
	l.sccs, l.names, l.stored = r.SCCs, nil, map[string]any{}
	for _, sent := range r.SCCs {
		object := &unstructured.Unstructured{Object: decodedAny(t, sent)}
		name := object.GetName()
		made, err := l.custom.Create(t.Context(), object, metav1.CreateOptions{})
		var status apierrors.APIStatus
		if errors.As(err, &status) {
			l.stored[name] = map[string]any{"refused": float64(status.Status().Code), "message": status.Status().Message}
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		l.names = append(l.names, name)
		if different := differences(t, sent, made); len(different) > 0 {
			l.stored[name] = different
		}
		l.eventually(t, "admission learns of "+name, func() bool { return l.known(t, name) })
	}
}

func differences(t *testing.T, sent json.RawMessage, made *unstructured.Unstructured) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(made.Object)
	if err != nil {
		t.Fatal(err)
	}
	asSent, different := decodedAny(t, sent), map[string]any{}
	for key, value := range decodedAny(t, encoded) {
		if key != "metadata" && !reflect.DeepEqual(value, asSent[key]) {
			different[key] = value
		}
	}
	return different
}

// known tells whether admission has the constraint: a pod that requires one that
// it doesn't have is refused for that.
func (l *live) known(t *testing.T, name string) bool {
	t.Helper()
	pod := shown(t, map[string]any{
		"metadata": map[string]any{"name": "probe", "annotations": map[string]any{securityv1.RequiredSCCAnnotation: name}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}},
	})
	given := l.create(t, l.actors["admin"], json.RawMessage(pod))
	unknown := `pods "probe" is forbidden: failed to retrieve the required SCC "` + name + `": securitycontextconstraints.security.openshift.io "` + name + `" not found`
	return given.Refused == nil || given.Refused.Message != unknown
}

// grant lets somebody use these constraints and no others by a role, and waits
// until the authorizer knows.
func (l *live) grant(t *testing.T, role, who string, before, now []string) []string {
	t.Helper()
	if slices.Equal(before, now) {
		return now
	}
	rules := []rbacv1.PolicyRule{}
	if len(now) > 0 {
		rules = append(rules, rbacv1.PolicyRule{
			Verbs: []string{"use"}, APIGroups: []string{securityv1.GroupName}, Resources: []string{"securitycontextconstraints"}, ResourceNames: now,
		})
	}
	namespace := l.cluster.Namespace.Name
	changed := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: role}, Rules: rules}
	if _, err := l.admin.RbacV1().Roles(namespace).Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(before, now) {
		l.eventually(t, who+" and "+name, func() bool {
			return slices.Contains(now, name) == l.may(t, who, nil, authorizationv1.ResourceAttributes{
				Verb: "use", Group: securityv1.GroupName, Resource: "securitycontextconstraints", Name: name, Namespace: namespace,
			})
		})
	}
	return now
}
