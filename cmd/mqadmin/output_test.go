package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func TestYAMLHasTheFieldsOfJSON(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printYAML(&out, []memberRow{{Cluster: "c", Broker: "true", Addr: "1.2.3.4:10911", BrokerID: 3, Error: "a: b"}}))
	require.Equal(t, `- cluster: c
  broker: "true"
  brokerId: 3
  addr: 1.2.3.4:10911
  error: 'a: b'
`, out.String())
	out.Reset()
	require.NoError(t, printYAML(&out, map[string]any{"none": []string{}, "text": "12"}))
	require.Equal(t, "none: []\ntext: \"12\"\n", out.String())
}

func TestAnEmptyListIsAList(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printRows(&out, formatJSON, []groupRow(nil), []string{"GROUP"}, groupRow.columns))
	require.Equal(t, "[]\n", out.String())
	out.Reset()
	require.NoError(t, printRows(&out, formatTable, []groupRow(nil), []string{"GROUP"}, groupRow.columns))
	require.Equal(t, "GROUP\n", out.String())
}

func TestNoColourWhereNobodySeesIt(t *testing.T) {
	require.Equal(t, "ok", paint(&bytes.Buffer{}, green, "ok"))
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]int64{
		"earliest": earliest, "latest": latest, "now": latest, "30m": now.Add(-30 * time.Minute).UnixMilli(), "-1h": now.Add(-time.Hour).UnixMilli(),
		"1700000000000": 1700000000000, "2026-11-28T11:00:00Z": now.Add(-time.Hour).UnixMilli(),
		"2026-11-28T11:00:00": time.Date(2026, 11, 28, 11, 0, 0, 0, time.Local).UnixMilli(),
	} {
		got, err := parseWhen(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "tomorrow", "-5", "0s", "2026-13-01"} {
		_, err := parseWhen(text, now)
		require.ErrorContains(t, err, "is no time", text)
	}
}

// What doctor says of a cluster that is not well, from the tables of its brokers.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	member := func(id int64, skew time.Duration, table map[string]string) patient {
		return patient{target: target{"c", "broker-a", id, "10.0.0." + string(rune('1'+id)) + ":10911"}, runtime: table, skew: skew, timed: true}
	}
	leader := member(0, 0, map[string]string{"raftLeaderId": "n0", "commitLogDiskRatio": "0.80", "brokerVersionDesc": "V4_9_4"})
	behind := member(1, -3*time.Second, map[string]string{"raftLeaderId": "n1", "commitLogDiskRatio": "0.95", "brokerVersionDesc": "V4_9_3", "registered": "false"})
	d := &doctor{}
	d.leaders([]target{leader.target, behind.target}, []patient{leader, behind})
	d.clocks([]patient{leader, behind})
	d.disks([]patient{leader, behind})
	d.versions([]patient{leader, behind})
	var out bytes.Buffer
	require.NoError(t, d.print(&out))
	for _, want := range []string{
		"warn  leader           the members of broker-a name 2 different leaders",
		"fail  registration     broker-a (10.0.0.2:10911) could not register",
		"warn  clock            the clock of broker-a (10.0.0.2:10911) is 3s behind that of its leader 10.0.0.1:10911",
		"(CMQ-1017)", "warn  disk             broker-a (10.0.0.1:10911): 80 % used", "fail  disk             broker-a (10.0.0.2:10911): 95 % used",
		"warn  version          brokers speak as V4_9_3 and V4_9_4",
	} {
		require.Contains(t, out.String(), want)
	}
	d = &doctor{}
	d.leaders([]target{behind.target}, []patient{behind})
	require.Equal(t, broken, d.findings[len(d.findings)-1].Verdict, "nobody is registered as the leader")

	d = &doctor{}
	leader.runtime["raftSelfId"] = "n0"
	d.missing("broker-a", &protocol.GroupMembers{Members: []protocol.GroupMember{{ID: "n0"}, {ID: "n1"}}}, []patient{leader})
	require.Equal(t, finding{"members", suspect, "1 of the 2 members of broker-a are not registered: n1", d.findings[0].Remedy}, d.findings[0])

	d = &doctor{}
	d.examine(t.Context(), source{err: errors.New("no profile is named x")})
	require.Len(t, d.findings, 1)
}

func TestTailFormat(t *testing.T) {
	require.ErrorContains(t, (&tailOptions{format: "%x", output: formatTable}).check(), "behind a percent sign")
	require.ErrorContains(t, (&tailOptions{format: "50%", output: formatTable}).check(), "behind a percent sign")
	require.ErrorContains(t, (&tailOptions{format: "%b", output: formatJSON}).check(), "not both")
	require.ErrorContains(t, (&tailOptions{from: "1h", fromEnd: true, output: formatTable}).check(), "not both")
	require.NoError(t, (&tailOptions{format: `%t\t%o 100%%\n`, output: formatTable}).check())
}

// The keys that are said to be ours are settings, and every setting is explained.
func TestSettingsAreComplete(t *testing.T) {
	known := map[string]bool{}
	for _, s := range allSettings() {
		known[s.Key] = true
		require.False(t, s.Inert == "" && s.Allowed == "", "%s has no line about what is allowed", s.Key)
	}
	for _, key := range ownKeys {
		require.True(t, known[key], key)
	}
}

// Every line of the cheat sheet is a command line that exists.
func TestCheatSheet(t *testing.T) {
	for line := range strings.Lines(cheatSheet) {
		text, ok := strings.CutPrefix(line, "  mqadmin ")
		if !ok {
			continue
		}
		text, _, _ = strings.Cut(text, "   ")
		args := strings.Fields(text)
		cmd, rest, err := newRoot().Find(args)
		require.NoError(t, err, line)
		require.True(t, cmd.Runnable(), line)
		require.NoError(t, cmd.ParseFlags(rest), line)
		require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
	}
}
