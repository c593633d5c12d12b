package local

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/config"
)

func TestPortsFollowFromTheBasePort(t *testing.T) {
	st, err := plan(Spec{BasePort: 9876, Nodes: 3, Flush: FlushSync})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:9876", st.Namesrv.Addr)
	var listen, raft []string
	for _, b := range st.Brokers {
		listen, raft = append(listen, b.Addr), append(raft, b.RaftAddr)
	}
	require.Equal(t, []string{"127.0.0.1:10911", "127.0.0.1:10921", "127.0.0.1:10931"}, listen)
	require.Equal(t, []string{"127.0.0.1:10916", "127.0.0.1:10926", "127.0.0.1:10936"}, raft)
}

func TestPlanRefuses(t *testing.T) {
	for _, row := range []struct {
		spec Spec
		want string
	}{
		{Spec{BasePort: 9876, Nodes: 2, Flush: FlushSync}, "--nodes 2"},
		{Spec{BasePort: 9876, Nodes: 9, Flush: FlushSync}, "--nodes 9"},
		{Spec{BasePort: 9876, Nodes: 3, Flush: "maybe"}, `--flush "maybe"`},
		{Spec{BasePort: 80, Nodes: 3, Flush: FlushSync}, "--base-port 80"},
		{Spec{BasePort: 65000, Nodes: 3, Flush: FlushSync}, "1024 to 64473"},
	} {
		_, err := plan(row.spec)
		require.ErrorContains(t, err, row.want)
	}
	_, err := plan(Spec{BasePort: 64473, Nodes: 3, Flush: FlushSync})
	require.NoError(t, err, "the largest port that the message allows")
}

func TestAProcessIsNotMistakenForAnother(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	p := Process{PID: cmd.Process.Pid, Started: startedAt(cmd.Process.Pid)}
	require.NotEmpty(t, p.Started)
	require.True(t, p.Alive())

	other := Process{PID: p.PID, Started: p.Started + "0"} // the same pid, given to somebody else
	require.False(t, other.Alive())
	require.NoError(t, other.signal(syscall.SIGKILL))
	require.True(t, p.Alive(), "a stranger was killed")

	require.NoError(t, p.signal(syscall.SIGKILL))
	require.Eventually(t, func() bool { return !p.Alive() }, 5*time.Second, time.Millisecond, "a zombie counts as dead")
	_ = cmd.Wait()
	require.False(t, Process{}.Alive())
}

func TestStatFieldsOfAStrangeName(t *testing.T) {
	f := statFields([]byte("42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21"))
	require.Equal(t, "S", f[0])
	require.Equal(t, "11", f[11])
	require.Equal(t, "777", f[19])
}

func TestUsageOfOurselves(t *testing.T) {
	u, err := Process{PID: os.Getpid()}.Usage()
	require.NoError(t, err)
	require.Greater(t, u.RSS, int64(1<<20))
	require.Less(t, u.CPU, time.Hour)
	// Work until it shows: how long that takes depends on who else works here.
	require.Eventually(t, func() bool {
		for range 1_000_000 {
			_ = statFields(nil)
		}
		now, err := Process{PID: os.Getpid()}.Usage()
		return err == nil && now.CPU > u.CPU
	}, 20*time.Second, time.Millisecond)
}

func TestClaim(t *testing.T) {
	want, err := plan(Spec{BasePort: 20000, Nodes: 3, Flush: FlushSync})
	require.NoError(t, err)

	dir := t.TempDir()
	refusal := func(dir string, want state) error {
		_, err := claim(dir, want)
		return err
	}
	require.NoError(t, refusal(dir, want), "an empty directory")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644))
	require.ErrorContains(t, refusal(dir, want), "not empty")

	dir = t.TempDir()
	require.NoError(t, save(dir, want))
	require.NoError(t, refusal(dir, want), "its own data")
	other := want
	other.Nodes = 1
	require.ErrorContains(t, refusal(dir, other), "--nodes 3, which cannot change")
	other = want
	other.Flush = FlushAsync
	require.NoError(t, refusal(dir, other), "the flush mode may change")

	stale := want
	stale.Namesrv.Process = Process{PID: os.Getpid(), Started: "long ago"}
	require.NoError(t, save(dir, stale))
	got, err := claim(dir, want)
	require.NoError(t, err, "a stale pid that somebody else has now")
	require.Zero(t, got.Namesrv.PID, "it was not started this time")
	stale.Namesrv.Process.Started = startedAt(os.Getpid())
	require.NoError(t, save(dir, stale))
	require.ErrorIs(t, refusal(dir, want), ErrRunning)
}

func TestLoadRefusesForeignFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := load(dir)
	require.ErrorIs(t, err, ErrNone)
	require.NoError(t, os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"kind":"something else"}`), 0o644))
	_, err = load(dir)
	require.ErrorContains(t, err, "not a state file of mqadmin local")
	_, err = Open(dir)
	require.Error(t, err)
}

func TestSettingsOfTheOwnerAreKept(t *testing.T) {
	st, err := plan(Spec{BasePort: 20000, Nodes: 3, Flush: FlushSync})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "broker.conf")
	require.NoError(t, writeConf(file, brokerConf("/data", st, st.Brokers[1]), nil))
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	values, err := config.ParseText(first)
	require.NoError(t, err)
	require.Equal(t, "n1", values["dLegerSelfId"])
	require.Equal(t, "n0-127.0.0.1:21040;n1-127.0.0.1:21050;n2-127.0.0.1:21060", values["dLegerPeers"])
	require.Equal(t, "SYNC_FLUSH", values["flushDiskType"])

	require.NoError(t, os.WriteFile(file, append(first, "maxMessageSize=1024\n"...), 0o644))
	require.NoError(t, writeConf(file, "ignored=1\n", map[string]string{"flushDiskType": "ASYNC_FLUSH"}))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	values, err = config.ParseText(again)
	require.NoError(t, err)
	require.Equal(t, "1024", values["maxMessageSize"])
	require.Equal(t, "ASYNC_FLUSH", values["flushDiskType"])
	require.NotContains(t, values, "ignored")
}

// TestHeldPortIsPassedToEachStart: a port that is held takes connections while
// nobody is behind it, and each process that is started gets it, with its own id.
func TestHeldPortIsPassedToEachStart(t *testing.T) {
	dir := t.TempDir()
	base, err := FreeBasePort(1)
	require.NoError(t, err)
	st, err := plan(Spec{BasePort: base, Nodes: 1, Flush: FlushSync, BinDir: dir})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "logs"), 0o755))
	program := "#!/bin/sh\necho $$ = $LISTEN_PID, $LISTEN_FDS $LISTEN_FDNAMES: $(readlink /proc/$$/fd/3) \"$@\"\n"
	for _, name := range []string{"mqbroker", "mqnamesrv"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(program), 0o755))
	}
	c, err := newCluster(dir, st)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.hold(t.Context()))
	for _, n := range st.nodes() {
		want := ""
		for range 2 {
			conn, err := net.Dial("tcp", n.Addr)
			require.NoError(t, err, "nobody is there, and nobody is refused")
			require.NoError(t, conn.Close())
			require.NoError(t, c.Start(n.ID))
			started := *c.find(n.ID)
			require.True(t, started.waitGone(5*time.Second))
			// The socket's number in the kernel is the same each time.
			socket, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", c.held[n.ID].Fd()))
			require.NoError(t, err)
			want += fmt.Sprintf("%d = %d, 1 remoting: %s -c %s\n", started.PID, started.PID, socket, confFile(dir, n))
			got, err := os.ReadFile(logFile(dir, n))
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		}
	}
	for _, n := range st.Brokers {
		_, err := net.Dial("tcp", n.RaftAddr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "a Raft port that is kept would hide a death")
	}
	c.release()
	_, err = net.Dial("tcp", st.Namesrv.Addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestOneStartsAtATime(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	require.NoError(t, err)
	_, err = lockDir(dir)
	require.ErrorIs(t, err, ErrBusy)
	unlock()
	unlock, err = lockDir(dir)
	require.NoError(t, err)
	unlock()
}

func TestGroupsShareOneBlockOfPorts(t *testing.T) {
	st, err := plan(Spec{BasePort: 9876, Nodes: 3, Groups: 2, Flush: FlushSync})
	require.NoError(t, err)
	require.Equal(t, []string{"broker-a", "broker-b"}, st.groups())
	b := st.group("broker-b")
	require.Len(t, b, 3)
	require.Equal(t, node{ID: "n3", Group: "broker-b", Addr: "127.0.0.1:10941", RaftAddr: "127.0.0.1:10946"}, b[0])
	values, err := config.ParseText([]byte(brokerConf("/data", st, b[2])))
	require.NoError(t, err)
	require.Equal(t, "broker-b", values["brokerName"])
	require.Equal(t, "broker-b", values["dLegerGroup"])
	require.Equal(t, "n3-127.0.0.1:10946;n4-127.0.0.1:10956;n5-127.0.0.1:10966", values["dLegerPeers"], "its own members only")
	for _, groups := range []int{-1, 9} {
		_, err = plan(Spec{BasePort: 9876, Nodes: 1, Groups: groups, Flush: FlushSync})
		require.ErrorContains(t, err, "--groups")
	}
}

// TestNamesAreUsedOnce: who remembers broker-b must not meet another one.
func TestNamesAreUsedOnce(t *testing.T) {
	st, err := plan(Spec{BasePort: 20000, Nodes: 1, Groups: 2, Flush: FlushSync})
	require.NoError(t, err)
	before := st.Brokers
	st = st.withoutGroup("broker-b")
	require.Equal(t, "n1", before[1].ID, "the old state is untouched")
	added, err := st.addGroup()
	require.NoError(t, err)
	require.Equal(t, "broker-c", added[0].Group)
	require.Equal(t, "n2", added[0].ID)

	dir := t.TempDir()
	require.NoError(t, save(dir, st))
	again, err := load(dir)
	require.NoError(t, err)
	require.Equal(t, st, again)
	for range groupsMax - 3 {
		_, err = again.addGroup()
		require.NoError(t, err)
	}
	_, err = again.addGroup()
	require.ErrorContains(t, err, "has had 8 groups")
}

func TestUpAgainWithMoreGroups(t *testing.T) {
	dir := t.TempDir()
	spec := Spec{BasePort: 20000, Nodes: 3, Flush: FlushSync}
	st, err := plan(spec)
	require.NoError(t, err)
	require.NoError(t, save(dir, st))
	spec.Groups = 2
	want, err := plan(spec)
	require.NoError(t, err)
	got, err := claim(dir, want)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, save(dir, got))
	_, err = claim(dir, st)
	require.ErrorContains(t, err, "holds 2 groups (broker-a, broker-b), not 1")
}

// TestStateOfAnEarlierVersion had one group and did not count.
func TestStateOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	text := `{"kind":"` + stateMarker + `","format":1,"basePort":20000,"nodes":1,"flush":"sync","brokers":[{"id":"n0","addr":"127.0.0.1:21035","raftAddr":"127.0.0.1:21040","pid":0,"started":""}]}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o644))
	st, err := load(dir)
	require.NoError(t, err)
	require.Equal(t, []string{BrokerName}, st.groups())
	added, err := st.addGroup()
	require.NoError(t, err)
	require.Equal(t, "n1", added[0].ID)
	require.Equal(t, "broker-b", added[0].Group)
}

func TestAGroupIsAddedWhereItsPortsAreFree(t *testing.T) {
	base, err := FreeBasePort(4)
	require.NoError(t, err)
	st, err := plan(Spec{BasePort: base, Nodes: 1, Flush: FlushSync})
	require.NoError(t, err)
	l, err := net.Listen("tcp", st.at("n1", base+listenShift+memberShift))
	require.NoError(t, err)
	defer l.Close()
	added, err := st.addGroupWhereFree()
	require.NoError(t, err)
	require.Equal(t, "n2", added[0].ID, "the number of the taken port is passed over")
	require.Equal(t, added, st.group("broker-b"))
}
