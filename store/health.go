package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
	"github.com/cometmq/cometmq/store/segment"
)

// # Damage (decision record)
//
// Context: a disk can change or lose committed bytes. A member whose log is in
// doubt must neither serve it nor vote with it: an election it wins, or decides,
// could forget acknowledged messages. Damage is found by a reader, by the
// scrubber, or at a start.
//
// Decision: the first finding is written to damageName, durably, and told to
// Config.OnDamage, whose owner ends the process. As long as the report lies
// there Open refuses with an *InDoubtError, so that a restart does not make the
// member trustworthy again. There are two ways out, both offline and both up to
// the caller, who knows the group (dledger.Repair takes the second by itself): RestoreSegment puts the bytes of another
// member into the place of the damaged segment, which leaves a log as good as
// before; SetAside takes the whole log out of the way, and then this member is
// one that forgot what it had promised to keep. It must not vote until it has
// all entries up to the report's LastIndex again. Either way the damaged file is
// kept below damagedDir.
//
// A consume queue that does not fit the log is no such case: it is derived, and
// is rebuilt at the next start.
const (
	damageName  = "damage.json"
	damageBytes = 1 << 20
	damagedDir  = "damaged"
	// damagedKept bounds the segments kept as evidence.
	damagedKept = 2
	// damagesMax bounds the findings of one report.
	damagesMax = 64
)

// Finding is one damaged place of the commit log.
type Finding struct {
	File   string    `json:"file"` // below the store's directory
	Base   int64     `json:"base"` // of the segment
	Offset int64     `json:"offset"`
	Reason string    `json:"reason"`
	How    string    `json:"how"` // read, scrub or open
	Found  time.Time `json:"found"`
}

// Damage is the report about a log in doubt.
type Damage struct {
	Version  int       `json:"version"`
	Findings []Finding `json:"findings"`
	// LastIndex is the end of the log when it was found, as far as it is known:
	// this member may have promised all of it to the group.
	LastIndex uint64 `json:"lastIndex"`
	// Committed is the last checkpoint's index.
	Committed uint64 `json:"committed"`
}

// InDoubtError refuses to open a store whose log is damaged.
type InDoubtError struct {
	Dir    string
	Damage Damage
}

// Error says what is damaged and what to do.
func (e *InDoubtError) Error() string {
	what := "its report cannot be read"
	if n := len(e.Damage.Findings); n > 0 {
		f := e.Damage.Findings[0]
		what = fmt.Sprintf("%s at physical offset %d: %s", f.File, f.Offset, f.Reason)
		if n > 1 {
			what += fmt.Sprintf(", and %d more", n-1)
		}
	}
	return fmt.Sprintf("the log in %s is in doubt: %s; this member neither serves nor votes. Run `mqadmin store verify --dir %s`, "+
		"and restore the segment from another member, or empty this member so that its group refills it", e.Dir, what, e.Dir)
}

// Health tells what is known to be wrong.
type Health struct {
	// InDoubt: committed bytes of the log are damaged.
	InDoubt  bool
	Findings []Finding
	// Queues are consume queues that do not fit the log; the next start rebuilds
	// them.
	Queues []consumequeue.Key
	Scrub  Scrub
}

// health is what Health tells, as it is found.
type health struct {
	mu     sync.Mutex
	damage Damage
	queues []consumequeue.Key
	scrub  Scrub
}

// Health returns the store's state of health. Any goroutine.
func (s *Store) Health() Health {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	return Health{
		InDoubt:  len(h.damage.Findings) > 0,
		Findings: slices.Clone(h.damage.Findings),
		Queues:   slices.Clone(h.queues),
		Scrub:    h.scrub,
	}
}

// Doubt returns the error of a log in doubt, nil for a sound one.
func (s *Store) Doubt() *InDoubtError {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.damage.Findings) == 0 {
		return nil
	}
	d := h.damage
	d.Findings = slices.Clone(d.Findings)
	return &InDoubtError{Dir: s.cfg.Dir, Damage: d}
}

// corrupt takes note of damage in the log. It is called by whichever goroutine
// found it, again and again; the first time for a place costs a small file.
func (s *Store) corrupt(bad *commitlog.CorruptError, how string) {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	found := len(h.damage.Findings)
	known := slices.ContainsFunc(h.damage.Findings, func(f Finding) bool { return f.Offset == bad.Offset })
	if known || found >= damagesMax {
		return
	}
	if s.commit != nil {
		h.damage.LastIndex = s.commit.LastIndex()
	}
	h.damage.Version, h.damage.Committed = 1, s.saved.Load()
	h.damage.Findings = append(h.damage.Findings, finding(s.cfg, bad, how))
	s.log.Error("the commit log is damaged: this member's log is in doubt", "file", bad.File, "offset", bad.Offset,
		"reason", bad.Reason, "found-by", how)
	if err := writeDamage(s.cfg, h.damage); err != nil {
		s.log.Error("cannot write the report of the damage", "error", err)
	}
	if found == 0 && s.cfg.OnDamage != nil {
		doubt := &InDoubtError{Dir: s.cfg.Dir, Damage: h.damage}
		go s.cfg.OnDamage(doubt) // its owner ends the process, and may wait for this goroutine
	}
}

// Condemn takes note of damage in the log that somebody else found, in the way
// named by how: from here on the log is in doubt.
func (s *Store) Condemn(bad *commitlog.CorruptError, how string) { s.corrupt(bad, how) }

func finding(cfg Config, bad *commitlog.CorruptError, how string) Finding {
	file, err := filepath.Rel(cfg.Dir, bad.File)
	if err != nil {
		file = bad.File
	}
	base, ok := segment.ParseName(filepath.Base(bad.File))
	if !ok {
		base = -1
	}
	return Finding{File: file, Base: base, Offset: bad.Offset, Reason: bad.Reason, How: how, Found: time.Now().UTC()}
}

func writeDamage(cfg Config, d Damage) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(cfg.FS, filepath.Join(cfg.Dir, damageName), append(b, '\n'))
}

// ReadDamage returns the report of a log in doubt; false when there is none. A
// report that cannot be read is one without findings.
func ReadDamage(cfg Config) (Damage, bool, error) {
	cfg = cfg.withDefaults()
	b, err := vfs.ReadFile(cfg.FS, filepath.Join(cfg.Dir, damageName), damageBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return Damage{}, false, nil
	}
	if err != nil {
		return Damage{}, false, fmt.Errorf("read the report of damage: %w", err)
	}
	var d Damage
	if json.Unmarshal(b, &d) != nil {
		return Damage{}, true, nil
	}
	return d, true, nil
}

// checkDoubt refuses a store whose log is in doubt.
func checkDoubt(cfg Config) error {
	d, there, err := ReadDamage(cfg)
	if err != nil || !there {
		return err
	}
	return &InDoubtError{Dir: cfg.Dir, Damage: d}
}

// damagedAtOpen turns damage that kept the store from opening into a report: of
// the log, of the checkpoint, or of a received log that was to be taken over.
func (s *Store) damagedAtOpen(err error) error {
	var bad *commitlog.CorruptError
	var kv *MetadataError
	switch {
	case errors.As(err, &bad):
	case errors.As(err, &kv):
		bad = &commitlog.CorruptError{File: kv.Path, Reason: kv.Cause.Error()}
	case errors.Is(err, ErrLogBehind), errors.Is(err, errNoCheckpoint):
		bad = &commitlog.CorruptError{File: filepath.Join(s.cfg.Dir, "commitlog"), Reason: err.Error()}
	case errors.Is(err, errBadState):
		bad = &commitlog.CorruptError{File: filepath.Join(s.cfg.Dir, incomingDir, stateName), Reason: err.Error()}
	default:
		return err
	}
	d := Damage{Version: 1, Findings: []Finding{finding(s.cfg, bad, "open")}}
	d.LastIndex = commitlog.VouchedFor(commitlog.Config{FS: s.cfg.FS, Dir: filepath.Join(s.cfg.Dir, "commitlog")})
	if werr := writeDamage(s.cfg, d); werr != nil {
		s.log.Error("cannot write the report of the damage", "error", werr)
	}
	return errors.Join(&InDoubtError{Dir: s.cfg.Dir, Damage: d}, err)
}

// suspect finds out why a message is not what its queue says: if the log is
// intact there, the queue is wrong and will be rebuilt.
func (s *Store) suspect(e *DamageError, want consumequeue.Entry) {
	index, _, _, err := s.commit.EntryAt(int64(e.Phy)) // tells corrupt of damage
	var bad *commitlog.CorruptError
	if errors.As(err, &bad) || errors.Is(err, commitlog.ErrClosed) {
		return
	}
	if err == nil {
		le, dataOff, err := s.commit.Read(index)
		if err != nil {
			return
		}
		if m := messageIn(le.Data, int64(e.Phy)-dataOff); m != nil && s.queueEntry(m, e.Phy).CRC == want.CRC && len(m) == int(want.Size) {
			return // what was read is not what is there now
		}
	}
	s.suspectQueue(consumequeue.Key{Topic: e.Topic, QueueID: e.QueueID}, e)
}

// suspectQueue has a queue rebuilt by the next Open.
func (s *Store) suspectQueue(key consumequeue.Key, why error) {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.queues, key) {
		return
	}
	h.queues = append(h.queues, key)
	s.log.Error("a consume queue does not fit the commit log; the next start rebuilds it, messages are not lost",
		"topic", key.Topic, "queue", key.QueueID, "error", why)
	err := s.kv.Update(map[string][]KV{bucketSuspect: {{Key: stateKey(key.Topic, key.QueueID), Value: []byte{1}}}})
	if err != nil {
		s.log.Error("cannot note that a consume queue must be rebuilt; remove its files before the next start", "error", err)
	}
}

// RestoreSegment replaces a damaged segment of a store that is not open by src,
// the bytes of the same segment on another member, after checking that they fit.
// The damaged file is kept as evidence. When it was the last one of the report,
// the store can be opened again. See "Damage" above.
func RestoreSegment(cfg Config, base int64, src io.Reader) error {
	cfg = cfg.withDefaults()
	return offline(cfg, func() error {
		committed, err := savedIndex(cfg)
		if err != nil {
			return err
		}
		aside := filepath.Join(cfg.Dir, damagedDir)
		err = commitlog.Restore(commitlog.Config{
			FS: cfg.FS, Dir: filepath.Join(cfg.Dir, "commitlog"), SegmentSize: cfg.SegmentSize, Logger: cfg.Logger,
		}, base, committed, src, aside)
		if err != nil {
			return err
		}
		if err := limitEvidence(cfg); err != nil {
			return err
		}
		d, _, err := ReadDamage(cfg)
		if err != nil {
			return err
		}
		d.Findings = slices.DeleteFunc(d.Findings, func(f Finding) bool { return f.Base == base })
		if len(d.Findings) > 0 {
			return writeDamage(cfg, d)
		}
		return dropReport(cfg)
	})
}

// offline runs fn while nobody else uses the store.
func offline(cfg Config, fn func() error) (err error) {
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return fmt.Errorf("lock the store: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return fn()
}

// savedIndex is the index of the checkpoint on disk.
func savedIndex(cfg Config) (index uint64, err error) {
	kv, err := cfg.OpenKV(filepath.Join(cfg.Dir, "metadata.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, kv.Close()) }()
	meta, err := readMeta(kv)
	return meta[keyIndex], err
}
