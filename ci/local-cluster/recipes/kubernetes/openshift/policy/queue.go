package policy

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// queue has the names of namespaces that wait for a look.
type queue struct {
	name string
	workqueue.TypedRateLimitingInterface[string]
}

func newQueue(name string) queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 5*time.Second)
	return queue{name: name, TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueue(limiter)}
}

// work looks at what is in the queue until the context ends. What fails comes
// again, later each time.
func (q queue) work(ctx context.Context, workers int, look func(context.Context, string) error) {
	var all sync.WaitGroup
	for range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for q.next(ctx, look) {
			}
		}()
	}
	<-ctx.Done()
	q.ShutDown()
	all.Wait()
}

func (q queue) next(ctx context.Context, look func(context.Context, string) error) bool {
	name, end := q.Get()
	if end {
		return false
	}
	defer q.Done(name)
	if err := look(ctx, name); err != nil {
		if ctx.Err() == nil {
			klog.ErrorS(err, "Will try again", "what", q.name, "namespace", name)
		}
		q.AddRateLimited(name)
		return true
	}
	q.Forget(name)
	return true
}
