package index

import (
	"cmp"
	"math"
	"slices"
)

const maxInt64 = math.MaxInt64

// Query asks for the entries of one hash stored in [Begin, End] (unix ms), at most Max.
type Query struct {
	Hash       uint64
	Begin, End int64
	Max        int
}

// Query returns the newest matching entries, newest first. It reads files and does not hold up Add.
func (x *Index) Query(q Query) ([]Entry, error) {
	if q.Max <= 0 {
		return nil, nil
	}
	x.files.RLock()
	defer x.files.RUnlock()
	x.mu.RLock()
	var chunks [][]Entry
	for _, t := range x.sealed {
		chunks = append(chunks, t.chunks...)
	}
	chunks = append(chunks, x.cur.chunks...)
	runs := slices.Clone(x.runs)
	x.mu.RUnlock()

	top := newest{q: q, floor: -1}
	for _, entries := range chunks {
		for i := range entries {
			if entries[i].Hash == q.Hash {
				top.take(entries[i])
			}
		}
	}
	// A rebuild adds old entries beside new ones, so that the order of runs says nothing; what they span does.
	slices.SortFunc(runs, func(a, b *run) int { return cmp.Compare(b.head.maxPhy, a.head.maxPhy) })
	for _, r := range runs {
		if r.head.maxPhy <= top.floor {
			break
		}
		if err := r.collect(&top); err != nil {
			return nil, err
		}
	}
	top.trim()
	return top.out, nil
}

// newest keeps the entries with the highest offsets among those asked for.
type newest struct {
	q   Query
	out []Entry
	// floor is the offset up to which entries are too old to matter: -1 until Max are known.
	floor int64
}

// take adds an entry of the right hash; false when it and all older ones are of no interest any more.
func (n *newest) take(e Entry) bool {
	if e.Phy <= n.floor {
		return false
	}
	if e.Time < n.q.Begin || e.Time > n.q.End {
		return true
	}
	if n.out = append(n.out, e); len(n.out) >= 2*n.q.Max {
		n.trim()
	}
	return true
}

// trim sorts, newest first, drops repetitions (a replay adds entries again) and what is more than asked for.
func (n *newest) trim() {
	slices.SortFunc(n.out, func(a, b Entry) int { return cmp.Compare(b.Phy, a.Phy) })
	n.out = slices.CompactFunc(n.out, func(a, b Entry) bool { return a.Phy == b.Phy })
	if len(n.out) >= n.q.Max {
		n.out = n.out[:n.q.Max]
		n.floor = n.out[n.q.Max-1].Phy
	}
}
