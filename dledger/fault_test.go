package dledger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store"
)

// logSync says whether a file operation is the commit log's fsync.
func logSync(op vfs.Op) bool {
	return (op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncFiles) && strings.Contains(op.Path, "commitlog")
}

// diskFaults is a hook for one member's disk.
type diskFaults struct {
	victim atomic.Pointer[string]
	fault  func(op vfs.Op) error
}

func (d *diskFaults) wrap(id string, fs vfs.FS) vfs.FS {
	return vfs.NewFault(fs, func(op vfs.Op) error {
		if v := d.victim.Load(); v != nil && *v == id {
			return d.fault(op)
		}
		return nil
	})
}

// A leader whose fsync never returns: Raft alone would stay frozen, because
// its heartbeats go on. The watchdog ends the process, and the others go on.
func TestHungFsyncOnTheLeader(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	unblock := func() { once.Do(func() { close(release) }) }
	defer unblock()
	d := &diskFaults{fault: func(op vfs.Op) error {
		if logSync(op) {
			<-release
		}
		return nil
	}}
	g := newGroup(t, groupOptions{sync: true, fs: d.wrap, config: func(_ string, c *Config) { c.WatchdogTimeout = 300 * time.Millisecond }})
	leader, rest := g.followers()
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle()

	d.victim.Store(&leader.id)
	done := make(chan error, 1)
	leader.node.Propose(&Proposal{Data: command(2), Records: 1, Done: func(p *Proposal) { done <- p.Err }})
	select {
	case err := <-leader.exited:
		require.ErrorContains(t, err, "writing entries")
		require.ErrorContains(t, err, "the disk hangs")
	case <-time.After(10 * time.Second):
		require.Fail(t, "the watchdog did not end the process")
	}
	next := g.leaderAmong(rest...)
	_, err = next.node.Do(t.Context(), command(3), 1)
	require.NoError(t, err)
	_, err = leader.node.Do(t.Context(), command(4), 1)
	require.ErrorIs(t, err, ErrClosed, "a member that gave up takes nothing")

	unblock()
	d.victim.Store(nil)
	leader.crash()
	require.ErrorIs(t, <-done, ErrUnknown)
	leader.start(nil)
	g.settle()
	g.requireSameBytes()
	for _, m := range g.members {
		require.Equal(t, 1, m.machine.seen[3])
	}
}

// A failed fsync is final: the process ends and believes only what it reads
// back. A failed write other than a full disk likewise.
func TestFailedDiskOnTheLeader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		match func(vfs.Op) bool
	}{
		{"fsync", logSync},
		{"write", func(op vfs.Op) bool { return op.Kind == vfs.OpWrite && strings.Contains(op.Path, "commitlog") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			boom := errors.New("input/output error")
			d := &diskFaults{fault: func(op vfs.Op) error {
				if tt.match(op) {
					return boom
				}
				return nil
			}}
			g := newGroup(t, groupOptions{sync: true, fs: d.wrap})
			leader, rest := g.followers()
			_, err := leader.node.Do(t.Context(), command(1), 1)
			require.NoError(t, err)

			d.victim.Store(&leader.id)
			_, err = leader.node.Do(t.Context(), command(2), 1)
			require.ErrorIs(t, err, ErrUnknown)
			select {
			case err := <-leader.exited:
				require.ErrorIs(t, err, boom)
				require.ErrorContains(t, err, "must start again")
			case <-time.After(10 * time.Second):
				require.Fail(t, "a failed disk did not end the process")
			}
			next := g.leaderAmong(rest...)
			_, err = next.node.Do(t.Context(), command(3), 1)
			require.NoError(t, err)

			d.victim.Store(nil)
			leader.crash()
			leader.start(nil)
			g.settle()
			g.requireSameBytes()
		})
	}
}

// A full disk is not the end of the process: the leader steps down, and the
// member goes on when there is room again.
func TestFullDiskIsSurvived(t *testing.T) {
	d := &diskFaults{fault: func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.Contains(op.Path, "commitlog") {
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		}
		return nil
	}}
	g := newGroup(t, groupOptions{fs: d.wrap})
	leader, rest := g.followers()
	d.victim.Store(&leader.id)
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, err, syscall.ENOSPC)

	// It may win again while its log is the longest; in the end another does.
	next := g.leaderAmong(rest...)
	_, err = next.node.Do(t.Context(), command(2), 1)
	require.NoError(t, err)
	d.victim.Store(nil)
	g.settle()
	g.requireSameBytes()
	select {
	case err := <-leader.exited:
		require.NoError(t, err, "a full disk must not end the process")
	default:
	}
}

// With fsync, what was acknowledged survives a power failure of all members at
// once.
func TestPowerFailureOfAllKeepsWhatWasAcknowledged(t *testing.T) {
	g := newGroup(t, groupOptions{sync: true, segment: 128 << 10})
	g.leader()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 32, 100, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 1500 }, 20*time.Second, time.Millisecond)

	h.mu.Lock()
	acked := make(map[uint64]store.Result, len(h.acked))
	for id, r := range h.acked {
		acked[id] = r
	}
	h.mu.Unlock()
	type disk struct {
		kv *store.MemKV
		fs *vfs.Mem
	}
	var left []disk
	for i, m := range g.members {
		kv := m.kv.Clone() // before the disk: a checkpoint syncs the log first
		left = append(left, disk{kv, m.fs.(*vfs.Mem).CrashClone(vfs.CrashOptions{Seed: uint64(i), Random: true})})
	}
	close(stop)
	senders.Wait()
	for i, m := range g.members {
		m.crash()
		m.kv, m.fs = left[i].kv, left[i].fs
	}
	for _, m := range g.members {
		m.start(nil)
	}
	g.settle()
	g.requireSameBytes()
	for _, m := range g.members {
		var ids [4][]uint64
		for q := range ids {
			ids[q] = m.drain(int32(q))
		}
		for id, r := range acked {
			q := h.queues[id]
			require.Less(t, int(r.Queue), len(ids[q]))
			require.Equal(t, id, ids[q][r.Queue], "message %d on %s", id, m.id)
		}
	}
}

// flipping accepts connections on which now and then a bit arrives, or leaves,
// wrong while on is set.
type flipping struct {
	net.Listener
	on    *atomic.Bool
	flips *atomic.Int64
}

type flippingConn struct {
	net.Conn
	of *flipping
}

func (f *flipping) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	return flippingConn{c, f}, err
}

func (c flippingConn) flip(p []byte) {
	if len(p) > 0 && c.of.on.Load() && rand.N(64<<10) < len(p) {
		p[rand.N(len(p))] ^= 1 << rand.N(8)
		c.of.flips.Add(1)
	}
}

func (c flippingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.flip(p[:n])
	return n, err
}

func (c flippingConn) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	c.flip(p)
	return c.Conn.Write(p)
}

// Bits that flip between the members (row 16 of the fault matrix) cost
// connections. They are in no log, count for no majority and end no member.
func TestFlippedBitsBetweenMembers(t *testing.T) {
	var on atomic.Bool
	var flips atomic.Int64
	g := newGroup(t, groupOptions{segment: 1 << 20, listen: func(l net.Listener) net.Listener { return &flipping{l, &on, &flips} }})
	g.leader()
	h := newHistory()
	stop := make(chan struct{})
	senders := g.load(h, 4, 32, 100, stop)
	require.Eventually(t, func() bool { return h.ackedCount() > 200 }, 20*time.Second, time.Millisecond)
	on.Store(true)
	require.Eventually(t, func() bool { return flips.Load() > 60 }, 60*time.Second, time.Millisecond)
	on.Store(false)
	before := h.ackedCount()
	require.Eventually(t, func() bool { return h.ackedCount() > before+200 }, 20*time.Second, time.Millisecond)
	close(stop)
	senders.Wait()
	for _, m := range g.members {
		select {
		case err := <-m.exited:
			require.NoError(t, err, "%s gave up", m.id)
		default:
		}
	}
	g.settle()
	h.check(g)
	g.requireSameBytes()
}

func TestStrangersOnTheRaftPort(t *testing.T) {
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out)})
	leader := g.leader()
	term := leader.node.Status().Term
	for _, m := range g.members {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + m.addr + "/")
		require.Error(t, err)
		if resp != nil {
			resp.Body.Close()
		}
		c, err := net.Dial("tcp", m.addr)
		require.NoError(t, err)
		_, err = c.Write([]byte{0, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Read(make([]byte, 1))
		require.False(t, isTimeout(err))
		require.NoError(t, c.Close())
		require.Eventually(t, func() bool { return m.node.Status().Counters.Strangers >= 2 }, 5*time.Second, time.Millisecond)
	}
	require.Eventually(t, func() bool {
		return strings.Count(out.String(), "refused a connection to the raft port") >= len(g.members)
	}, 5*time.Second, time.Millisecond)
	require.NotContains(t, out.String(), "failed to decode incoming command", "a stranger reached raft")
	_, err := leader.node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	require.Equal(t, term, leader.node.Status().Term)
}

func TestStartRefusesWhatDoesNotBelongTogether(t *testing.T) {
	g := newGroup(t, groupOptions{})
	for i := range 20 {
		_, err := g.leader().node.Do(t.Context(), command(uint64(i)), 1)
		require.NoError(t, err)
	}
	g.settle()
	for _, m := range g.members {
		m.stop()
	}
	m := g.members[0]
	stable := filepath.Join(m.dir, stableFile)

	// The vote is gone, the log is there, and there is nobody to ask.
	saved, err := os.ReadFile(stable)
	require.NoError(t, err)
	require.NoError(t, os.Remove(stable))
	peers := g.peers
	g.peers = peers[:1]
	require.ErrorContains(t, m.tryStart(nil), "forgot its vote")
	require.NoError(t, os.WriteFile(stable, saved, 0o600))

	// The log is gone, the vote is there, and there is nobody to ask.
	fs, kv := m.fs, m.kv
	m.fs, m.kv = vfs.NewMem(), store.NewMemKV()
	require.ErrorContains(t, m.tryStart(nil), "the files of its log are missing")
	m.fs, m.kv = fs, kv

	// So is a vote that is not what was written.
	require.NoError(t, os.WriteFile(stable, []byte(strings.Repeat("no database ", 2000)), 0o600))
	require.ErrorContains(t, m.tryStart(nil), stable+", which holds this member's term and vote, is damaged")
	require.NoError(t, os.WriteFile(stable, saved, 0o600))
	g.peers = peers

	// Somebody else has the port.
	l, err := net.Listen("tcp", m.addr)
	require.NoError(t, err)
	require.ErrorContains(t, m.tryStart(nil), "open the raft port")
	require.NoError(t, l.Close())

	m.start(nil) // with everything back in its place it starts
	require.Equal(t, 20, len(m.machine.seen))
}

// A member that has founded a group of its own has other bytes at the same
// places; the greeting keeps it out.
func TestMemberBegunWithOtherPeersIsRefused(t *testing.T) {
	t.Parallel()
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out)})
	leader, rest := g.followers()
	g.settle()
	stray := rest[0]
	stray.crash()
	stray.empty()
	stray.peers = []Peer{{ID: stray.id, Addr: stray.addr}}
	stray.start(nil)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "it began with other peers") },
		10*time.Second, 5*time.Millisecond)
	_, err := g.leaderAmong(leader, rest[1]).node.Do(t.Context(), command(77), 1)
	require.NoError(t, err)
	stray.machine.mu.Lock()
	defer stray.machine.mu.Unlock()
	require.Empty(t, stray.machine.seen, "nothing was replicated to it")
}

func TestChangedAddressIsAWarningThatNamesBoth(t *testing.T) {
	out := &logSink{}
	g := newGroup(t, groupOptions{logger: logTo(out)})
	g.settle()
	moved := g.members[2]
	for _, m := range g.members {
		m.stop()
	}
	old := moved.addr
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	moved.addr, moved.bind = l.Addr().String(), l.Addr().String()
	g.peers[2].Addr = moved.addr
	g.members[0].start(nil)
	g.members[1].start(nil)
	moved.start(l)
	_, err = g.leader().node.Do(t.Context(), command(1), 1)
	require.NoError(t, err)
	g.settle() // the member is reached at its new address
	require.Contains(t, out.String(), "differ from the configuration")
	require.Contains(t, out.String(), old)
	require.Contains(t, out.String(), moved.addr)
}

func TestNodeOutsideItsLife(t *testing.T) {
	n, err := New(validConfig())
	require.NoError(t, err)
	_, err = n.Do(t.Context(), command(1), 1)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, n.TransferLeadership(t.Context()), ErrClosed)
	require.Equal(t, Status{}, n.Status())
	require.NotZero(t, n.Now())
	require.NoError(t, n.Close())

	g := newGroup(t, groupOptions{})
	m := g.leader()
	node := m.node
	m.stop()
	_, err = node.Do(t.Context(), command(1), 1)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, node.TransferLeadership(t.Context()), ErrClosed)
	require.NoError(t, node.Close(), "closing twice is fine")
	require.False(t, node.Status().Ready)
	m.requireOrderlyRoles()
	require.False(t, m.roles[len(m.roles)-1].Leader, "a leader that closes says so")
}
