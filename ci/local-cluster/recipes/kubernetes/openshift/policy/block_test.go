package policy

import "testing"

func TestBlocksHaveTheControllersForms(t *testing.T) {
	for text, expected := range map[string]Block{
		"1000060000/10000": {1000060000, 1000069999},
		"5000/1000":        {5000, 5999},
		"5000-5999":        {5000, 5999},
		"0/1 and more":     {0, 0},
	} {
		if block, err := ParseBlock(text); block != expected || err != nil {
			t.Errorf("%q is %v, %v", text, block, err)
		}
	}
	for _, text := range []string{"", "x", "1", "1/", "-1/5", "4294967296/1"} {
		if block, err := ParseBlock(text); err == nil {
			t.Errorf("%q is %v", text, block)
		}
	}
}

func TestEveryBlockHasItsNumber(t *testing.T) {
	if blocks := DefaultSpace.Blocks(); blocks != 100_000 {
		t.Fatalf("%d blocks", blocks)
	}
	if text := DefaultSpace.String(); text != "1000000000-1999999999/10000" {
		t.Errorf("the space is %s", text)
	}
	for _, number := range []int{0, 1, 6, 99_999} {
		if found, ok := DefaultSpace.NumberOf(DefaultSpace.At(number)); found != number || !ok {
			t.Errorf("block %d has number %d, %v", number, found, ok)
		}
	}
	if number, ok := DefaultSpace.NumberOf(DefaultSpace.At(100_000)); ok {
		t.Errorf("a block behind the last has number %d", number)
	}
}

func TestNoTwoBlocksShareALevel(t *testing.T) {
	for number, expected := range map[int]string{0: "s0:c1,c0", 1: "s0:c3,c2", 6: "s0:c8,c2", 39: "s0:c20,c5"} {
		if level := levelFor(number); level != expected {
			t.Errorf("block %d has %s, not %s", number, level, expected)
		}
	}
	seen := map[string]bool{}
	for number := 0; number < DefaultSpace.Blocks(); number += 7 {
		level := levelFor(number)
		if seen[level] {
			t.Fatalf("%s comes twice", level)
		}
		seen[level] = true
	}
	if last := levelFor(99_999); last != "s0:c1000,c495" {
		t.Errorf("the last is %s", last)
	}
}
