package delay

import (
	"cmp"
	"slices"

	"github.com/cometmq/cometmq/message"
)

// entry is a waiting message: when it is due, ms, and where it lies.
type entry struct {
	at  int64
	off message.QueueOffset
}

func compare(a, b entry) int {
	if c := cmp.Compare(a.at, b.at); c != 0 {
		return c
	}
	return cmp.Compare(a.off, b.off)
}

// slot holds the waiting messages of one minute, the earliest first.
type slot struct {
	number int64
	heap   []entry // heap[0] is the smallest
	// next is the offset in the slot's queue up to which it was looked at.
	next message.QueueOffset
	// left says that messages due after bound were left out, for the sake of
	// memory: they are looked up again when heap is empty.
	left  bool
	bound entry
}

// empty tells that nothing is known to wait.
func (s *slot) empty() bool { return len(s.heap) == 0 && !s.left }

// push adds a message, and leaves out the latest when there are twice as many as
// are to be held.
func (s *slot) push(e entry, held int) {
	if s.left && compare(e, s.bound) > 0 {
		return
	}
	s.heap = append(s.heap, e)
	if len(s.heap) >= 2*held {
		// Sorted, it is a heap too.
		slices.SortFunc(s.heap, compare)
		s.heap = s.heap[:held]
		s.left, s.bound = true, s.heap[held-1]
		return
	}
	for i := len(s.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if compare(s.heap[up], s.heap[i]) <= 0 {
			return
		}
		s.heap[up], s.heap[i] = s.heap[i], s.heap[up]
		i = up
	}
}

// pop takes the earliest message.
func (s *slot) pop() entry {
	first, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if right := down + 1; right < last && compare(s.heap[right], s.heap[down]) < 0 {
			down = right
		}
		if compare(s.heap[i], s.heap[down]) <= 0 {
			break
		}
		s.heap[i], s.heap[down] = s.heap[down], s.heap[i]
		i = down
	}
	if last == 0 && cap(s.heap) > timesMax {
		s.heap = nil
	}
	return first
}
