package index

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/vfs"
)

const maxInt64 = math.MaxInt64

// sealedMax bounds the full tables that wait to be written: beyond it Add waits for the disk.
const sealedMax = 4

// ErrIncomplete says that files which the checkpoint counts on are missing or short. The index is usable but may miss
// keys: call Reset and add the retained log again.
var ErrIncomplete = errors.New("key index is incomplete")

// Config says where an index lives.
type Config struct {
	FS  vfs.FS
	Dir string
	// RunEntries is the size of a table, and so of a run file, in entries of 24 bytes. Default: 524,288 (12 MiB).
	RunEntries int
	Logger     hclog.Logger
}

// table is a run in the making, in arrival order.
type table struct {
	gen     uint64
	entries []Entry
	written int      // entries in the tail file
	tail    vfs.File // nil until the first Capture
}

// Index is the key index of one store.
type Index struct {
	cfg Config

	mu     sync.RWMutex
	room   sync.Cond // a sealed table became a run, or the index closes
	cur    *table
	sealed []*table // full, immutable, oldest first; the builder takes the first
	runs   []*run   // oldest first
	// retired are tables that became runs since the last Capture: a checkpoint in progress may still sync their tails, so
	// the next Capture removes them.
	retired []*table
	closed  bool

	building bool
	builder  sync.WaitGroup
}

// Open reads what a checkpoint recorded as state (nil for a new index) and removes what it does not know.
// With ErrIncomplete the index is returned too.
func Open(cfg Config, state []byte) (*Index, error) {
	if cfg.RunEntries == 0 {
		cfg.RunEntries = 512 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	x := &Index{cfg: cfg}
	x.room.L = &x.mu
	pending, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make key index directory: %w", err)
	}
	next, incomplete, err := x.load(pending)
	if err != nil {
		return nil, err
	}
	x.cur = &table{gen: next}
	if incomplete {
		return x, ErrIncomplete
	}
	return x, nil
}

// load opens the runs and turns the tails that state knows into tables.
func (x *Index) load(pending map[uint64]uint64) (next uint64, incomplete bool, err error) {
	names, err := x.cfg.FS.ReadDir(x.cfg.Dir)
	if err != nil {
		return 0, false, fmt.Errorf("list key index: %w", err)
	}
	for gen := range pending {
		next = max(next, gen+1)
	}
	for _, name := range names {
		gen, ok := runGeneration(name)
		if !ok {
			continue
		}
		next = max(next, gen+1)
		r, err := openRun(x.cfg.FS, filepath.Join(x.cfg.Dir, name), gen)
		if err != nil {
			x.cfg.Logger.Warn("key index run is unusable and will be built again", "error", err)
			incomplete = true
			continue
		}
		delete(pending, gen)
		x.runs = append(x.runs, r)
	}
	for gen, count := range pending {
		t, err := x.loadTail(gen, count)
		if err != nil {
			x.cfg.Logger.Warn("key index tail is unusable and will be built again", "error", err)
			incomplete = true
			continue
		}
		x.sealed = append(x.sealed, t)
	}
	slices.SortFunc(x.sealed, func(a, b *table) int { return cmp.Compare(a.gen, b.gen) })
	// Whatever else lies here is a tail after the checkpoint or a file that never got its name.
	for _, name := range names {
		base, isTail := strings.CutSuffix(name, ".tail")
		if gen, err := strconv.ParseUint(base, 10, 64); isTail && err == nil {
			next = max(next, gen+1)
			if _, known := pending[gen]; known {
				continue
			}
		} else if _, ok := runGeneration(name); ok {
			continue
		}
		if err := x.cfg.FS.Remove(filepath.Join(x.cfg.Dir, name)); err != nil {
			return 0, false, fmt.Errorf("remove stale key index file: %w", err)
		}
	}
	return next, incomplete, nil
}

func (x *Index) loadTail(gen, count uint64) (*table, error) {
	t := &table{gen: gen}
	if count == 0 {
		return t, nil
	}
	f, err := x.cfg.FS.OpenFile(x.path(gen, ".tail"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && uint64(size)/entrySize < count {
		err = fmt.Errorf("%s: %d bytes hold less than %d entries", f.Name(), size, count)
	}
	b := make([]byte, 0)
	if err == nil {
		b = make([]byte, count*entrySize)
		_, err = f.ReadAt(b, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	for ; len(b) > 0; b = b[entrySize:] {
		t.entries = append(t.entries, decodeEntry(b))
	}
	t.tail, t.written = f, len(t.entries)
	return t, nil
}

func (x *Index) path(gen uint64, suffix string) string {
	return filepath.Join(x.cfg.Dir, fmt.Sprintf("%020d%s", gen, suffix))
}

func runGeneration(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ".run")
	gen, err := strconv.ParseUint(base, 10, 64)
	return gen, ok && err == nil
}

// Add records an entry. It waits only when several full tables are still to be written.
func (x *Index) Add(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cur.entries = append(x.cur.entries, e)
	if len(x.cur.entries) < x.cfg.RunEntries {
		return
	}
	x.sealed = append(x.sealed, x.cur)
	x.cur = &table{gen: x.cur.gen + 1}
	x.build()
	for len(x.sealed) > sealedMax && x.building && !x.closed {
		x.room.Wait()
	}
}

// build starts the goroutine that turns sealed tables into runs, unless it runs. mu is held.
func (x *Index) build() {
	if x.building || x.closed {
		return
	}
	x.building = true
	x.builder.Go(func() {
		for x.buildOne() {
		}
	})
}

// buildOne writes the oldest sealed table as a run; false ends the builder. A failure leaves the table in memory and in
// its tail, where queries and restarts find it, and the next full table tries again.
func (x *Index) buildOne() bool {
	x.mu.Lock()
	if len(x.sealed) == 0 || x.closed {
		x.building = false
		x.room.Broadcast()
		x.mu.Unlock()
		return false
	}
	t := x.sealed[0]
	x.mu.Unlock()

	r, err := x.writeRun(t)
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.sealed) == 0 || x.sealed[0] != t {
		// Reset came in between; the file belongs to nothing.
		if err == nil {
			err = errors.Join(r.file.Close(), x.cfg.FS.Remove(r.file.Name()))
		}
		return err == nil
	}
	if err != nil {
		x.cfg.Logger.Warn("key index table stays in memory", "entries", len(t.entries), "error", err)
		x.building = false
		x.room.Broadcast()
		return false
	}
	x.runs = append(x.runs, r)
	x.sealed = x.sealed[1:]
	x.room.Broadcast()
	x.retired = append(x.retired, t)
	return true
}

func (x *Index) writeRun(t *table) (*run, error) {
	path := x.path(t.gen, ".run")
	if err := vfs.WriteFileAtomic(x.cfg.FS, path, encodeRun(slices.Clone(t.entries))); err != nil {
		return nil, err
	}
	return openRun(x.cfg.FS, path, t.gen)
}

func (x *Index) dropTail(t *table) {
	if t.tail == nil {
		return
	}
	if err := errors.Join(t.tail.Close(), x.cfg.FS.Remove(t.tail.Name())); err != nil {
		x.cfg.Logger.Warn("key index tail not removed", "error", err)
	}
	t.tail = nil
}

// Query asks for the entries of one hash stored in [Begin, End] (unix ms), at most Max.
type Query struct {
	Hash       uint64
	Begin, End int64
	Max        int
}

// take adds e if it is asked for and not there yet: a replay may have added an entry twice.
func (q Query) take(out []Entry, e Entry) []Entry {
	if e.Hash != q.Hash || e.Time < q.Begin || e.Time > q.End {
		return out
	}
	for _, o := range out {
		if o.Phy == e.Phy {
			return out
		}
	}
	return append(out, e)
}

// Query returns the newest matching entries, newest first.
func (x *Index) Query(q Query) ([]Entry, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []Entry
	for _, t := range append([]*table{x.cur}, reversed(x.sealed)...) {
		for i := len(t.entries) - 1; i >= 0 && len(out) < q.Max; i-- {
			out = q.take(out, t.entries[i])
		}
	}
	for i := len(x.runs) - 1; i >= 0 && len(out) < q.Max; i-- {
		var err error
		if out, err = x.runs[i].collect(out, q); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(b.Phy, a.Phy) })
	return out, nil
}

func reversed(t []*table) []*table {
	r := slices.Clone(t)
	slices.Reverse(r)
	return r
}

// Capture writes what the tails lack and returns the state to record and the files to sync before it is recorded. The
// files stay open until the next Capture.
func (x *Index) Capture() (state []byte, files []vfs.File, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.retired {
		x.dropTail(t)
	}
	x.retired = nil
	for _, t := range append(slices.Clone(x.sealed), x.cur) {
		if err := x.writeTail(t); err != nil {
			return nil, nil, err
		}
		state = binary.BigEndian.AppendUint64(state, t.gen)
		state = binary.BigEndian.AppendUint64(state, uint64(t.written))
		if t.tail != nil {
			files = append(files, t.tail)
		}
	}
	return state, files, nil
}

func (x *Index) writeTail(t *table) error {
	if t.written == len(t.entries) {
		return nil
	}
	if t.tail == nil {
		f, err := x.cfg.FS.OpenFile(x.path(t.gen, ".tail"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return fmt.Errorf("create key index tail: %w", err)
		}
		if err := x.cfg.FS.SyncDir(x.cfg.Dir); err != nil {
			_ = f.Close()
			return fmt.Errorf("sync key index directory: %w", err)
		}
		t.tail = f
	}
	b := make([]byte, 0, (len(t.entries)-t.written)*entrySize)
	for _, e := range t.entries[t.written:] {
		b = appendEntry(b, e)
	}
	if _, err := t.tail.WriteAt(b, int64(t.written)*entrySize); err != nil {
		return fmt.Errorf("write key index tail: %w", err)
	}
	t.written = len(t.entries)
	return nil
}

func decodeState(b []byte) (map[uint64]uint64, error) {
	if len(b)%16 != 0 {
		return nil, fmt.Errorf("key index state of %d bytes is damaged; remove the index directory to build it again", len(b))
	}
	m := map[uint64]uint64{}
	for ; len(b) > 0; b = b[16:] {
		m[binary.BigEndian.Uint64(b)] = binary.BigEndian.Uint64(b[8:])
	}
	return m, nil
}

// Drop removes the runs whose messages all lie below the log's first physical offset.
func (x *Index) Drop(minPhy int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	x.runs = slices.DeleteFunc(x.runs, func(r *run) bool {
		if r.head.maxPhy >= minPhy {
			return false
		}
		errs = append(errs, r.file.Close(), x.cfg.FS.Remove(r.file.Name()))
		return true
	})
	return errors.Join(errs...)
}

// Reset removes everything, for a rebuild.
func (x *Index) Reset() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for _, r := range x.runs {
		errs = append(errs, r.file.Close(), x.cfg.FS.Remove(r.file.Name()))
	}
	for _, t := range slices.Concat(x.retired, x.sealed, []*table{x.cur}) {
		x.dropTail(t)
	}
	x.runs, x.sealed, x.retired = nil, nil, nil
	x.cur = &table{gen: x.cur.gen + 1}
	return errors.Join(errs...)
}

// Size reports the files and entries held, for metrics.
func (x *Index) Size() (runs int, entries uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	entries = uint64(len(x.cur.entries))
	for _, t := range x.sealed {
		entries += uint64(len(t.entries))
	}
	for _, r := range x.runs {
		entries += r.head.count
	}
	return len(x.runs), entries
}

// Close waits for a run being written and closes the files. What was not captured is lost, as in a crash.
func (x *Index) Close() error {
	x.mu.Lock()
	x.closed = true
	x.room.Broadcast()
	x.mu.Unlock()
	x.builder.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for _, r := range x.runs {
		errs = append(errs, r.file.Close())
	}
	for _, t := range slices.Concat(x.retired, x.sealed, []*table{x.cur}) {
		if t.tail != nil {
			errs = append(errs, t.tail.Close())
		}
	}
	x.runs, x.sealed, x.retired, x.cur = nil, nil, nil, &table{}
	return errors.Join(errs...)
}
