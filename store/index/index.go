package index

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/vfs"
)

// sealedMax bounds the full tables that wait to be written: beyond it Add waits for the disk. While the disk refuses,
// nothing is gained by waiting; beyond lostMax the oldest table is given up then, and the index is incomplete.
const (
	sealedMax = 4
	lostMax   = 4 * sealedMax
)

var (
	// ErrIncomplete says that files which the checkpoint counts on are missing or short, or that a rebuild did not finish.
	// The index is usable but may miss keys: call Reset and add the retained log again.
	ErrIncomplete = errors.New("key index is incomplete")
	// ErrStuck says that AddOld cannot go on because full tables cannot be written.
	ErrStuck = errors.New("key index cannot be written")
)

// Config says where an index lives.
type Config struct {
	FS  vfs.FS
	Dir string
	// RunEntries is the size of a table, and so of a run file, in entries of 24 bytes. Default: 524,288 (12 MiB).
	RunEntries int
	Logger     hclog.Logger
}

// Index is the key index of one store.
type Index struct {
	cfg Config

	// mu guards the lists and is held for moments only: Add must not wait for a query that reads a disk.
	mu     sync.RWMutex
	room   sync.Cond // a sealed table became a run, or the index closes
	cur    *table
	sealed []*table // full, immutable, oldest first; the builder takes the first
	runs   []*run   // oldest first
	// retired are tables that became runs and may still have a tail file: the next Flush removes it.
	retired  []*table
	complete bool
	closed   bool
	building bool
	builder  sync.WaitGroup

	// files is held shared while runs are read and whole while their files are closed; taken before mu.
	files sync.RWMutex
	// flushMu lets one goroutine at a time touch tails; taken before mu.
	flushMu sync.Mutex
}

// Open reads what a checkpoint recorded as state (nil for a new index) and removes what it does not know.
// With ErrIncomplete the index is returned too. A new index is not complete until Completed says so.
func Open(cfg Config, state []byte) (*Index, error) {
	if cfg.RunEntries == 0 {
		cfg.RunEntries = 512 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	x := &Index{cfg: cfg}
	x.room.L = &x.mu
	pending, complete, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	x.complete = complete
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make key index directory: %w", err)
	}
	next, incomplete, err := x.load(pending)
	if err != nil {
		return nil, err
	}
	x.cur = &table{gen: next}
	if incomplete || len(state) > 0 && !complete {
		x.complete = false
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
			if err := x.cfg.FS.Remove(filepath.Join(x.cfg.Dir, name)); err != nil {
				// Left there it would make the index incomplete at every start.
				return 0, false, fmt.Errorf("remove unusable key index run: %w", err)
			}
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
	x.addLocked(e)
	for len(x.sealed) > sealedMax && x.building && !x.closed {
		x.room.Wait()
	}
}

// AddOld is Add for a rebuild beside the applying goroutine: it waits much earlier, so that Add does not have to.
// ErrStuck ends the rebuild.
func (x *Index) AddOld(e Entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.sealed) > 1 && x.building && !x.closed {
		x.room.Wait()
	}
	if len(x.sealed) > sealedMax && !x.building || x.closed {
		return ErrStuck
	}
	x.addLocked(e)
	return nil
}

func (x *Index) addLocked(e Entry) {
	x.cur.add(e)
	if x.cur.count < x.cfg.RunEntries {
		return
	}
	x.sealed = append(x.sealed, x.cur)
	x.cur = &table{gen: x.cur.gen + 1}
	if len(x.sealed) > lostMax && !x.building {
		x.cfg.Logger.Error("key index gives up keys it cannot write; it is built again after a restart", "entries", x.sealed[0].count)
		x.retired = append(x.retired, x.sealed[0])
		x.sealed = slices.Delete(x.sealed, 0, 1)
		x.complete = false
	}
	x.build()
}

// Completed says that the whole log was added: what Query does not find is not there.
func (x *Index) Completed() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.complete = true
}

// Complete reports whether Query may be believed when it finds nothing.
func (x *Index) Complete() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.complete
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
		x.cfg.Logger.Warn("key index table stays in memory", "entries", t.count, "error", err)
		x.building = false
		x.room.Broadcast()
		return false
	}
	x.runs = append(slices.Clone(x.runs), r) // queries hold the old slice
	x.sealed = slices.Clone(x.sealed[1:])
	t.isRun = true
	x.retired = append(x.retired, t)
	x.room.Broadcast()
	return true
}

// dropTail removes a table's tail. flushMu is held.
func (x *Index) dropTail(t *table) {
	if t.tail == nil {
		return
	}
	if err := errors.Join(t.tail.Close(), x.cfg.FS.Remove(t.tail.Name())); err != nil {
		x.cfg.Logger.Warn("key index tail not removed", "error", err)
	}
	t.tail = nil
}

// Capture is the index at one moment, for a checkpoint.
type Capture struct {
	x        *Index
	complete bool
	parts    []part
}

// part is what a table held at the capture.
type part struct {
	t      *table
	chunks [][]Entry
	count  int
}

// Capture notes how far the tables reach. It writes nothing. Applying goroutine only.
func (x *Index) Capture() *Capture {
	x.mu.RLock()
	defer x.mu.RUnlock()
	c := &Capture{x: x, complete: x.complete}
	for _, t := range x.sealed {
		c.parts = append(c.parts, part{t, t.view(), t.count})
	}
	c.parts = append(c.parts, part{x.cur, x.cur.view(), x.cur.count})
	return c
}

// Flush makes what was captured durable and returns the state to record. minPhy is the log's first physical offset: once
// the state is recorded, Drop may remove what lies below. Any goroutine; after an error it may be called again, or for a
// later capture instead.
func (c *Capture) Flush(minPhy int64) (state []byte, err error) {
	x := c.x
	x.flushMu.Lock()
	defer x.flushMu.Unlock()
	state = append(state, 0)
	if c.complete {
		state[0] = stateComplete
	}
	x.mu.Lock()
	retired := x.retired
	x.retired = nil
	for _, r := range x.runs {
		if r.head.maxPhy >= minPhy {
			state = appendState(state, r.gen, isRun)
		}
	}
	var parts []part
	for _, p := range c.parts {
		if !p.t.isRun {
			parts = append(parts, p)
			state = appendState(state, p.t.gen, uint64(p.count))
		}
	}
	x.mu.Unlock()
	for _, t := range retired {
		x.dropTail(t)
	}
	var files []vfs.File
	for _, p := range parts {
		f, err := x.writeTail(p)
		if err != nil {
			return nil, err
		}
		if f != nil {
			files = append(files, f)
		}
	}
	if err := x.cfg.FS.SyncFiles(files); err != nil {
		return nil, fmt.Errorf("sync key index: %w", err)
	}
	return state, nil
}

// The state is a byte of flags, then a generation and a count for each file that Open needs: the entries of a tail, or
// isRun. A tail may have become a run since.
const (
	stateComplete = 1
	isRun         = 1<<64 - 1
)

func appendState(state []byte, gen, count uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(state, gen), count)
}

func decodeState(b []byte) (pending map[uint64]uint64, complete bool, err error) {
	pending = map[uint64]uint64{}
	if len(b) == 0 {
		return pending, false, nil
	}
	complete, b = b[0]&stateComplete != 0, b[1:]
	if len(b)%16 != 0 {
		return nil, false, fmt.Errorf("%w: state of %d bytes is damaged", ErrIncomplete, len(b)+1)
	}
	for ; len(b) > 0; b = b[16:] {
		pending[binary.BigEndian.Uint64(b)] = binary.BigEndian.Uint64(b[8:])
	}
	return pending, complete, nil
}

// Drop removes the runs whose messages all lie below the log's first physical offset. It waits for queries.
func (x *Index) Drop(minPhy int64) error {
	old := func(r *run) bool { return r.head.maxPhy < minPhy }
	x.mu.RLock()
	any := slices.ContainsFunc(x.runs, old)
	x.mu.RUnlock()
	if !any {
		return nil
	}
	x.files.Lock()
	defer x.files.Unlock()
	x.mu.Lock()
	var gone []*run
	x.runs = slices.DeleteFunc(slices.Clone(x.runs), func(r *run) bool {
		if !old(r) {
			return false
		}
		gone = append(gone, r)
		return true
	})
	x.mu.Unlock()
	var errs []error
	for _, r := range gone {
		errs = append(errs, r.file.Close(), x.cfg.FS.Remove(r.file.Name()))
	}
	return errors.Join(errs...)
}

// Reset removes everything, for a rebuild.
func (x *Index) Reset() error {
	x.flushMu.Lock()
	defer x.flushMu.Unlock()
	x.files.Lock()
	defer x.files.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for _, r := range x.runs {
		errs = append(errs, r.file.Close(), x.cfg.FS.Remove(r.file.Name()))
	}
	for _, t := range slices.Concat(x.retired, x.sealed, []*table{x.cur}) {
		x.dropTail(t)
	}
	x.runs, x.sealed, x.retired, x.complete = nil, nil, nil, false
	x.cur = &table{gen: x.cur.gen + 1}
	return errors.Join(errs...)
}

// Size reports the files and entries held, for metrics.
func (x *Index) Size() (runs int, entries uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	entries = uint64(x.cur.count)
	for _, t := range x.sealed {
		entries += uint64(t.count)
	}
	for _, r := range x.runs {
		entries += r.head.count
	}
	return len(x.runs), entries
}

// Close waits for a run being written and closes the files. What was not flushed is lost, as in a crash.
func (x *Index) Close() error {
	x.mu.Lock()
	x.closed = true
	x.room.Broadcast()
	x.mu.Unlock()
	x.builder.Wait()
	x.flushMu.Lock()
	defer x.flushMu.Unlock()
	x.files.Lock()
	defer x.files.Unlock()
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
