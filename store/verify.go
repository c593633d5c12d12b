package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
	"github.com/cometmq/cometmq/store/index"
)

// VerifyReport is what Verify found.
type VerifyReport struct {
	Dir      string            `json:"dir"`
	Identity map[string]string `json:"identity"`
	// Doubt is the report that keeps the store from opening, if there is one.
	Doubt *Damage          `json:"doubt,omitempty"`
	Log   commitlog.Report `json:"log"`
	// Applied is the index of the checkpoint, Term that entry's term.
	Applied uint64 `json:"applied"`
	Term    uint64 `json:"term"`
	// Messages and Commands are records of the log up to the checkpoint; messages
	// inside commands count when they were published.
	Messages     uint64 `json:"messages"`
	Commands     uint64 `json:"commands"`
	Queues       int    `json:"queues"`
	QueueEntries uint64 `json:"queueEntries"`
	IndexRuns    int    `json:"indexRuns"`
	IndexEntries uint64 `json:"indexEntries"`
	// Problems is everything found, the log's included.
	Problems []commitlog.Problem `json:"problems"`
	// OK: no problem is damage.
	OK bool `json:"ok"`
}

// Verify checks a store that no process uses, changing nothing: every entry of
// the log, that indexes follow each other and terms do not step back, that the
// waypoints and the mark fit, that the checkpoint fits the log, that every
// published message is in its queue and every queue entry points at its message,
// and the key index. Config.SegmentSize 0 takes what the files say. An error
// means that it could not be carried out, e.g. a *vfs.LockedError.
func Verify(cfg Config) (VerifyReport, error) {
	v := &verifier{size: cfg.SegmentSize, report: VerifyReport{Dir: cfg.Dir}}
	if cfg.OpenKV == nil {
		cfg.OpenKV = openBoltReadOnly
	}
	v.cfg = cfg.withDefaults()
	lock, err := lockForReading(v.cfg)
	if err != nil {
		return v.report, err
	}
	err = errors.Join(v.verify(), lock.Close())
	v.report.OK = err == nil && !slices.ContainsFunc(v.report.Problems, func(p commitlog.Problem) bool { return p.Damage })
	return v.report, err
}

// lockForReading refuses a store that is in use, and one that is none.
func lockForReading(cfg Config) (lock interface{ Close() error }, err error) {
	if _, err := cfg.FS.Stat(filepath.Join(cfg.Dir, "commitlog")); err != nil {
		return nil, fmt.Errorf("%s is no store: %w", cfg.Dir, err)
	}
	if lock, err = vfs.LockShared(cfg.FS, filepath.Join(cfg.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("the store is in use: %w", err)
	}
	return lock, nil
}

// verifier is one Verify under way.
type verifier struct {
	cfg     Config
	size    int64
	report  VerifyReport
	kv      KVFile
	kept    map[string][]action
	queues  *consumequeue.Set
	cursors map[consumequeue.Key]*cursor
}

// cursor follows a queue while the log is walked.
type cursor struct {
	key       consumequeue.Key
	q         *consumequeue.Queue // nil: the checkpoint knows no such queue
	next, end message.QueueOffset
	ahead     []consumequeue.Entry // read from next on
	stray     uint64               // entries that point at no message
	strayAt   message.QueueOffset
	missing   uint64 // messages without an entry since the topic was last deleted
	missingAt message.PhyOffset
	wrong     uint64
	wrongWhy  string
}

// peek is the entry at next.
func (c *cursor) peek() (consumequeue.Entry, bool, error) {
	if c.q == nil || c.next == c.end {
		return consumequeue.Entry{}, false, nil
	}
	if len(c.ahead) == 0 {
		var err error
		c.ahead, err = c.q.Read(c.ahead[:0], c.next, int(min(c.end-c.next, 32)))
		if err != nil {
			return consumequeue.Entry{}, false, err
		}
	}
	return c.ahead[0], true, nil
}

func (c *cursor) advance() {
	c.next++
	c.ahead = c.ahead[1:]
}

func (v *verifier) problem(file string, off int64, damage bool, format string, args ...any) {
	v.report.Problems = append(v.report.Problems, commitlog.Problem{File: file, Offset: off, Damage: damage, Text: fmt.Sprintf(format, args...)})
}

func (v *verifier) verify() error {
	text, err := vfs.ReadFile(v.cfg.FS, filepath.Join(v.cfg.Dir, identityName), identityBytes)
	if err != nil {
		v.problem(identityName, 0, !errors.Is(err, fs.ErrNotExist), "%v", err)
	}
	v.report.Identity = parseIdentity(string(text))
	d, doubt, err := ReadDamage(v.cfg)
	if err != nil {
		return err
	}
	if doubt {
		v.report.Doubt = &d
		v.problem(damageName, 0, true, "damage was found before; the store does not open before it is repaired")
	}
	if _, err := v.cfg.FS.Stat(filepath.Join(v.cfg.Dir, incomingDir, readyName)); err == nil {
		v.problem(incomingDir, 0, false, "a log that was received from the group waits to be taken over; the next start does it, verify again after that")
	}
	if err := v.openKV(); err != nil {
		return err
	}
	if v.kv != nil {
		defer func() { _ = v.kv.Close() }() // only read
		if err := v.loadQueues(); err != nil {
			return err
		}
		defer func() { _ = v.queues.Close() }()
	}
	if err := v.log(); err != nil {
		return err
	}
	v.checkCheckpoint()
	v.closeQueues()
	return v.index()
}

// openKV opens metadata.db; a store without one never had a checkpoint.
func (v *verifier) openKV() error {
	kv, err := v.cfg.OpenKV(filepath.Join(v.cfg.Dir, "metadata.db"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.problem("metadata.db", 0, false, "there is no checkpoint; a start applies the whole log")
		return nil
	case err != nil:
		v.problem("metadata.db", 0, true, "%v", err)
		return nil
	}
	if c, ok := kv.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			v.problem("metadata.db", 0, true, "%v", err)
		}
	}
	meta, err := readMeta(kv)
	if err != nil {
		v.problem("metadata.db", 0, true, "%v", err)
		return kv.Close()
	}
	v.kv = kv
	v.report.Applied, v.report.Term = meta[keyIndex], meta[keyTerm]
	if meta[keyRebuilding] != 0 {
		v.problem("metadata.db", 0, false, "a rebuild of consume queues did not finish; the next start begins it again")
	}
	v.kept = make(map[string][]action)
	err = kv.Each(bucketActions, func(k, b []byte) error {
		actions, err := decodeActions(b)
		v.kept[string(k)] = actions
		return err
	})
	if err != nil {
		v.problem("metadata.db", 0, true, "what commands did: %v", err)
	}
	return nil
}

func (v *verifier) loadQueues() error {
	var states []consumequeue.State
	err := v.kv.Each(bucketQueues, func(k, b []byte) error {
		st, err := decodeState(k, b)
		if err != nil {
			v.problem("metadata.db", 0, true, "%v", err)
			return nil
		}
		states = append(states, st)
		return nil
	})
	if err != nil {
		return err
	}
	var damaged []consumequeue.Damage
	v.queues, damaged, err = consumequeue.Inspect(consumequeue.Config{FS: v.cfg.FS, Dir: filepath.Join(v.cfg.Dir, "consumequeue")}, states)
	if err != nil {
		return err
	}
	unreadable := make(map[consumequeue.State]bool)
	for _, d := range damaged {
		unreadable[d.State] = true
		v.problem("consumequeue", 0, false, "%s-%d: %s; the next start rebuilds it", d.State.Topic, d.State.QueueID, d.Reason)
	}
	v.report.Queues = len(states)
	v.cursors = make(map[consumequeue.Key]*cursor, len(states))
	for _, st := range states {
		if unreadable[st] {
			v.cursors[consumequeue.Key{Topic: st.Topic, QueueID: st.QueueID}] = nil
			continue
		}
		c := &cursor{key: consumequeue.Key{Topic: st.Topic, QueueID: st.QueueID}, q: v.queues.Queue(st.Topic, st.QueueID)}
		c.next, c.end = st.First, st.Next
		v.cursors[c.key] = c
	}
	return nil
}

// log walks the log.
func (v *verifier) log() error {
	began := false
	report, err := commitlog.Inspect(commitlog.Config{
		FS: v.cfg.FS, Dir: filepath.Join(v.cfg.Dir, "commitlog"), SegmentSize: v.size,
	}, commitlog.Inspection{Visit: func(e commitlog.Entry, off int64) error {
		if !began {
			began = true
			if err := v.skipRemoved(message.PhyOffset(off)); err != nil {
				return err
			}
		}
		return v.entry(e, off)
	}})
	v.report.Log = report
	v.report.Problems = append(v.report.Problems, report.Problems...)
	v.report.Log.Problems = nil
	return err
}

// skipRemoved begins each queue where the log begins.
func (v *verifier) skipRemoved(logMin message.PhyOffset) error {
	for _, c := range v.cursors {
		if c == nil {
			continue
		}
		low, _, err := c.q.Range(logMin)
		if err != nil {
			return err
		}
		c.next = low
	}
	return nil
}

func (v *verifier) entry(e commitlog.Entry, off int64) error {
	if e.Index == v.report.Applied && e.Term != v.report.Term {
		v.problem("metadata.db", off, true, "the checkpoint is at entry %d of term %d, the log has it of term %d", e.Index, v.report.Term, e.Term)
	}
	if e.Kind != KindRecords || e.Index > v.report.Applied {
		return nil
	}
	at := message.PhyOffset(off + int64(commitlog.HeaderSize) + int64(len(e.Extensions)))
	if err := EachRecord(e.Data, func(Record) error { return nil }); err != nil {
		v.problem("commitlog", off, false, "entry %d is intact but not made of records; all members ignore it: %v", e.Index, err)
		return nil
	}
	return EachRecord(e.Data, func(r Record) error {
		if !r.IsCommand() {
			return v.published(r.Message(), at+message.PhyOffset(r.Pos))
		}
		v.report.Commands++
		actions, unusual := v.kept[string(actionKey(e.Index, r.Pos))]
		err := walkCommand(r, at, actions, unusual, v.published, v.removed)
		if errors.Is(err, errRebuild) {
			v.problem("metadata.db", off, true, "entry %d: %v", e.Index, err)
			err = nil
		}
		return err
	})
}

// published compares a message with the entries that should point at it.
func (v *verifier) published(m message.Stored, phy message.PhyOffset) error {
	v.report.Messages++
	return eachPlace(m, func(topic []byte, queue int32) error {
		return v.place(consumequeue.Key{Topic: string(topic), QueueID: queue}, m, phy)
	})
}

// place compares a message with its entry in one queue.
func (v *verifier) place(key consumequeue.Key, m message.Stored, phy message.PhyOffset) error {
	c, known := v.cursors[key]
	if !known {
		if v.kv == nil || message.ValidTopic(key.Topic) != nil || key.QueueID < 0 {
			return nil
		}
		c = &cursor{key: key}
		v.cursors[key] = c
	}
	if c == nil {
		return nil // its files are known to be bad
	}
	for {
		e, ok, err := c.peek()
		if err != nil {
			return err
		}
		if !ok || e.Phy > phy {
			// Perhaps of an earlier topic of that name.
			if c.missing == 0 {
				c.missingAt = phy
			}
			c.missing++
			return nil
		}
		v.report.QueueEntries++
		if e.Phy == phy {
			c.compare(e, m)
			c.advance()
			return nil
		}
		if c.stray == 0 {
			c.strayAt = c.next
		}
		c.stray++
		c.advance()
	}
}

func (c *cursor) compare(e consumequeue.Entry, m message.Stored) {
	why := ""
	switch {
	case int(e.Size) != len(m):
		why = fmt.Sprintf("size %d of a message of %d bytes", e.Size, len(m))
	case e.CRC != crc32.Checksum(m, castagnoli):
		why = "a checksum that is not the message's"
	case e.StoreTime != m.StoreTimestamp():
		why = fmt.Sprintf("store time %d of a message of %d", e.StoreTime, m.StoreTimestamp())
	case c.key.Topic != message.TopicSchedule && !message.IsTimerTopic([]byte(c.key.Topic)) && e.TagsCode != m.TagsCode():
		why = fmt.Sprintf("tags code %d of a message of %d", e.TagsCode, m.TagsCode())
	default:
		return
	}
	if c.wrong == 0 {
		c.wrongWhy = fmt.Sprintf("entry %d has %s", c.next, why)
	}
	c.wrong++
}

// removed forgets the messages of a topic that was deleted.
func (v *verifier) removed(topic string) {
	for _, c := range v.cursors {
		if c != nil && c.key.Topic == topic {
			c.missing = 0
		}
	}
}

func (v *verifier) checkCheckpoint() {
	if last := v.report.Log.Last; v.kv != nil && v.report.Applied > last {
		v.problem("metadata.db", 0, true, "the checkpoint is at entry %d, the log ends with %d", v.report.Applied, last)
	}
}

// closeQueues tells what is left when the log is at its end.
func (v *verifier) closeQueues() {
	keys := make([]consumequeue.Key, 0, len(v.cursors))
	for key := range v.cursors {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b consumequeue.Key) int {
		return slices.Compare(stateKey(a.Topic, a.QueueID), stateKey(b.Topic, b.QueueID))
	})
	const remedy = "; it is derived: remove its files and start, which rebuilds it"
	for _, key := range keys {
		c := v.cursors[key]
		if c == nil {
			continue
		}
		name := fmt.Sprintf("consumequeue/%s.%d", key.Topic, key.QueueID)
		if left := uint64(c.end - c.next); left > 0 {
			v.report.QueueEntries += left
			if c.stray == 0 {
				c.strayAt = c.next
			}
			c.stray += left
		}
		if c.stray > 0 {
			v.problem(name, int64(c.strayAt)*consumequeue.EntrySize, true, "%d entries point at no message, from %d on%s", c.stray, c.strayAt, remedy)
		}
		if c.missing > 0 {
			v.problem(name, int64(c.missingAt), true, "%d messages of the log have no entry, from physical offset %d on%s", c.missing, c.missingAt, remedy)
		}
		if c.wrong > 0 {
			v.problem(name, 0, true, "%d entries are wrong: %s%s", c.wrong, c.wrongWhy, remedy)
		}
	}
}

func (v *verifier) index() error {
	runs, entries, problems, err := index.Verify(v.cfg.FS, filepath.Join(v.cfg.Dir, "index"))
	v.report.IndexRuns, v.report.IndexEntries = runs, entries
	for _, p := range problems {
		if p.Unusable {
			v.problem("index", 0, false, "%v; the next start rebuilds the key index", p.Err)
			continue
		}
		v.problem("index", 0, true, "%v; it is derived: remove the index directory and start, which rebuilds it", p.Err)
	}
	return err
}
