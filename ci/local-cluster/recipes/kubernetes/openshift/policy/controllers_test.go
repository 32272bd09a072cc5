package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// running is the controller of ranges on an API server in memory.
type running struct {
	client *fake.Clientset
	end    func()
}

// runRanges starts the controller, as after a restart where the store has something.
func runRanges(t *testing.T, client *fake.Clientset, space Space, store RangeStore) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cluster := informers.NewSharedInformerFactory(client, 0)
	controller, err := newRangeController(Release{4, 20}, space, store, client.CoreV1().Namespaces(), cluster.Core().V1().Namespaces())
	if err != nil {
		t.Fatal(err)
	}
	cluster.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), cluster.Core().V1().Namespaces().Informer().HasSynced) {
		t.Fatal("no cache")
	}
	done := make(chan struct{})
	go func() { defer close(done); controller.run(ctx) }()
	return running{client: client, end: func() { cancel(); <-done; cluster.Shutdown() }}
}

func (r running) create(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + " " + time.Now().String())}}
	if _, err := r.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r running) delete(t *testing.T, name string) {
	t.Helper()
	if err := r.client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rangeOf waits for a namespace's range; "" if it gets none in time.
func (r running) rangeOf(t *testing.T, name string, wait time.Duration) string {
	t.Helper()
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		namespace, err := r.client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if text := namespace.Annotations[securityv1.UIDRangeAnnotation]; text != "" {
			return text
		}
	}
	return ""
}

func TestNamespacesGetTheirRangesAlsoAfterARestart(t *testing.T) {
	store := newMemoryStore()
	controller := runRanges(t, fake.NewClientset(), DefaultSpace, store)
	given := map[string]string{}
	expect := func(name, expected string) {
		t.Helper()
		text := controller.rangeOf(t, name, time.Second)
		if text != expected {
			t.Errorf("%s has %q, not %q", name, text, expected)
		}
		if other, twice := given[text]; twice {
			t.Errorf("%s and %s have %s", name, other, text)
		}
		given[text] = name
	}
	for n := range 3 {
		name := fmt.Sprint("first-", n)
		controller.create(t, name)
		expect(name, fmt.Sprintf("10000%d0000/10000", n))
	}
	controller.delete(t, "first-1")
	controller.end()
	controller.create(t, "meanwhile")
	controller = runRanges(t, controller.client, DefaultSpace, store)
	defer func() { controller.end() }()
	expect("meanwhile", "1000030000/10000")
	// The same name is another namespace.
	controller.create(t, "first-1")
	expect("first-1", "1000040000/10000")
}

// A namespace may bring its range along. Nobody else gets it, also when the namespace
// is gone, and not after a restart.
func TestARangeThatANamespaceBroughtIsGivenToNobodyElse(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		store := newMemoryStore()
		controller := runRanges(t, fake.NewClientset(), DefaultSpace, store)
		brought := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: "brought", UID: "brought", Annotations: map[string]string{securityv1.UIDRangeAnnotation: "1000000000/10000"},
		}}
		if _, err := controller.client.CoreV1().Namespaces().Create(t.Context(), brought, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Second); !store.has(0) && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		controller.delete(t, "brought")
		if restarts {
			controller.end()
			controller = runRanges(t, controller.client, DefaultSpace, store)
		}
		controller.create(t, "next")
		if text := controller.rangeOf(t, "next", time.Second); text != "1000010000/10000" {
			t.Errorf("restarted %v: it has %q", restarts, text)
		}
		controller.end()
	}
}

func TestANamespaceThatIsDeletedInBetweenHoldsNobodyUp(t *testing.T) {
	controller := runRanges(t, fake.NewClientset(), DefaultSpace, newMemoryStore())
	defer func() { controller.end() }()
	for n := range 20 {
		name := fmt.Sprint("short-", n)
		controller.create(t, name)
		controller.delete(t, name)
	}
	controller.create(t, "long")
	if text := controller.rangeOf(t, "long", time.Second); text == "" {
		t.Error("it has no range")
	}
}

func TestWithoutAFreeBlockNamespacesWait(t *testing.T) {
	store := newMemoryStore()
	controller := runRanges(t, fake.NewClientset(), Space{First: 100, Last: 119, Size: 10}, store)
	for n := range 2 {
		name := fmt.Sprint("n-", n)
		controller.create(t, name)
		if controller.rangeOf(t, name, time.Second) == "" {
			t.Errorf("%s has no range", name)
		}
	}
	controller.create(t, "late")
	if text := controller.rangeOf(t, "late", 300*time.Millisecond); text != "" {
		t.Errorf("it has %s", text)
	}
	controller.end()
	// A larger space ends the wait.
	controller = runRanges(t, controller.client, Space{First: 100, Last: 199, Size: 10}, store)
	defer func() { controller.end() }()
	if text := controller.rangeOf(t, "late", time.Second); text != "120/10" {
		t.Errorf("it has %q", text)
	}
}

func TestALookThatFailsComesAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	queue := newQueue("test")
	queue.Add("n")
	looks := 0
	queue.work(ctx, 1, func(context.Context, string) error {
		if looks++; looks == 3 {
			cancel()
			return nil
		}
		return errors.New("not yet")
	})
	if looks != 3 {
		t.Errorf("%d looks", looks)
	}
}

type transport struct{ err error }

func (t transport) RoundTrip(*http.Request) (*http.Response, error) { return nil, t.err }

func TestOnlyALostServerEndsASession(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx      context.Context
		err      error
		expected bool
	}{
		{t.Context(), errors.New("connection refused"), true},
		{ended, context.Canceled, false},
		{t.Context(), nil, false},
	} {
		lost := false
		notice := lossNotice{next: transport{test.err}, lost: func() { lost = true }}
		request, err := http.NewRequestWithContext(test.ctx, http.MethodGet, "https://example.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = notice.RoundTrip(request)
		if lost != test.expected {
			t.Errorf("%v: %v", test.err, lost)
		}
	}
}

func TestTheCommandRefusesWhatItCantUse(t *testing.T) {
	for _, arguments := range [][]string{
		{},
		{"--release=4.20"},
		{"--kubeconfig=/nonexistent"},
		{"--kubeconfig=/nonexistent", "--release=4.20"},
		{"--kubeconfig=/nonexistent", "--release=3.11"},
		{"--kubeconfig=/nonexistent", "--release=4.20", "more"},
	} {
		command := NewCommand(t.Context())
		command.SetArgs(arguments)
		command.SilenceErrors = true
		command.SetOut(io.Discard)
		command.SetErr(io.Discard)
		if err := command.Execute(); err == nil {
			t.Errorf("%v is accepted", arguments)
		}
	}
}
