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
			for names := q.next(1); names != nil; names = q.next(1) {
				q.done(ctx, names[0], look(ctx, names[0]))
			}
		}()
	}
	<-ctx.Done()
	q.ShutDown()
	all.Wait()
}

// workTogether looks at everything that waits at once, at most a number of names, in
// the order in which they came. look says which of them failed.
func (q queue) workTogether(ctx context.Context, most int, look func(context.Context, []string) map[string]error) {
	stop := context.AfterFunc(ctx, q.ShutDown)
	defer stop()
	for names := q.next(most); names != nil; names = q.next(most) {
		failed := look(ctx, names)
		for _, name := range names {
			q.done(ctx, name, failed[name])
		}
	}
}

// next waits for a name, and takes those that wait behind it; nil at the end.
func (q queue) next(most int) []string {
	var names []string
	for len(names) == 0 || len(names) < most && q.Len() > 0 {
		name, end := q.Get()
		if end {
			return names
		}
		names = append(names, name)
	}
	return names
}

func (q queue) done(ctx context.Context, name string, err error) {
	defer q.Done(name)
	if err == nil {
		q.Forget(name)
		return
	}
	if ctx.Err() == nil {
		klog.ErrorS(err, "Will try again", "what", q.name, "namespace", name)
	}
	q.AddRateLimited(name)
}
