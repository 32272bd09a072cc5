package devworkspace

import (
	"context"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// player hears of changes and plays one workspace after the other: they share
// bindings, and no two may change one at once.
type player struct {
	cluster
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	workspaces cache.SharedIndexInformer
	informers  []cache.SharedIndexInformer
	// isStopped while the operator's Deployment is scaled to nothing or is away.
	isStopped atomic.Bool
}

func newPlayer(of cluster) *player {
	limiter := workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]()
	player := &player{
		cluster: of,
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
	}
	player.isStopped.Store(true)
	player.workspaces = player.watch(workspaces, "", "", "", player.add)
	player.watch(deployments, "", labelID, "", player.addOwner)
	player.watch(pods, "", labelID, "", player.addOwner)
	player.watch(jobs, "", labelID, "", player.addOwner)
	player.watch(claims, "", labelID, "", func(claim *unstructured.Unstructured, isGone bool) {
		if claim.GetDeletionTimestamp() != nil {
			player.addOwner(claim, isGone)
		}
	})
	player.watch(deployments, operatorNamespace, "", "metadata.name="+operatorDeployment, player.follow)
	return player
}

// watch calls back with every object that was added or changed, or is gone.
func (player *player) watch(
	resource schema.GroupVersionResource, namespace, labels, fields string,
	heard func(object *unstructured.Unstructured, isGone bool),
) cache.SharedIndexInformer {
	tweak := func(options *metav1.ListOptions) {
		options.LabelSelector, options.FieldSelector = labels, fields
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(
		player.client, resource, namespace, 0, cache.Indexers{}, tweak).Informer()
	call := func(object any, isGone bool) {
		if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		if object, ok := object.(*unstructured.Unstructured); ok {
			heard(object, isGone)
		}
	}
	// It fails only for an informer that has ended.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { call(object, false) },
		UpdateFunc: func(_, object any) { call(object, false) },
		DeleteFunc: func(object any) { call(object, true) },
	})
	player.informers = append(player.informers, informer)
	return informer
}

func (player *player) add(workspace *unstructured.Unstructured, _ bool) {
	player.queue.Add(types.NamespacedName{Namespace: workspace.GetNamespace(), Name: workspace.GetName()})
}

// addOwner asks for the workspace that an object belongs to.
func (player *player) addOwner(object *unstructured.Unstructured, _ bool) {
	name := object.GetLabels()[labelName]
	for _, owner := range object.GetOwnerReferences() {
		if owner.Kind == "DevWorkspace" {
			name = owner.Name
		}
	}
	if name != "" {
		player.queue.Add(types.NamespacedName{Namespace: object.GetNamespace(), Name: name})
	}
}

// follow notes whether the operator is to run: its Deployment says so, although
// the double is no pod of it.
func (player *player) follow(deployment *unstructured.Unstructured, isGone bool) {
	isStopped := isGone || !isToRun(deployment)
	if player.isStopped.Swap(isStopped) == isStopped {
		return
	}
	klog.InfoS("The operator's Deployment changed", "stopped", isStopped)
	if !isStopped {
		player.addAll()
	}
}

// isToRun tells whether a Deployment asks for pods.
func isToRun(deployment *unstructured.Unstructured) bool {
	replicas, ok, _ := unstructured.NestedFieldNoCopy(deployment.Object, "spec", "replicas")
	isEnding := deployment.GetDeletionTimestamp() != nil
	return !isEnding && (!ok || number(replicas) != float64(0))
}

func (player *player) addAll() {
	for _, key := range player.workspaces.GetStore().ListKeys() {
		if namespace, name, err := cache.SplitMetaNamespaceKey(key); err == nil {
			player.queue.Add(types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
}

// start watches, and returns once everything that is there was heard of; false
// where the context ended before.
func (player *player) start(ctx context.Context) bool {
	var synced []cache.InformerSynced
	for _, informer := range player.informers {
		go informer.Run(ctx.Done())
		synced = append(synced, informer.HasSynced)
	}
	return cache.WaitForCacheSync(ctx.Done(), synced...)
}

// work plays until the context ends.
func (player *player) work(ctx context.Context) {
	go func() {
		<-ctx.Done()
		player.queue.ShutDown()
	}()
	for player.next(ctx) {
	}
}

// next plays the next workspace in the queue; false once the queue has ended.
func (player *player) next(ctx context.Context) bool {
	key, isEnded := player.queue.Get()
	if isEnded {
		return false
	}
	defer player.queue.Done(key)
	if player.isStopped.Load() {
		return true
	}
	after, err := player.reconcile(ctx, key.Namespace, key.Name, time.Now)
	if err != nil {
		klog.InfoS("A workspace is tried again", "workspace", key, "why", err.Error())
		player.queue.AddRateLimited(key)
		return true
	}
	player.queue.Forget(key)
	if after > 0 {
		player.queue.AddAfter(key, after)
	}
	return true
}
