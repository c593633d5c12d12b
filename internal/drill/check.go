package drill

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Verdict counts what the audit found. All but Acked, Unknown, Found and
// Duplicated must be 0.
type Verdict struct {
	Acked   int `json:"acked"`   // messages acknowledged
	Unknown int `json:"unknown"` // messages that ended without an answer
	Found   int `json:"found"`   // messages read back

	// Lost counts acknowledged messages that are nowhere.
	Lost int `json:"lost"`
	// Duplicated counts copies beyond the first: a retry after an unknown
	// outcome may store a message twice.
	Duplicated int `json:"duplicated"`
	// OutOfOrder counts messages whose first copy lies behind the first copy of
	// a message that the same sender sent to the same queue later, and messages
	// acknowledged at an offset that is not behind that of an earlier one.
	OutOfOrder int `json:"outOfOrder"`
	// OffsetsReused counts acknowledged offsets that hold another message, or
	// that were acknowledged for two messages.
	OffsetsReused int `json:"offsetsReused"`
	// Misplaced counts acknowledged messages that are found only elsewhere while
	// their own offset does not exist.
	Misplaced int `json:"misplaced"`
	// Holes counts offsets that the read-back skipped.
	Holes int `json:"holes"`
	// Damaged counts messages with a wrong checksum; Phantom those that nobody
	// sent.
	Damaged int `json:"damaged"`
	Phantom int `json:"phantom"`

	// Examples describes the first few findings.
	Examples []string `json:"examples,omitempty"`
}

// Pass reports whether every promise was kept.
func (v Verdict) Pass() bool {
	return v.Lost == 0 && v.OffsetsReused == 0 && v.OutOfOrder == 0 && v.Misplaced == 0 && v.Holes == 0 && v.Damaged == 0 && v.Phantom == 0
}

const examplesMax = 10

func (v *Verdict) count(n *int, format string, args ...any) {
	*n++
	if len(v.Examples) < examplesMax {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Check compares what was acknowledged with what the queues hold. queues maps a
// queue's id to its messages in the order they were read.
func Check(run string, h History, queues map[int32][]Found) Verdict {
	v := Verdict{Acked: len(h.Acks), Unknown: len(h.Unknown)}
	at := map[Position]ID{}
	copies := map[ID]int{}
	for _, q := range sortedQueues(queues) {
		v.checkQueue(run, q, queues[q], h, at, copies)
	}
	v.checkAckOrder(h)
	acked := map[Position]ID{}
	for _, a := range h.Acks {
		if other, twice := acked[a.Position]; twice && other != a.ID {
			v.count(&v.OffsetsReused, "queue %d offset %d was acknowledged for %v and for %v", a.Queue, a.Offset, other, a.ID)
		}
		acked[a.Position] = a.ID
		holder, exists := at[a.Position]
		switch {
		case copies[a.ID] == 0:
			v.count(&v.Lost, "%v was acknowledged at queue %d offset %d and is nowhere", a.ID, a.Queue, a.Offset)
		case exists && holder != a.ID:
			v.count(&v.OffsetsReused, "%v was acknowledged at queue %d offset %d, which holds %v", a.ID, a.Queue, a.Offset, holder)
		case !exists:
			v.count(&v.Misplaced, "%v was acknowledged at queue %d offset %d, which does not exist", a.ID, a.Queue, a.Offset)
		}
	}
	return v
}

func (v *Verdict) checkQueue(run string, queue int32, found []Found, h History, at map[Position]ID, copies map[ID]int) {
	next := int64(0)
	newest := map[int]int64{} // per sender the highest sequence seen in this queue
	seen := map[ID]bool{}
	for _, f := range found {
		if f.Offset != next {
			v.count(&v.Holes, "queue %d: offset %d follows %d", queue, f.Offset, next-1)
		}
		next = f.Offset + 1
		v.Found++
		id, damaged, foreign := parseBody(run, f.Body)
		switch {
		case damaged:
			v.count(&v.Damaged, "queue %d offset %d has a wrong checksum", queue, f.Offset)
			continue
		case foreign || id.Sender < 0 || id.Sender >= len(h.Sent) || id.Seq < 0 || id.Seq >= h.Sent[id.Sender]:
			v.count(&v.Phantom, "queue %d offset %d holds a message that nobody sent: %.60q", queue, f.Offset, f.Body)
			continue
		}
		at[Position{queue, f.Offset}] = id
		if copies[id]++; copies[id] > 1 {
			v.Duplicated++
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if last, ok := newest[id.Sender]; ok && id.Seq < last && !h.Unordered[id.Sender] {
			v.count(&v.OutOfOrder, "queue %d offset %d: %v lies behind message %d of that sender", queue, f.Offset, id, last)
		}
		newest[id.Sender] = max(newest[id.Sender], id.Seq)
	}
}

// checkAckOrder: whoever waits for an answer before the next message finds that
// one at a higher offset. It holds for senders without order too, whose client
// may have tried another queue or left a late copy of an earlier attempt.
func (v *Verdict) checkAckOrder(h History) {
	type lane struct {
		sender int
		queue  int32
	}
	lanes := map[lane][]Ack{}
	for _, a := range h.Acks {
		lanes[lane{a.Sender, a.Queue}] = append(lanes[lane{a.Sender, a.Queue}], a)
	}
	for _, acks := range lanes {
		slices.SortFunc(acks, func(a, b Ack) int { return cmp.Compare(a.Seq, b.Seq) })
		for i := 1; i < len(acks); i++ {
			// An equal offset is one that was given out twice, which is counted there.
			if a, b := acks[i-1], acks[i]; b.Offset < a.Offset {
				v.count(&v.OutOfOrder, "queue %d: %v was acknowledged at offset %d, and %v before it at %d", a.Queue, b.ID, b.Offset, a.ID, a.Offset)
			}
		}
	}
}

func sortedQueues(queues map[int32][]Found) []int32 {
	ids := make([]int32, 0, len(queues))
	for q := range queues {
		ids = append(ids, q)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}
