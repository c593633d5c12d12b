package metadata

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var addr = netip.MustParseAddrPort("10.0.0.1:10911")

// goldenCommands are in the order in which they are applied.
func goldenCommands() [][]byte {
	ordered := topic("T1", 300)
	ordered.Order, ordered.TopicSysFlag = true, 2
	ordered.Attributes = map[string]string{"+message.type": "FIFO", "a": ""}
	group := DefaultGroup("g1")
	group.RetryQueueNums, group.RetryMaxTimes, group.BrokerID = -1, 3, 2
	m := message.Message{Topic: "T1", Body: []byte("hello"), BornHost: addr, StoreHost: addr}
	rec, err := m.AppendStored(nil)
	if err != nil {
		panic(err)
	}
	queues := []protocol.MessageQueue{{Topic: "T1", BrokerName: "broker-a", QueueID: 0}, {Topic: "T1", BrokerName: "broker-a", QueueID: 299}}
	return [][]byte{
		AppendPutTopic(nil, topic("T0", 1), IfAbsent),
		AppendPutTopic(nil, ordered, Upsert),
		AppendDeleteTopic(nil, "T0"),
		AppendPutGroup(nil, group, Upsert),
		AppendPutGroup(nil, DefaultGroup("g2"), IfAbsent),
		AppendDeleteGroup(nil, "g2", true),
		AppendCommitOffsets(nil, []OffsetCommit{{"g1", "T1", 0, 5}, {"g1", "T1", 299, 1 << 40}, {"g1", "%RETRY%g1", 0, 0}}),
		AppendLockQueues(nil, "g1", "10.0.0.9@1#2", queues),
		AppendUnlockQueues(nil, "g1", "10.0.0.9@1#2", queues[1:]),
		AppendMature(nil, 18, 0, 1, rec),
		AppendAnnounce(nil, Member{"n0", "10.0.0.1:10911", 7}),
		AppendPrepare(nil, 3, halfRecord("pg", "a")),
		AppendCheck(nil, []HalfCheck{{Offset: 1}}),
		AppendPrepare(nil, 3, halfRecord("pg", "b", message.PropertyCheckImmunityTime, "30")),
		AppendEnd(nil, 1, 0, HalfCommitted, rec),
		AppendEnd(nil, 2, 0, HalfGivenUp, rec),
		AppendOnce(nil, OncePublish, MakeOnceKey("T1", "pg", "u1", 2), onceLimits, 299, rec, rec),
		AppendOnce(nil, OncePrepare, MakeOnceKey("T1", "pg", "u2", 1), onceLimits, 1, halfRecord("pg2", "c")),
		AppendPrepare(nil, 3, halfRecord("pg", "d")),
		AppendResume(nil, 2, halfRecord("pg", "b")),
		AppendForgetOnce(nil, 5),
		AppendFire(nil, goldenSlot, []Timer{{99, true}, {3, false}, {64, true}}, rec, rec),
		AppendFire(nil, goldenSlot+1, []Timer{{0, true}}, rec),
		AppendCloseSlot(nil, goldenSlot+1),
		AppendCleanTopic(nil, "gone"),
		AppendSecret(nil, "0123456789abcdef"),
		AppendPutSettings(nil, []Setting{{Key: "brokerPermission", Value: "4"}, {Key: "deduplicateTopics"}, {Key: "traceOn", Value: "false"}}),
		AppendPutSettings(nil, []Setting{{Key: "traceOn", Reset: true}}),
	}
}

const goldenSlot = 28_333_333

var onceLimits = OnceLimits{WindowMillis: 60_000, EntriesMax: 100}

// halfRecord is a half message as a prepare carries it.
func halfRecord(group, body string, props ...string) []byte {
	m := message.Message{Topic: message.TopicTransHalf, Body: []byte(body), BornHost: addr, StoreHost: addr}
	m.Properties = message.AppendProperty(nil, message.PropertyProducerGroup, group)
	for i := 0; i < len(props); i += 2 {
		m.Properties = message.AppendProperty(m.Properties, props[i], props[i+1])
	}
	rec, err := m.AppendStored(nil)
	if err != nil {
		panic(err)
	}
	return rec
}

// golden compares lines with a file under testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run with -update to make it")
	require.Equal(t, string(want), got, "the bytes are a promise to logs already written: bump the version instead")
}

func TestGoldenCommands(t *testing.T) {
	var lines []string
	for _, c := range goldenCommands() {
		lines = append(lines, hex.EncodeToString(c))
	}
	golden(t, "commands.hex", lines)
}

func TestGoldenStored(t *testing.T) {
	w := newWorld()
	everyCommand(t, w)
	stored := w.checkpoint()
	var lines []string
	for _, k := range sortedKeys(stored) {
		lines = append(lines, fmt.Sprintf("%q %x", k, stored[k]))
	}
	golden(t, "stored.txt", lines)
	require.Equal(t, observe(w.State), observe(w.reload(t).State))
}
