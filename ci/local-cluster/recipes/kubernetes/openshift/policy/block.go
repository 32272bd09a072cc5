package policy

import (
	"fmt"
	"math/big"
	"strings"
)

// Block is a range of ids, both ends included.
type Block struct{ Start, End uint32 }

// ParseBlock reads an annotation's value: "START/SIZE" or "START-END". It fails
// where the controller does, which looks at the two numbers and nothing else.
func ParseBlock(text string) (Block, error) {
	form := "%d-%d"
	if strings.Contains(text, "/") {
		form = "%d/%d"
	}
	var start, second uint32
	if _, err := fmt.Sscanf(text, form, &start, &second); err != nil {
		return Block{}, fmt.Errorf("%q is no range of ids: %w", text, err)
	}
	if form == "%d-%d" {
		return Block{Start: start, End: second}, nil
	}
	return Block{Start: start, End: start + second - 1}, nil
}

// String gives the block as namespaces carry it.
func (b Block) String() string {
	return fmt.Sprintf("%d/%d", b.Start, b.End-b.Start+1)
}

// Space is all ids that namespaces may get, cut into blocks of one size.
type Space struct{ First, Last, Size uint32 }

// DefaultSpace is what the controller uses unless it is configured otherwise
// (cluster-policy-controller, setRecommendedOpenShiftControllerConfigDefaults).
var DefaultSpace = Space{First: 1_000_000_000, Last: 1_999_999_999, Size: 10_000}

// String gives the space as a RangeAllocation has it.
func (s Space) String() string {
	return fmt.Sprintf("%d-%d/%d", s.First, s.Last, s.Size)
}

// Blocks counts the blocks.
func (s Space) Blocks() int { return int((s.Last - s.First + 1) / s.Size) }

// At is the block with a number; the first one has 0.
func (s Space) At(number int) Block {
	start := s.First + uint32(number)*s.Size
	return Block{Start: start, End: start + s.Size - 1}
}

// NumberOf is the inverse of At. A block of another size, outside of the space or
// across two blocks has no number.
func (s Space) NumberOf(block Block) (int, bool) {
	if block.Start < s.First || block.Start > s.Last {
		return 0, false
	}
	number := int((block.Start - s.First) / s.Size)
	return number, number < s.Blocks() && s.At(number) == block
}

// firstFree is the lowest number whose bit is not set.
func firstFree(taken *big.Int, blocks int) (int, bool) {
	for number := range blocks {
		if taken.Bit(number) == 0 {
			return number, true
		}
	}
	return 0, false
}

// labelsPerNamespace is how many SELinux levels lie between those of two
// neighbouring blocks (setting MCSLabelsPerProject, by default 5).
const labelsPerNamespace = 5

// levelFor is the SELinux level of the block with a number: two categories of
// 1024. All such pairs, the larger category first, are counted in the order
// c1,c0 c2,c0 c2,c1 c3,c0 …; a block has the pair with five times its number
// (setting MCSAllocatorRange, by default "s0:/2"). 100000 blocks need 500000 of
// the 523776 pairs.
func levelFor(number int) string {
	rank := number * labelsPerNamespace
	larger := 1
	for (larger+1)*larger/2 <= rank {
		larger++
	}
	return fmt.Sprintf("s0:c%d,c%d", larger, rank-larger*(larger-1)/2)
}
