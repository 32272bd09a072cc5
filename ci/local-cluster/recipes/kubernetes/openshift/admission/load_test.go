package admission

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Twenty creates at once get the same answers as one. The figure is printed,
// not asserted: the machine may be busy.
func TestManyAtOnce(t *testing.T) {
	const clients, each = 20, 100
	server := start(t, map[string][]string{"jane": {"restricted-v2"}}, []runtime.Object{ready(namespace, nil)}, shipped())
	if !server.pods.poll(context.Background(), server.pods.constraints.synced) {
		t.Fatal("the constraints are never listed")
	}
	took := make([]time.Duration, clients*each)
	problems := make(chan error, clients*each)
	var wait sync.WaitGroup
	for client := 0; client < clients; client++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := 0; i < each; i++ {
				pod, refused := plainPod(), privilegedPod()
				began := time.Now()
				err := server.pods.Admit(context.Background(), creating(pod), nil)
				took[client*each+i] = time.Since(began)
				if err != nil || pod.Annotations[securityv1.ValidatedSCCAnnotation] != "restricted-v2" {
					problems <- fmt.Errorf("a plain pod: %q, %v", pod.Annotations, err)
				}
				if err := server.pods.Admit(context.Background(), creating(refused), nil); err == nil {
					problems <- fmt.Errorf("a privileged pod was admitted")
				}
			}
		}()
	}
	wait.Wait()
	close(problems)
	for problem := range problems {
		t.Error(problem)
	}
	slices.Sort(took)
	t.Logf("%d admissions, %d at once: median %v, p99 %v, longest %v", len(took), clients,
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}
