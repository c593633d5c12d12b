package dledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// group is three members in one process, over loopback TCP.
type group struct {
	t       testing.TB
	members []*member
	peers   []Peer
	options groupOptions
}

type groupOptions struct {
	segment int64
	sync    bool
	disk    bool // real files instead of memory
	config  func(id string, c *Config)
	node    func(id string, n *Node)
	fs      func(id string, fs vfs.FS) vfs.FS
	logger  func(id string) hclog.Logger
	listen  func(l net.Listener) net.Listener // for the first start
	relay   func(to string) string            // the address the others dial instead
}

// member is one of them, across restarts.
type member struct {
	group *group
	id    string
	addr  string // the others dial it
	bind  string // and it listens there
	dir   string // real folder: stable.db, and the store when on disk
	peers []Peer // its own list, if not the group's
	join  bool
	fs    vfs.FS
	kv    *store.MemKV

	store   *store.Store
	node    *Node
	machine *countingMachine
	exited  chan error
	current atomic.Pointer[Node] // node while it runs, for senders

	mu    sync.Mutex
	roles []RoleChange
}

// countingMachine counts how often each command was applied.
type countingMachine struct {
	mu    sync.Mutex
	seen  map[uint64]int
	dirty []store.KV
}

func (m *countingMachine) Apply(_ *store.ApplyContext, _ uint16, payload []byte) any {
	id := binary.BigEndian.Uint64(payload)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[id]++
	m.dirty = append(m.dirty, store.KV{Key: binary.BigEndian.AppendUint64(nil, id), Value: []byte(strconv.Itoa(m.seen[id]))})
	return id
}

func (m *countingMachine) Changes() []store.KV {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirty
	m.dirty = nil
	return d
}

func (m *countingMachine) Load(each func(yield func(k, v []byte) bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = map[uint64]int{}
	each(func(k, v []byte) bool {
		n, _ := strconv.Atoi(string(v))
		m.seen[binary.BigEndian.Uint64(k)] = n
		return true
	})
	return nil
}

func newGroup(t testing.TB, o groupOptions) *group {
	t.Helper()
	g := &group{t: t, options: o}
	if o.segment == 0 {
		g.options.segment = 1 << 20
	}
	var listeners []net.Listener
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if o.listen != nil {
			l = o.listen(l)
		}
		listeners = append(listeners, l)
		m := &member{group: g, id: fmt.Sprintf("n%d", i), addr: l.Addr().String(), bind: l.Addr().String(), exited: make(chan error, 1)}
		if o.relay != nil {
			m.addr = o.relay(m.bind)
		}
		m.empty()
		g.members = append(g.members, m)
		g.peers = append(g.peers, Peer{ID: m.id, Addr: m.addr})
	}
	for i, m := range g.members {
		m.start(listeners[i])
	}
	t.Cleanup(func() {
		for _, m := range g.members {
			m.crash()
		}
	})
	return g
}

// empty gives the member a new disk.
func (m *member) empty() {
	m.dir = m.group.t.TempDir()
	m.fs, m.kv = vfs.FS(vfs.NewMem()), store.NewMemKV()
	if m.group.options.disk {
		m.fs, m.kv = vfs.OS, nil
	}
	if wrap := m.group.options.fs; wrap != nil {
		m.fs = wrap(m.id, m.fs)
	}
}

func (m *member) storeDir() string { return filepath.Join(m.dir, "store") }

// start opens the store and the node; l is nil after the first time.
func (m *member) start(l net.Listener) {
	m.group.t.Helper()
	err := m.tryStart(l)
	var doubt *store.InDoubtError
	if errors.As(err, &doubt) {
		err = m.tryStart(nil) // the process starts again by itself
	}
	require.NoError(m.group.t, err)
}

func (m *member) tryStart(l net.Listener) error {
	t, o := m.group.t, m.group.options
	t.Helper()
	m.machine = &countingMachine{seen: map[uint64]int{}}
	logger := hclog.NewNullLogger()
	if o.logger != nil {
		logger = o.logger(m.id)
	} else if os.Getenv("DLEDGER_LOG") != "" {
		logger = hclog.New(&hclog.LoggerOptions{Name: m.id, Level: hclog.Debug, Output: os.Stderr, TimeFormat: "05.000"})
	}
	sc := store.Config{
		FS:          m.fs,
		Dir:         m.storeDir(),
		SegmentSize: o.segment,
		Sync:        o.sync,
		Machine:     m.machine,
		Logger:      logger,
	}
	if m.kv != nil {
		sc.OpenKV = m.kv.Open
	}
	cfg := Config{
		Cluster:            "test",
		Group:              "g",
		SelfID:             m.id,
		Peers:              m.group.peers,
		Bind:               m.bind,
		Listen:             l,
		Dir:                m.dir,
		Sync:               o.sync,
		HeartbeatTimeout:   150 * time.Millisecond,
		ElectionTimeout:    150 * time.Millisecond,
		LeaderLeaseTimeout: 150 * time.Millisecond,
		CheckpointInterval: 100 * time.Millisecond,
		Logger:             logger,
		Exit: func(err error) {
			select {
			case m.exited <- err:
			default:
			}
		},
	}
	if o.config != nil {
		o.config(m.id, &cfg)
	}
	if m.peers != nil {
		cfg.Peers = m.peers
	}
	cfg.Join = m.join
	st, err := m.openStore(sc, cfg)
	if err != nil {
		return err
	}
	cfg.Store = st
	n, err := New(cfg)
	require.NoError(t, err)
	n.OnRole(func(c RoleChange) {
		m.mu.Lock()
		m.roles = append(m.roles, c)
		m.mu.Unlock()
	})
	if o.node != nil {
		o.node(m.id, n)
	}
	if err := n.Start(t.Context()); err != nil {
		if doubt := st.Doubt(); doubt != nil {
			err = errors.Join(err, doubt)
		}
		return errors.Join(err, st.Close())
	}
	m.store, m.node = st, n
	m.current.Store(n)
	return nil
}

func (m *member) running() bool { return m.node != nil }

// crash ends the member without a word to the others.
func (m *member) crash() {
	if m.node == nil {
		return
	}
	m.current.Store(nil)
	m.node.halt()
	_ = m.store.Close()
	m.node = nil
}

// stop ends the member gracefully.
func (m *member) stop() {
	require.NoError(m.group.t, m.node.Close())
	m.current.Store(nil)
	require.NoError(m.group.t, m.store.Close())
	m.node = nil
}

func (g *group) leader() *member {
	g.t.Helper()
	return g.leaderAmong(g.members...)
}

func (g *group) leaderAmong(members ...*member) *member {
	g.t.Helper()
	var found *member
	require.Eventually(g.t, func() bool {
		for _, m := range members {
			if m.running() && m.node.Status().Ready {
				found = m
				return true
			}
		}
		return false
	}, 20*time.Second, 2*time.Millisecond, "no leader")
	return found
}

func (g *group) followers() (leader *member, rest []*member) {
	g.t.Helper()
	leader = g.leader()
	for _, m := range g.members {
		if m != leader {
			rest = append(rest, m)
		}
	}
	return leader, rest
}

// settle waits until all running members have applied everything the leader
// has.
func (g *group) settle() {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		l := g.leader()
		last := l.node.raft.LastIndex()
		for _, m := range g.members {
			if !m.running() {
				continue
			}
			s := m.node.Status()
			if m.node.raft.LastIndex() != last || s.AppliedIndex < last || m.store.AppliedIndex() != l.store.AppliedIndex() {
				return false
			}
		}
		return l.node.Status().Ready
	}, 30*time.Second, 5*time.Millisecond, "members did not settle")
}

const testTopic = "T"

var testHost = netip.MustParseAddrPort("127.0.0.1:10911")

// proposal is one message with an id as body.
func (m *member) proposal(t testing.TB, queue int32, id uint64, body int, done func(*Proposal)) *Proposal {
	t.Helper()
	b := make([]byte, max(body, 8))
	binary.BigEndian.PutUint64(b, id)
	msg := message.Message{
		Topic: testTopic, QueueID: queue, BornHost: testHost, StoreHost: testHost,
		BornTimestamp: 1, Body: b,
	}
	data, err := msg.AppendStored(nil)
	require.NoError(t, err)
	return &Proposal{
		Data:    data,
		Stamps:  []int32{int32(message.StoreTimestampPos(data))},
		Records: 1,
		Done:    done,
	}
}

func command(id uint64) []byte {
	return store.AppendCommand(nil, 1, binary.BigEndian.AppendUint64(nil, id))
}

// drain reads all messages of a queue: the ids by offset.
func (m *member) drain(queue int32) []uint64 {
	t := m.group.t
	t.Helper()
	minOff, maxOff := m.store.QueueRange(testTopic, queue)
	require.Zero(t, minOff)
	var ids []uint64
	for off := minOff; off < maxOff; {
		res := m.store.Get(store.GetRequest{Topic: testTopic, QueueID: queue, Offset: off, MaxMessages: 1000, MaxBytes: 1 << 20})
		require.Equal(t, store.Found, res.Status, "%v", res.Err)
		for rest := res.Messages; len(rest) > 0; {
			rec, err := message.ParseStored(rest)
			require.NoError(t, err)
			if int(rec.QueueOffset()) != len(ids) || rec.StoreTimestamp() == 0 {
				require.Fail(t, "bad message", "queue %d offset %d: says offset %d, store time %d", queue, len(ids), rec.QueueOffset(), rec.StoreTimestamp())
			}
			ids = append(ids, binary.BigEndian.Uint64(rec.Body()))
			rest = rest[rec.Size():]
		}
		off = res.Next
	}
	return ids
}

// segments returns what is in the segment files, by name and up to the end of
// the log.
func (m *member) segments() map[string]string {
	t := m.group.t
	t.Helper()
	dir := filepath.Join(m.storeDir(), "commitlog")
	names, err := m.fs.ReadDir(dir)
	require.NoError(t, err)
	end := m.store.Log().MaxOffset()
	files := map[string]string{}
	for _, name := range names {
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil || base >= end || len(name) != 20 {
			continue
		}
		f, err := m.fs.OpenFile(filepath.Join(dir, name), os.O_RDONLY, 0)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		b := make([]byte, min(size, end-base))
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		files[name] = string(b)
	}
	return files
}

// requireSameBytes compares the segment files that all running members still
// have. It reads them again when the log moved meanwhile, as it does when a
// leader changes.
func (g *group) requireSameBytes() {
	g.t.Helper()
	var running []*member
	for _, m := range g.members {
		if m.running() {
			running = append(running, m)
		}
	}
	var files []map[string]string
	require.Eventually(g.t, func() bool {
		end := running[0].store.Log().MaxOffset()
		rests := func() bool {
			return !slices.ContainsFunc(running, func(m *member) bool { return m.store.Log().MaxOffset() != end })
		}
		if !rests() {
			return false
		}
		files = nil
		for _, m := range running {
			files = append(files, m.segments())
		}
		return rests()
	}, 10*time.Second, 10*time.Millisecond, "the logs do not come to rest at the same offset")
	low := int64(0)
	for _, m := range running {
		low = max(low, m.store.Log().MinOffset())
	}
	for _, f := range files {
		maps.DeleteFunc(f, func(name, _ string) bool { return name < fmt.Sprintf("%020d", low) })
	}
	want := files[0]
	require.NotEmpty(g.t, want)
	for i, got := range files {
		m := running[i]
		require.Len(g.t, got, len(want))
		for name, b := range want {
			require.True(g.t, b == got[name], "segment %s differs between %s (%d bytes) and %s (%d bytes) from byte %d",
				name, running[0].id, len(b), m.id, len(got[name]), firstDifference(b, got[name]))
		}
	}
}

func firstDifference(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// history records what senders were told.
type history struct {
	mu      sync.Mutex
	acked   map[uint64]store.Result
	queues  map[uint64]int32
	unknown map[uint64]bool
	refused map[uint64]error
	ends    map[uint64]int
	next    atomic.Uint64
}

func newHistory() *history {
	return &history{
		acked: map[uint64]store.Result{}, queues: map[uint64]int32{},
		unknown: map[uint64]bool{}, refused: map[uint64]error{}, ends: map[uint64]int{},
	}
}

func (h *history) end(id uint64, queue int32, p *Proposal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends[id]++
	h.queues[id] = queue
	switch {
	case p.Err == nil:
		h.acked[id] = p.Results[0]
	case errors.Is(p.Err, ErrUnknown):
		h.unknown[id] = true
	default:
		h.refused[id] = p.Err
	}
}

func (h *history) ackedCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acked)
}

// load sends from several goroutines until stop is closed, each with a window
// of outstanding messages, to whoever leads.
func (g *group) load(h *history, senders, window, body int, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			queue := int32(s % 4)
			slots := make(chan struct{}, window)
			for {
				select {
				case <-stop:
					for range window { // every proposal must end
						slots <- struct{}{}
					}
					return
				case slots <- struct{}{}:
				}
				m := g.anyLeader()
				if m == nil {
					<-slots
					select {
					case <-stop:
					case <-time.After(time.Millisecond): // there is no leader to wait for an event of
					}
					continue
				}
				id := h.next.Add(1)
				m.Propose(g.members[0].proposal(g.t, queue, id, body, func(p *Proposal) {
					h.end(id, queue, p)
					<-slots
				}))
			}
		})
	}
	return &wg
}

// anyLeader is read by senders while members crash and restart.
func (g *group) anyLeader() *Node {
	for _, m := range g.members {
		if n := m.current.Load(); n != nil && n.ready.Load() {
			return n
		}
	}
	return nil
}

// check compares what senders were told with what each member has.
func (h *history) check(g *group) {
	t := g.t
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	// Plain comparisons inside the loops: require walks a whole map each time.
	for id, n := range h.ends {
		if n != 1 {
			require.Fail(t, "ended more than once", "message %d ended %d times", id, n)
		}
	}
	require.Len(t, h.ends, int(h.next.Load()), "every proposal ends")
	taken := map[[2]int64]uint64{}
	for id, r := range h.acked {
		key := [2]int64{int64(h.queues[id]), int64(r.Queue)}
		other, dup := taken[key]
		if dup {
			require.Fail(t, "an offset was given out twice", "messages %d and %d were both told offset %d of queue %d", id, other, r.Queue, h.queues[id])
		}
		taken[key] = id
	}
	var reference [4][]uint64
	for i, m := range g.members {
		seen := map[uint64]bool{}
		for q := range int32(4) {
			ids := m.drain(q)
			if i == 0 {
				reference[q] = ids
			}
			require.Equal(t, reference[q], ids, "queue %d of %s", q, m.id)
			for off, id := range ids {
				r, acked := h.acked[id]
				switch {
				case seen[id]:
					require.Fail(t, "stored twice", "message %d", id)
				case q != h.queues[id]:
					require.Fail(t, "in the wrong queue", "message %d", id)
				case h.refused[id] != nil:
					require.Fail(t, "a refused message is in the log", "message %d: %v", id, h.refused[id])
				case acked && int(r.Queue) != off:
					require.Fail(t, "told another offset", "message %d: %d, is at %d", id, r.Queue, off)
				case !acked && !h.unknown[id]:
					require.Fail(t, "nobody sent this", "message %d", id)
				}
				seen[id] = true
			}
		}
		for id := range h.acked {
			if !seen[id] {
				require.Fail(t, "lost", "message %d was acknowledged and is not on %s", id, m.id)
			}
		}
	}
}

func logTo(out *logSink) func(string) hclog.Logger {
	return func(id string) hclog.Logger {
		return hclog.New(&hclog.LoggerOptions{Name: id, Output: out, Level: hclog.Info})
	}
}

// faultyLogs fails appends of a follower while armed, except where conflicting
// entries were just removed: a member that fails there ends (logStore), because
// Raft goes on to believe in them, and this one would not.
type faultyLogs struct {
	raft.LogStore
	fail func() error
	cut  bool // Raft's goroutine only
}

func (f *faultyLogs) StoreLogs(logs []*raft.Log) error {
	if !f.cut {
		if err := f.fail(); err != nil {
			return err
		}
	}
	f.cut = false
	return f.LogStore.StoreLogs(logs)
}

func (f *faultyLogs) DeleteRange(from, to uint64) error {
	f.cut = true
	return f.LogStore.DeleteRange(from, to)
}
