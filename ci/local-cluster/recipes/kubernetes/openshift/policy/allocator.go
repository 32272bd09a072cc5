package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"sync"

	securityinternalv1 "github.com/openshift/api/securityinternal/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// allocationName is the RangeAllocation that has the blocks of ids.
const allocationName = "scc-uid"

// ErrExhausted means that no block is free. The words are the controller's.
var ErrExhausted = errors.New("uid range exceeded")

// RangeStore keeps the one RangeAllocation. Update must refuse an object that
// somebody else has changed since it was read, with a conflict.
type RangeStore interface {
	Get(ctx context.Context) (*securityinternalv1.RangeAllocation, error)
	Create(ctx context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error)
	Update(ctx context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error)
}

// Allocator gives each namespace a block of its own. It marks a block in the
// RangeAllocation before anybody hears of it, so no other allocator, and none
// after a restart, gives it away again.
//
// The controller of OpenShift clears, when it starts, the marks of namespaces that
// are gone. This one keeps them: a range is never given twice.
type Allocator struct {
	space Space
	store RangeStore
	// inUse lists the ranges that namespaces carry, of whatever origin.
	inUse func() []string

	lock sync.Mutex
	// seen are the blocks that namespaces carry or carried, and that the
	// RangeAllocation may not have yet.
	seen    *big.Int
	current *securityinternalv1.RangeAllocation
	// reserved are the blocks that are marked for a namespace which may not carry
	// its annotation yet, by the namespace's UID.
	reserved map[types.UID]int
}

// NewAllocator makes an allocator. Repair must succeed before the first Reserve.
func NewAllocator(space Space, store RangeStore, inUse func() []string) *Allocator {
	return &Allocator{space: space, store: store, inUse: inUse, seen: new(big.Int), reserved: map[types.UID]int{}}
}

// Repair makes the RangeAllocation if there is none, and marks in it what
// namespaces carry. Marks of another space mean nothing and are dropped.
func (a *Allocator) Repair(ctx context.Context) error {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.current = nil
	stored, err := a.store.Get(ctx)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return fmt.Errorf("read the range allocation: %w", err)
	}
	if missing {
		stored = &securityinternalv1.RangeAllocation{ObjectMeta: metav1.ObjectMeta{Name: allocationName}}
	}
	a.look()
	taken := new(big.Int).Set(a.seen)
	if stored.Range == a.space.String() {
		taken.Or(taken, new(big.Int).SetBytes(stored.Data))
	}
	repaired := stored.DeepCopy()
	repaired.Range, repaired.Data = a.space.String(), taken.Bytes()
	if missing {
		a.current, err = a.store.Create(ctx, repaired)
	} else {
		a.current, err = a.store.Update(ctx, repaired)
	}
	if err != nil {
		a.current = nil
		return fmt.Errorf("write the range allocation: %w", err)
	}
	return nil
}

// Reserve marks blocks for namespaces, the first ones that are free, in their order.
// It marks what Record has seen too, also where no namespace wants a block.
// Asked again for the same namespace, it gives the same block. A namespace that is
// missing in the answer got none, and the error says why: ErrExhausted, or that the
// marks can't be written; then nobody got a new one.
func (a *Allocator) Reserve(ctx context.Context, namespaces ...types.UID) (map[types.UID]int, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	given, wanting := map[types.UID]int{}, []types.UID{}
	for _, namespace := range namespaces {
		if number, ok := a.reserved[namespace]; ok {
			given[namespace] = number
		} else {
			wanting = append(wanting, namespace)
		}
	}
	fresh, err := a.mark(ctx, wanting)
	maps.Copy(given, fresh)
	maps.Copy(a.reserved, fresh)
	return given, err
}

// mark writes marks for namespaces, all at once, and for what others carried. Those
// stay taken when the namespaces are gone.
func (a *Allocator) mark(ctx context.Context, namespaces []types.UID) (map[types.UID]int, error) {
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	marked := new(big.Int).SetBytes(a.current.Data)
	if len(namespaces) > 0 {
		a.look()
	}
	taken := new(big.Int).Or(a.seen, marked)
	given := map[types.UID]int{}
	var exhausted error
	for _, namespace := range namespaces {
		number, ok := firstFree(taken, a.space.Blocks())
		if !ok {
			exhausted = ErrExhausted
			break
		}
		taken.SetBit(taken, number, 1)
		given[namespace] = number
	}
	if taken.Cmp(marked) == 0 {
		return nil, exhausted
	}
	next := a.current.DeepCopy()
	next.Data = taken.Bytes()
	written, err := a.store.Update(ctx, next)
	// Whether a failed update was written is not known: read before the next one.
	a.current = written
	if err != nil {
		a.current = nil
		return nil, fmt.Errorf("mark blocks: %w", err)
	}
	return given, exhausted
}

// Settle says that a namespace carries its block, or is gone: nobody will ask for
// it again. The mark stays.
func (a *Allocator) Settle(namespace types.UID) {
	a.lock.Lock()
	defer a.lock.Unlock()
	delete(a.reserved, namespace)
}

// Record says that a namespace carries a range, or carried it until now. It is
// written with the next Reserve.
func (a *Allocator) Record(text string) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.see(text)
}

func (a *Allocator) see(text string) {
	block, err := ParseBlock(text)
	if err != nil {
		return
	}
	if number, ok := a.space.NumberOf(block); ok {
		a.seen.SetBit(a.seen, number, 1)
	}
}

func (a *Allocator) load(ctx context.Context) error {
	if a.current != nil {
		return nil
	}
	stored, err := a.store.Get(ctx)
	if err != nil {
		return fmt.Errorf("read the range allocation: %w", err)
	}
	if stored.Range != a.space.String() {
		return fmt.Errorf("the range allocation is of %q, not of %s", stored.Range, a.space)
	}
	a.current = stored
	return nil
}

// look sees what namespaces carry now.
func (a *Allocator) look() {
	for _, text := range a.inUse() {
		a.see(text)
	}
}
