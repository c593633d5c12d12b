package consumequeue

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

const (
	// tailMin is the first buffer of a queue, 8 entries; tailMax is where a tail
	// is written.
	tailMin = 8 * EntrySize
	tailMax = 16 << 10
	// readChunk bounds one read of a file: 800 entries, what one pull looks at.
	readChunk = 800 * EntrySize
)

// Config of a set of queues.
type Config struct {
	FS  vfs.FS
	Dir string
	// Logger may be nil.
	Logger hclog.Logger
	// OpenFiles bounds the files kept open. Default: 512.
	OpenFiles int
	// TailBytes is what all unwritten entries together may hold in memory
	// before the oldest tails are written. Default: 16 MiB, which is what a
	// busy broker appends between two checkpoints.
	TailBytes int64
	// OnFailure hears once when tails could not be written and hold four times
	// TailBytes; the process should end, the log has everything.
	OnFailure func(error)

	readOnly bool // see Inspect
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.OpenFiles == 0 {
		c.OpenFiles = 512
	}
	if c.TailBytes == 0 {
		c.TailBytes = 16 << 20
	}
	if c.OnFailure == nil {
		c.OnFailure = func(error) {}
	}
	return c
}

// Set is all queues of all topics.
type Set struct {
	cfg     Config
	log     hclog.Logger
	files   *files
	buffers sync.Pool // *[readChunk]byte
	held    atomic.Int64

	// mu guards topics and each topic's queues against the applier's changes.
	// The applier itself reads them without it.
	mu     sync.RWMutex
	topics map[string]*topic
	light  int // light queues among them

	// Of the applier alone.
	changed  []*Queue
	order    []*Queue // queues with a tail, oldest first, from orderAt on
	orderAt  int
	doomed   []*topic
	failed   bool
	warnedAt int64

	// syncMu guards what checkpoints on other goroutines work off.
	syncMu   sync.Mutex
	unsynced map[fileKey]struct{}
	newFiles bool
	dying    map[generation]*topic // deleted, files not yet removed

	// trimMu guards what Trim found and no Capture took yet.
	trimMu sync.Mutex
	trims  []trim
}

func newSet(cfg Config) *Set {
	cfg = cfg.withDefaults()
	return &Set{
		cfg:      cfg,
		log:      cfg.Logger,
		files:    newFiles(cfg.FS, cfg.Dir, cfg.OpenFiles, cfg.readOnly),
		buffers:  sync.Pool{New: func() any { return new([readChunk]byte) }},
		topics:   make(map[string]*topic),
		unsynced: make(map[fileKey]struct{}),
		dying:    make(map[generation]*topic),
	}
}

// Queue returns a queue, nil if it never had a message. Any goroutine.
func (s *Set) Queue(name string, id int32) *Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[name]; t != nil {
		return t.find(id)
	}
	return nil
}

// Topics returns the names of the topics that begin so and have a queue, in no
// order. Any goroutine.
func (s *Set) Topics(prefix string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for name := range s.topics {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// LightQueues counts the topics that are light queues. Any goroutine.
func (s *Set) LightQueues() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.light
}

// Append adds an entry to a queue, which is made if it does not exist, and
// returns the queue and the entry's offset in it. It never waits for the disk
// unless tails must be written. Applier only. Errors: ErrName.
func (s *Set) Append(name []byte, id int32, e Entry) (*Queue, message.QueueOffset, error) {
	var q *Queue
	if t := s.topics[string(name)]; t != nil {
		q = t.find(id)
	}
	if q == nil {
		var err error
		if q, err = s.create(string(name), id); err != nil {
			return nil, -1, err
		}
	}
	off, held := q.append(e)
	if !q.changed {
		q.changed = true
		s.changed = append(s.changed, q)
	}
	if !q.waiting {
		q.waiting = true
		s.order = append(s.order, q)
	}
	if total := s.held.Add(EntrySize); held >= tailMax || total > s.cfg.TailBytes {
		s.relieve(q, held)
	}
	return q, message.QueueOffset(off), nil
}

// relieve writes a full tail, and the oldest ones while all hold too much.
func (s *Set) relieve(q *Queue, held int) {
	var err error
	if held >= tailMax {
		err = q.flush(true)
	}
	for err == nil && s.held.Load() > s.cfg.TailBytes && s.orderAt < len(s.order) {
		old := s.order[s.orderAt]
		if err = old.flush(old == q); err == nil {
			s.orderAt++
			old.waiting = false
		}
	}
	if s.orderAt > len(s.order)/2 {
		s.order = append(s.order[:0], s.order[s.orderAt:]...)
		s.orderAt = 0
	}
	if err == nil || s.failed {
		return
	}
	// The entries stay in memory and the next append tries again, which must
	// neither fill the log file nor go on for ever.
	total := s.held.Load()
	if total >= s.warnedAt+s.cfg.TailBytes || s.warnedAt == 0 {
		s.warnedAt = total
		s.log.Error("cannot write consume queues, keeping entries in memory", "bytes", total, "error", err)
	}
	if total > 4*s.cfg.TailBytes {
		s.failed = true
		s.cfg.OnFailure(fmt.Errorf("consume queues hold %d unwritten bytes: %w", total, err))
	}
}

func (s *Set) create(name string, id int32) (*Queue, error) {
	if message.ValidTopic(name) != nil || id < 0 {
		return nil, fmt.Errorf("%w: %q, queue %d", ErrName, name, id)
	}
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name, gen: s.freeGeneration(name)}
	}
	q := &Queue{set: s, topic: t, id: id}
	s.insert(t, q)
	return q, nil
}

// insert makes a queue visible, in a copy of the slice that readers may hold.
func (s *Set) insert(t *topic, q *Queue) {
	at := len(t.queues)
	for at > 0 && t.queues[at-1].id > q.id {
		at--
	}
	queues := make([]*Queue, 0, len(t.queues)+1)
	queues = append(append(append(queues, t.queues[:at]...), q), t.queues[at:]...)
	s.mu.Lock()
	t.queues = queues
	if s.topics[t.name] == nil && message.IsLightQueue(t.name) {
		s.light++
	}
	s.topics[t.name] = t
	s.mu.Unlock()
}

// generation names the files of one life of a topic.
type generation struct {
	topic string
	gen   uint32
}

// freeGeneration returns one whose files no deleted topic still occupies.
func (s *Set) freeGeneration(name string) uint32 {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	gen := uint32(0)
	for s.dying[generation{name, gen}] != nil {
		gen++
	}
	return gen
}

// DeleteTopic forgets a topic. A topic of the same name begins at 0 again, in
// other files until the old ones may go. Applier only.
func (s *Set) DeleteTopic(name string) {
	t := s.topics[name]
	if t == nil {
		return
	}
	s.mu.Lock()
	delete(s.topics, name)
	if message.IsLightQueue(name) {
		s.light--
	}
	s.mu.Unlock()
	t.deleted.Store(true)
	s.doomed = append(s.doomed, t)
	s.syncMu.Lock()
	s.dying[generation{t.name, t.gen}] = t
	s.syncMu.Unlock()
}

// write puts bytes into a file and remembers that they need a sync.
func (s *Set) write(key fileKey, b []byte, at int64) error {
	h, created, err := s.files.acquire(key, true)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b, at)
	name := h.Name()
	s.files.release(h)
	if err != nil {
		return fmt.Errorf("write %d bytes to %s: %w", len(b), name, err)
	}
	s.syncMu.Lock()
	s.unsynced[key] = struct{}{}
	s.newFiles = s.newFiles || created
	s.syncMu.Unlock()
	return nil
}

// Close closes the files. Unwritten tails are dropped: the log has them.
func (s *Set) Close() error {
	s.files.drop(func(fileKey) bool { return false })
	return nil
}
