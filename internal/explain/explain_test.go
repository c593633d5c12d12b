package explain

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/errors.md from the catalogue")

const docsFile = "../../docs/errors.md"

// said is every problem as somebody could meet it.
func said() map[*Problem]string {
	cause := errors.New("connection refused")
	texts := map[*Problem]string{
		diskNearlyFull: DiskNearlyFull("/data", 91.3, 90, 72, "04"), diskNoRoom: DiskNoRoom("/data", 80, 300<<20),
		notLeader:   NotLeader("broker-a/n0", "follower", 7, "n2 at 192.168.1.9:10911"),
		noLeader:    NoLeader("no quorum: n1, n2 unreachable", "broker-a/n0", "candidate", 8),
		peersDiffer: PeersDiffer("n0,n1,n2", "n0,n1,n3"), clockSkew: ClockSkew("broker-a n1", "the leader", -3*time.Second),
		visitor: Visitor("mqbroker broker-a"),
	}
	for _, err := range []error{
		NoNameServer(cause, "10.0.0.5:9876", "10.0.0.5:9876 connection refused"), NameServerIsBroker(nil, "10.0.0.5:10911", "broker-a", "10.0.0.5:9876"),
		BrokerUnreachable(cause, "broker-a", "172.17.0.3:10911"), BrokerIsNameServer(nil, "10.0.0.5:9876"), NotRemoting(cause, "10.0.0.5:22"),
		UnknownTopic(cause, "oders", 1, []string{"orders"}), PortInUse(cause, "0.0.0.0:10911", "listenPort"), UnknownGroup("biling", 2, []string{"billing"}),
		StoreLocked(cause, "/data", 0), UnknownSelf(cause, "n3", "n0,n1,n2"),
		OtherStore(errors.New("/data belongs to cluster c")), BadConfig(errors.New(`listenPort="x" is not allowed`)),
		UnknownKey("flushDisktype", []string{"flushDiskType"}),
	} {
		texts[Of(err)] = err.Error()
	}
	return texts
}

func TestEveryProblemIsSaidWhole(t *testing.T) {
	texts := said()
	last := 1000
	for _, p := range All() {
		number, err := strconv.Atoi(strings.TrimPrefix(p.Code, "CMQ-"))
		require.NoError(t, err)
		require.Equal(t, last+1, number, "codes are given out in order")
		last = number
		require.Contains(t, texts, p, "no function says %s", p.Code)
		require.NotRegexp(t, `[{}]`, texts[p], "a fact is missing")
		require.True(t, strings.HasSuffix(texts[p], " ("+p.Code+")"), texts[p])
		for what, s := range map[string]string{"title": p.Title, "speaker": p.Said, "why": p.Why, "remedy": p.Do} {
			require.NotEmpty(t, s, "%s has no %s", p.Code, what)
		}
	}
	require.Len(t, texts, len(All()))
}

// TestDocs makes docs/errors.md of the catalogue, so that it cannot say
// anything else.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Errors\n\nWhat our programs say when something is wrong, by the code at the end of the text. Made of `internal/explain` by\n" +
		"`go test ./internal/explain -update`; a test compares it. `{…}` stands for what is known in the case.\n")
	for _, p := range All() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** Said by %s.", p.Code, p.Title, p.Said)
		if p.Exit != 0 {
			fmt.Fprintf(&b, " Exit code %d.", p.Exit)
		}
		fmt.Fprintf(&b, "\n\n> %s\n\n%s\n\n%s\n", p.Text, p.Why, p.Do)
	}
	if *update {
		require.NoError(t, os.WriteFile(docsFile, []byte(b.String()), 0o644))
	}
	got, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	require.True(t, b.String() == string(got), "docs/errors.md is behind the catalogue; run: go test ./internal/explain -update")
}

func TestExitCode(t *testing.T) {
	cause := errors.New("taken")
	err := fmt.Errorf("start: %w", PortInUse(cause, ":10911", "listenPort"))
	require.Equal(t, ExitPortInUse, ExitCode(err, 1))
	require.ErrorIs(t, err, cause)
	require.Equal(t, 1, ExitCode(cause, 1))
	require.Nil(t, Of(cause))
	require.Equal(t, "cmq-1007", Of(err).Anchor())
}

func TestPortOwnerIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		require.Equal(t, "another process", portOwner(l.Addr().String()))
		return // no such tables on this system
	}
	want := regexp.QuoteMeta(fmt.Sprintf("pid %d (%s, started ", os.Getpid(), strings.TrimSpace(string(name)))) + `\d\d:\d\d\)$`
	require.Regexp(t, "^"+want, portOwner(l.Addr().String()))
	require.Equal(t, "another process", portOwner("127.0.0.1:0"))
	require.Contains(t, StoreLocked(nil, "/data", os.Getpid()).Error(), "is locked by pid "+strconv.Itoa(os.Getpid()))
}

func TestReason(t *testing.T) {
	_, err := net.Dial("tcp", "127.0.0.1:1")
	require.Equal(t, "connection refused", Reason(err))
	require.Equal(t, "no answer in time", Reason(fmt.Errorf("ask: %w", context.DeadlineExceeded)))
	require.Equal(t, "no route to host", Reason(&net.OpError{Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}))
	require.Equal(t, "no answer", Reason(nil))
	require.Equal(t, "the name nowhere.invalid cannot be resolved", Reason(&net.DNSError{Name: "nowhere.invalid"}))
	require.Equal(t, "odd", Reason(errors.New("odd")))
}

func TestSimilar(t *testing.T) {
	names := []string{"orders", "payments", "orders-dead", "o", "orders"}
	require.Equal(t, []string{"orders"}, Similar("oders", names))
	require.Equal(t, []string{"orders", "orders-dead"}, Similar("order", names))
	require.Empty(t, Similar("zebra", names))
	require.Empty(t, Similar("orders", []string{"orders"}), "itself is no suggestion")
	require.Equal(t, []string{"flushDiskType"}, Similar("flushDisktype", []string{"flushDiskType", "listenPort"}))
	require.Len(t, Similar("topic", []string{"topic1", "topic2", "topic3", "topic4"}), similarMax)
}
