package vfs

import (
	"maps"
	"math/rand/v2"
)

// sectorSize is what a disk writes as a whole: after a crash each sector of an
// unsynced write is there or is not.
const sectorSize = 512

// CrashOptions says how much of the unsynced state survives a crash. The zero
// value keeps none of it, which is the worst an honest disk may do.
type CrashOptions struct {
	// Random keeps a random part, chosen by Seed: of unsynced writes any set
	// of 512-byte sectors, of unsynced directory changes any set, of changes
	// of a file's length a prefix, since file systems journal those in order.
	Random bool
	Seed   uint64

	// Torn keeps everything except the last write, of which only the first
	// TornBytes bytes arrived. Length changes after that write are kept too.
	// Torn wins over Random.
	Torn      bool
	TornBytes int
}

// CrashClone returns the disk as a power failure at this moment would leave
// it. The original goes on unchanged, so one run can be crashed at many
// points. Locks are not carried over.
func (m *Mem) CrashClone(c CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	cut := m.cutterLocked(c)
	names := maps.Clone(m.durable)
	for _, op := range m.dirOps {
		if cut.keepDirOp() {
			op.apply(names)
		}
	}
	out := NewMem()
	out.usage, out.quota = m.usage, m.quota
	maps.Copy(out.dirs, m.dirs)
	clones := map[*memNode]*memNode{}
	for _, name := range sortedNames(names) {
		n := names[name]
		if clones[n] == nil {
			clones[n] = cut.survivor(n)
		}
		out.live[name] = clones[n]
		out.durable[name] = clones[n]
	}
	if out.quota != 0 && out.roomLocked() == 0 {
		// A removal that was not durable brought bytes back whose room others
		// had been given; a real disk would not have given it yet.
		out.quota = max(out.quota, out.usedLocked())
	}
	return out
}

// cutter decides what survives.
type cutter struct {
	opts    CrashOptions
	rng     *rand.Rand
	odds    float64
	lastSeq uint64 // the write that is torn
}

func (m *Mem) cutterLocked(c CrashOptions) *cutter {
	cut := &cutter{opts: c}
	if c.Random {
		cut.rng = rand.New(rand.NewPCG(c.Seed, 0))
		// Some crashes lose nearly everything, some nearly nothing.
		cut.odds = []float64{0.05, 0.5, 0.95}[cut.rng.IntN(3)]
	}
	for _, names := range []map[string]*memNode{m.live, m.durable} {
		for _, n := range names {
			for _, op := range n.ops {
				if !op.meta {
					cut.lastSeq = max(cut.lastSeq, op.seq)
				}
			}
		}
	}
	return cut
}

func (c *cutter) keepDirOp() bool {
	return c.opts.Torn || c.rng != nil && c.rng.Float64() < c.odds
}

func (c *cutter) survivor(n *memNode) *memNode {
	out := n.cloneSynced()
	switch {
	case c.opts.Torn:
		for _, op := range n.ops {
			if op.seq == c.lastSeq {
				op.data = op.data[:min(max(c.opts.TornBytes, 0), len(op.data))]
			}
			out.replay(op)
		}
	case c.rng != nil:
		c.replaySome(out, n.ops)
	}
	out.sync()
	return out
}

func (c *cutter) replaySome(out *memNode, ops []fileOp) {
	metas := 0
	for _, op := range ops {
		if op.meta {
			metas++
		}
	}
	keep := c.rng.IntN(metas + 1)
	for _, op := range ops {
		if op.meta {
			if keep > 0 {
				keep--
				out.replay(op)
			}
			continue
		}
		for start := int64(0); start < int64(len(op.data)); {
			end := min(int64(len(op.data)), start+sectorSize-(op.off+start)%sectorSize)
			if c.rng.Float64() < c.odds {
				out.replay(fileOp{off: op.off + start, data: op.data[start:end]})
			}
			start = end
		}
	}
}

func (n *memNode) replay(op fileOp) {
	switch {
	case op.meta:
		n.resize(op.size)
	case len(op.data) > 0:
		n.store(op.data, op.off)
	}
}
