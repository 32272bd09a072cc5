package policy

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// kubeconfigVariable names the kubeconfig of a cluster on which the controller
	// runs; releaseVariable its release, 4.20 if it is not set.
	kubeconfigVariable = "NESTCHECK_RECORDINGS_KUBECONFIG"
	releaseVariable    = "NESTCHECK_RECORDINGS_RELEASE"

	// settleTime is how long after its creation a recorded namespace was read.
	settleTime = 3 * time.Second
	// rangeTime is how soon a namespace must have its ranges.
	rangeTime = time.Second
	// atOnce is how many namespaces are made at the same time.
	atOnce = 20
)

// liveCluster is a client of the cluster, and its release.
func liveCluster(t *testing.T) (kubernetes.Interface, Release) {
	t.Helper()
	path := os.Getenv(kubeconfigVariable)
	if path == "" {
		t.Skipf("%s names no cluster", kubeconfigVariable)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	text := os.Getenv(releaseVariable)
	if text == "" {
		text = "4.20"
	}
	release, err := ParseRelease(text)
	if err != nil {
		t.Fatalf("%s: %v", releaseVariable, err)
	}
	return client, release
}

// TestRecordedNamespacesOnCluster makes each recorded namespace under a name of its
// own, and waits for what the record has. Releases without a recording do as the
// nearest one that has one.
func TestRecordedNamespacesOnCluster(t *testing.T) {
	client, release := liveCluster(t)
	name := "4.20-default"
	if !release.atLeast(4, 20) {
		name = "4.19-techpreview"
	}
	suffix := fmt.Sprintf("-%x", time.Now().UnixNano())
	var lock sync.Mutex
	given := map[string]string{}
	for _, record := range readRecords(t, name) {
		t.Run(record.ID, func(t *testing.T) {
			expected := record.Namespace
			record.Namespace += suffix
			if !release.notesLevel() {
				record.Annotations = without(record.Annotations, securityv1.MinimallySufficientPodSecurityStandard)
			}
			makeRecorded(t, client, record)
			found := settled(t, client, record)
			lock.Lock()
			defer lock.Unlock()
			compare(t, record, expected, found, given)
		})
	}
}

// makeRecorded makes the record's namespace, service account, role and binding.
func makeRecorded(t *testing.T, client kubernetes.Interface, record record) {
	t.Helper()
	in := record.Namespace
	must(t, makeNamespace(t, client, in, record.MadeWith))
	if name := record.account(); name != "" && name != "default" {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := client.CoreV1().ServiceAccounts(in).Create(t.Context(), account, metav1.CreateOptions{})
		must(t, err)
	}
	if len(record.May) == 0 {
		return
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "user"}, Rules: record.rules()}
	_, err := client.RbacV1().Roles(in).Create(t.Context(), role, metav1.CreateOptions{})
	must(t, err)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "user"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "user"},
		Subjects:   []rbacv1.Subject{record.subject()},
	}
	_, err = client.RbacV1().RoleBindings(in).Create(t.Context(), binding, metav1.CreateOptions{})
	must(t, err)
}

// makeNamespace makes a namespace that is deleted at the test's end.
func makeNamespace(t *testing.T, client kubernetes.Interface, name string, with made) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: with.Labels, Annotations: with.Annotations,
	}}
	_, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{FieldManager: "recorder"})
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		err := client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("namespace %s is left: %v", name, err)
		}
	})
	return nil
}

// settled waits until the namespace has ranges and the record's labels; where the
// record has no labels that come, and where others come, for settleTime.
func settled(t *testing.T, client kubernetes.Interface, record record) *corev1.Namespace {
	t.Helper()
	for end := time.Now().Add(settleTime); ; time.Sleep(50 * time.Millisecond) {
		namespace, err := client.CoreV1().Namespaces().Get(t.Context(), record.Namespace, metav1.GetOptions{})
		must(t, err)
		_, ranges := namespace.Annotations[securityv1.UIDRangeAnnotation]
		changes := len(others(record.Labels)) != len(record.MadeWith.Labels)
		if time.Now().After(end) || changes && ranges && maps.Equal(others(namespace.Labels), others(record.Labels)) {
			return namespace
		}
	}
}

// others are the labels without the one that has the namespace's name.
func others(labels map[string]string) map[string]string {
	return without(labels, "kubernetes.io/metadata.name")
}

// compare compares all but the number of the block, which must be a fresh one. given
// has the ranges of the namespaces before.
func compare(t *testing.T, record record, recordedAs string, found *corev1.Namespace, given map[string]string) {
	t.Helper()
	labels := maps.Clone(record.Labels)
	labels["kubernetes.io/metadata.name"] = strings.Replace(labels["kubernetes.io/metadata.name"], recordedAs, record.Namespace, 1)
	if !maps.Equal(found.Labels, labels) {
		t.Errorf("labels are\n%v, not\n%v", found.Labels, labels)
	}
	annotations := maps.Clone(record.Annotations)
	if _, own := record.MadeWith.Annotations[securityv1.UIDRangeAnnotation]; !own {
		text := found.Annotations[securityv1.UIDRangeAnnotation]
		if other, twice := given[text]; twice {
			t.Errorf("%s has %s too", other, text)
		}
		given[text] = record.Namespace
		block, err := ParseBlock(text)
		number, ok := DefaultSpace.NumberOf(block)
		if err != nil || !ok {
			t.Fatalf("the range is %q", text)
		}
		bare := found.DeepCopy()
		bare.Annotations = record.MadeWith.Annotations
		maps.Copy(annotations, rangesFor(bare, DefaultSpace, number))
	}
	if !maps.Equal(found.Annotations, annotations) {
		t.Errorf("annotations are\n%v, not\n%v", found.Annotations, annotations)
	}
}

// TestRangesComeInTimeOnCluster makes namespaces, many at once, and measures how long
// each waits for its ranges.
func TestRangesComeInTimeOnCluster(t *testing.T) {
	client, _ := liveCluster(t)
	var lock sync.Mutex
	var took []time.Duration
	given := map[string]bool{}
	for round := range 5 {
		var all sync.WaitGroup
		for n := range atOnce {
			name := fmt.Sprintf("ranges-%x-%d-%d", time.Now().UnixNano(), round, n)
			all.Add(1)
			go func() {
				defer all.Done()
				if err := makeNamespace(t, client, name, made{}); err != nil {
					t.Error(err)
					return
				}
				text, wait := rangeAfter(t, client, name)
				lock.Lock()
				defer lock.Unlock()
				took = append(took, wait)
				if given[text] {
					t.Errorf("%s comes twice", text)
				}
				given[text] = true
			}()
		}
		all.Wait()
	}
	if len(took) == 0 {
		t.FailNow()
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(time.Millisecond)
	}
	t.Logf("%d namespaces, %d at once: ranges after %s (median), %s (p99), %s (last)", len(took), atOnce, at(0.5), at(0.99), at(1))
	if at(0.99) > rangeTime {
		t.Errorf("p99 is %s, more than %s", at(0.99), rangeTime)
	}
}

// rangeAfter watches a namespace that was just made until it has its range.
func rangeAfter(t *testing.T, client kubernetes.Interface, name string) (string, time.Duration) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	events, err := client.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Error(err)
		return name, time.Since(start)
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		namespace, ok := event.Object.(*corev1.Namespace)
		if !ok {
			continue
		}
		if text := namespace.Annotations[securityv1.UIDRangeAnnotation]; text != "" {
			return text, time.Since(start)
		}
	}
	t.Errorf("%s has no range", name)
	return name, time.Since(start)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
