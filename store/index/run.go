package index

import (
	"fmt"
	"os"

	"github.com/cometmq/cometmq/internal/vfs"
)

// run is one sorted file.
type run struct {
	gen  uint64
	file vfs.File
	head header
}

func openRun(fsys vfs.FS, path string, gen uint64) (*run, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open key index %s: %w", path, err)
	}
	size, err := f.Size()
	if err == nil {
		head := make([]byte, min(size, headerSize))
		if _, err = f.ReadAt(head, 0); err == nil {
			var h header
			if h, err = decodeHeader(head, size); err == nil {
				return &run{gen: gen, file: f, head: h}, nil
			}
		}
	}
	_ = f.Close() // The file is unusable; why is in err.
	return nil, fmt.Errorf("read key index %s: %w", path, err)
}

// searchChunk is how many entries one read fetches: a page.
const searchChunk = 4096 / entrySize

// lowerBound is the position of the first entry with at least this hash and offset.
func (r *run) lowerBound(hash uint64, phy int64) (uint64, error) {
	lo, hi := uint64(0), r.head.count // the answer lies in [lo, hi]
	var buf [searchChunk * entrySize]byte
	want := Entry{Hash: hash, Phy: phy}
	for step := 0; lo < hi; step++ {
		// Hashes are uniform, so the first guess by proportion is nearly right; the steps after it halve, so that a
		// file of equal hashes costs no more than a binary search.
		var mid uint64
		if step == 0 {
			mid = uint64(float64(hash) / (1 << 64) * float64(r.head.count))
		} else {
			mid = lo + (hi-lo)/2
		}
		start := min(max(mid, searchChunk/2)-searchChunk/2, hi-1)
		start = max(start, lo)
		n := min(hi-start, searchChunk)
		b := buf[:n*entrySize]
		if _, err := r.file.ReadAt(b, headerSize+int64(start)*entrySize); err != nil {
			return 0, fmt.Errorf("read key index %s: %w", r.file.Name(), err)
		}
		switch {
		case compareEntries(decodeEntry(b), want) >= 0:
			hi = start
		case compareEntries(decodeEntry(b[(n-1)*entrySize:]), want) < 0:
			lo = start + n
		default:
			for i := uint64(1); i < n; i++ {
				if compareEntries(decodeEntry(b[i*entrySize:]), want) >= 0 {
					return start + i, nil
				}
			}
		}
	}
	return lo, nil
}

// collect shows top the entries of its hash, newest first.
func (r *run) collect(top *newest) error {
	q := top.q
	if r.head.count == 0 || r.head.maxTime < q.Begin || r.head.minTime > q.End {
		return nil
	}
	end, err := r.lowerBound(q.Hash, maxInt64)
	if err != nil {
		return err
	}
	var buf [searchChunk * entrySize]byte
	last := int64(-1) // a message may have the key twice
	for found := 0; end > 0 && found < q.Max; {
		n := min(end, searchChunk)
		b := buf[:n*entrySize]
		if _, err := r.file.ReadAt(b, headerSize+int64(end-n)*entrySize); err != nil {
			return fmt.Errorf("read key index %s: %w", r.file.Name(), err)
		}
		for i := int(n) - 1; i >= 0 && found < q.Max; i-- {
			e := decodeEntry(b[i*entrySize:])
			if e.Hash != q.Hash || !top.take(e) {
				return nil
			}
			if e.Time >= q.Begin && e.Time <= q.End && e.Phy != last {
				last = e.Phy
				found++
			}
		}
		end -= n
	}
	return nil
}
