package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strconv"
	"sync"
	"testing"

	securityinternalv1 "github.com/openshift/api/securityinternal/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// memoryStore is a RangeStore that refuses stale objects, as the API server does.
type memoryStore struct {
	lock   sync.Mutex
	stored *securityinternalv1.RangeAllocation
	// after is what an update answers once it is written.
	after error
}

func newMemoryStore() *memoryStore { return &memoryStore{} }

var allocations = securityinternalv1.GroupVersion.WithResource("rangeallocations").GroupResource()

func (s *memoryStore) Get(context.Context) (*securityinternalv1.RangeAllocation, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.stored == nil {
		return nil, apierrors.NewNotFound(allocations, allocationName)
	}
	return s.stored.DeepCopy(), nil
}

// has tells whether a block is marked.
func (s *memoryStore) has(number int) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.stored != nil && new(big.Int).SetBytes(s.stored.Data).Bit(number) == 1
}

func (s *memoryStore) Create(_ context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.stored != nil {
		return nil, apierrors.NewAlreadyExists(allocations, allocationName)
	}
	return s.keep(allocation), nil
}

func (s *memoryStore) Update(_ context.Context, allocation *securityinternalv1.RangeAllocation) (*securityinternalv1.RangeAllocation, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if allocation.ResourceVersion != s.stored.ResourceVersion {
		return nil, apierrors.NewConflict(allocations, allocationName, errors.New("stale"))
	}
	return s.keep(allocation), s.after
}

func (s *memoryStore) keep(allocation *securityinternalv1.RangeAllocation) *securityinternalv1.RangeAllocation {
	version := 0
	if s.stored != nil {
		version, _ = strconv.Atoi(s.stored.ResourceVersion)
	}
	s.stored = allocation.DeepCopy()
	s.stored.ResourceVersion = strconv.Itoa(version + 1)
	return s.stored.DeepCopy()
}

func reserve(t *testing.T, allocator *Allocator, namespace types.UID) int {
	t.Helper()
	given, err := allocator.Reserve(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return given[namespace]
}

// started is an allocator after a start. carried are the ranges of namespaces.
func started(t *testing.T, space Space, store RangeStore, carried ...string) *Allocator {
	t.Helper()
	allocator := NewAllocator(space, store, func() []string { return carried })
	if err := allocator.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	return allocator
}

func TestNoRangeComesTwiceAfterARestart(t *testing.T) {
	store := newMemoryStore()
	first := started(t, DefaultSpace, store)
	given := map[int]bool{}
	for n := range 5 {
		given[reserve(t, first, types.UID(fmt.Sprint("first ", n)))] = true
	}
	// No namespace carries one: each was deleted, or the first one died before it
	// wrote the annotation.
	second := started(t, DefaultSpace, store)
	for n := range 5 {
		number := reserve(t, second, types.UID(fmt.Sprint("second ", n)))
		if given[number] {
			t.Errorf("block %d is given twice", number)
		}
		given[number] = true
	}
	if len(given) != 10 {
		t.Errorf("%d blocks for 10 namespaces", len(given))
	}
}

func TestTwoAllocatorsAtOnceGiveDifferentRanges(t *testing.T) {
	store := newMemoryStore()
	allocators := []*Allocator{started(t, DefaultSpace, store), started(t, DefaultSpace, store)}
	var lock sync.Mutex
	var all sync.WaitGroup
	given := map[int]types.UID{}
	for which, allocator := range allocators {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < 200; {
				namespace := types.UID(fmt.Sprintf("%d of %d", n, which))
				numbers, err := allocator.Reserve(context.Background(), namespace)
				number := numbers[namespace]
				if apierrors.IsConflict(errors.Unwrap(err)) {
					continue
				}
				lock.Lock()
				if other, twice := given[number]; twice || err != nil {
					t.Errorf("block %d: %v, given to %q too", number, err, other)
				}
				given[number] = namespace
				lock.Unlock()
				n++
			}
		}()
	}
	all.Wait()
}

func TestANamespaceKeepsItsBlockUntilItCarriesIt(t *testing.T) {
	allocator := started(t, DefaultSpace, newMemoryStore())
	number := reserve(t, allocator, "one")
	if again := reserve(t, allocator, "one"); again != number {
		t.Errorf("first block %d, then %d", number, again)
	}
	allocator.Settle("one")
	if next := reserve(t, allocator, "one"); next == number {
		t.Errorf("block %d came back", next)
	}
}

func TestAnUpdateOfUnknownOutcomeCostsItsBlock(t *testing.T) {
	store := newMemoryStore()
	allocator := started(t, DefaultSpace, store)
	store.after = errors.New("the connection broke")
	if given, err := allocator.Reserve(t.Context(), "one"); err == nil || len(given) > 0 {
		t.Fatalf("%v is given though nobody knows that it is marked", given)
	}
	store.after = nil
	if number := reserve(t, allocator, "one"); number != 1 {
		t.Errorf("block %d, not 1", number)
	}
}

func TestAFullSpaceIsAnError(t *testing.T) {
	space := Space{First: 100, Last: 129, Size: 10}
	allocator := started(t, space, newMemoryStore())
	first := reserve(t, allocator, "first")
	given, err := allocator.Reserve(t.Context(), "second", "first", "third", "fourth")
	expected := map[types.UID]int{"first": first, "second": first + 1, "third": first + 2}
	if !errors.Is(err, ErrExhausted) || !maps.Equal(given, expected) {
		t.Errorf("%v, %v", given, err)
	}
	if given, err := allocator.Reserve(t.Context(), "fourth"); !errors.Is(err, ErrExhausted) || len(given) > 0 {
		t.Errorf("%v, %v", given, err)
	}
}

func TestRepairMarksWhatNamespacesCarry(t *testing.T) {
	space := Space{First: 100, Last: 199, Size: 10}
	// Some are of another size, another place, or no range at all.
	carried := []string{"100/10", "120/10", "130-139", "141/10", "150/5", "90/10", "500/10", "text", ""}
	allocator := started(t, space, newMemoryStore(), carried...)
	for _, expected := range []int{1, 4, 5} {
		if number := reserve(t, allocator, types.UID(fmt.Sprint(expected))); number != expected {
			t.Errorf("block %d, not %d", number, expected)
		}
	}
}

func TestMarksOfAnotherSpaceAreDropped(t *testing.T) {
	store := newMemoryStore()
	reserve(t, started(t, Space{First: 100, Last: 199, Size: 10}, store), "one")
	allocator := started(t, DefaultSpace, store)
	if number := reserve(t, allocator, "two"); number != 0 {
		t.Errorf("block %d, not 0", number)
	}
	store.stored.Range = "1-2/1"
	allocator.current = nil
	if _, err := allocator.Reserve(t.Context(), "three"); err == nil {
		t.Error("the space changed under way, and nobody minds")
	}
}
