package store

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

// lightRecord encodes a message that can be read from light queues, too.
func lightRecord(t testing.TB, topic, body, names string, ms int64) []byte {
	t.Helper()
	m := message.Message{Topic: topic, Body: []byte(body), StoreTimestamp: ms, BornHost: testHost, StoreHost: testHost}
	m.Properties = message.AppendProperty(m.Properties, message.PropertyTags, "t")
	m.Properties = message.AppendProperty(m.Properties, message.PropertyInnerMultiDispatch, names)
	m.Properties = message.AppendLightOffsets(m.Properties, strings.Count(names, ",")+1)
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	return b
}

// seen is what a reader of a light queue sees of a message.
type seen struct {
	body, topic string
	offset      message.QueueOffset // in its own queue
	light       string              // offsets in its light queues
}

func (r *rig) light(name string) []seen {
	r.t.Helper()
	var got []seen
	first, end := r.store.QueueRange(name, 0)
	for from := first; from < end; {
		res := r.store.Get(GetRequest{Topic: name, Offset: from, MaxMessages: 2})
		require.NoError(r.t, res.Err)
		require.Equal(r.t, Found, res.Status)
		for _, m := range split(r.t, res.Messages) {
			got = append(got, seenOf(m))
		}
		from = res.Next
	}
	return got
}

func seenOf(m message.Stored) seen {
	text, _ := m.Property(message.PropertyInnerMultiQueueOffset)
	var offsets []string
	for number := range strings.SplitSeq(string(text), ",") {
		n, err := strconv.Atoi(number)
		if err != nil {
			offsets = append(offsets, number)
			continue
		}
		offsets = append(offsets, strconv.Itoa(n))
	}
	return seen{string(m.Body()), string(m.Topic()), m.QueueOffset(), strings.Join(offsets, " ")}
}

// lightTraffic is a few messages of two topics in three light queues.
func lightTraffic(r *rig) {
	r.send(record(r.t, "T", 0, "plain", "", 1))
	r.send(lightRecord(r.t, "T", "one", "%LMQ%a,%LMQ%b,%LMQ%a", 2), lightRecord(r.t, "U", "two", "%LMQ%b", 3))
	r.send(lightRecord(r.t, "T", "three", "%LMQ%c,%LMQ%b", 4))
}

var lightWant = map[string][]seen{
	"%LMQ%a": {{"one", "T", 1, "0 0 0"}},
	"%LMQ%b": {{"one", "T", 1, "0 0 0"}, {"two", "U", 0, "1"}, {"three", "T", 2, "0 2"}},
	"%LMQ%c": {{"three", "T", 2, "0 2"}},
	"T":      {{"plain", "T", 0, ""}, {"one", "T", 1, "0 0 0"}, {"three", "T", 2, "0 2"}},
	"U":      {{"two", "U", 0, "1"}},
}

func (r *rig) requireLight(want map[string][]seen) {
	r.t.Helper()
	for name, messages := range want {
		require.Equal(r.t, messages, r.light(name), name)
	}
}

func (r *rig) requireSound() VerifyReport {
	r.t.Helper()
	disk := r.disk.CrashClone(vfs.CrashOptions{})
	cfg := testConfig(disk, r.kv.Clone(), nil)
	cfg.SegmentSize = 0
	report, err := Verify(cfg)
	require.NoError(r.t, err)
	require.True(r.t, report.OK, "%v", report.Problems)
	return report
}

func TestLightQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lightTraffic(r)
	r.requireLight(lightWant)
	var woken []string
	for _, a := range r.arrivals {
		woken = append(woken, a.Topic+" "+strconv.Itoa(int(a.Offset)))
		require.Equal(t, a.Message.TagsCode(), a.TagsCode)
	}
	require.Equal(t, []string{"T 0", "T 1", "%LMQ%a 0", "%LMQ%b 0", "U 0", "%LMQ%b 1", "T 2", "%LMQ%c 0", "%LMQ%b 2"}, woken)
	have, missing := r.store.LightQueues([]string{"%LMQ%a", "%LMQ%d", "%LMQ%d"})
	require.Equal(t, []int{3, 1}, []int{have, missing})

	phy, ok := r.store.PhyAt("%LMQ%b", 0, 2)
	require.True(t, ok)
	m, err := r.store.MessageAt(phy)
	require.NoError(t, err)
	require.Equal(t, seen{"three", "T", 2, "0 2"}, seenOf(m))
	require.Equal(t, phy, m.PhyOffset())
	require.EqualValues(t, 1, r.store.OffsetByTime("%LMQ%b", 0, 3, AtOrAfter))

	// A filter is shown the record as it is, and what it takes is filled in.
	res := r.store.Get(GetRequest{Topic: "%LMQ%b", Match: func(code int64, rec message.Stored) bool {
		return code == message.TagsCode([]byte("t")) && (rec == nil || string(rec.Topic()) == "U")
	}})
	require.Equal(t, []seen{{"two", "U", 0, "1"}}, []seen{seenOf(split(t, res.Messages)[0])})
}

// What a restart replays, what it finds in a checkpoint and what it builds again
// from the log are the same light queues.
func TestLightQueuesSurvive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lightTraffic(r)
	r.reopen(vfs.CrashOptions{})
	r.requireLight(lightWant)
	r.checkpoint()
	r.reopen(vfs.CrashOptions{})
	r.requireLight(lightWant)
	report := r.requireSound()
	require.EqualValues(t, 4, report.Messages)
	require.EqualValues(t, 9, report.QueueEntries)
	have, _ := r.store.LightQueues(nil)
	require.Equal(t, 3, have)

	names, err := r.disk.ReadDir("store/consumequeue")
	require.NoError(t, err)
	require.Len(t, names, 5)
	for _, name := range names {
		require.NoError(t, r.disk.Remove("store/consumequeue/"+name))
	}
	r.reopen(vfs.CrashOptions{})
	r.requireLight(lightWant)
	r.requireSound()
	r.send(lightRecord(t, "U", "four", "%LMQ%a", 5))
	require.Equal(t, []seen{{"one", "T", 1, "0 0 0"}, {"four", "U", 1, "1"}}, r.light("%LMQ%a"))
}

// A light queue that is deleted begins again at 0, also when its files are built
// again; a topic that is deleted leaves its messages to the light queues.
func TestDeletedLightQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lightTraffic(r)
	r.send(AppendCommand(nil, opDelete, []byte("%LMQ%b")))
	have, missing := r.store.LightQueues([]string{"%LMQ%b"})
	require.Equal(t, []int{2, 1}, []int{have, missing})
	r.send(AppendCommand(nil, opDelete, []byte("T")))
	r.send(lightRecord(t, "U", "four", "%LMQ%b", 5))
	want := map[string][]seen{
		"%LMQ%a": {{"one", "T", 0, "0 0 0"}},
		"%LMQ%b": {{"four", "U", 1, "0"}},
		"%LMQ%c": {{"three", "T", 0, "0 0"}},
	}
	r.requireLight(want)
	r.checkpoint()
	names, err := r.disk.ReadDir("store/consumequeue")
	require.NoError(t, err)
	for _, name := range names {
		require.NoError(t, r.disk.Remove("store/consumequeue/"+name))
	}
	r.reopen(vfs.CrashOptions{})
	r.requireLight(want)
	r.requireSound()
}

// The head of the log goes, and with it what light queues point at; what is left
// keeps its offsets, and a queue with nothing left is empty and goes on.
func TestLightQueuesAndRetention(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, disk: vfs.NewMem(), kv: NewMemKV(), next: 1, segment: 4 << 10}
	r.open()
	r.send(lightRecord(t, "T", "first", "%LMQ%gone,%LMQ%stays", 1))
	for r.store.Log().Segments()[0].Base == r.store.Log().Segments()[len(r.store.Log().Segments())-1].Base {
		r.send(record(t, "T", 0, strings.Repeat("x", 500), "", 2))
	}
	r.send(lightRecord(t, "U", "last", "%LMQ%stays", 3))
	r.checkpoint()
	r.disk.SetUsage(vfs.Usage{Total: 100})
	done, err := r.store.CleanExpired(CleanRequest{Retention: DefaultRetention()})
	require.NoError(t, err)
	require.NotEmpty(t, done.Segments)
	for range 2 {
		first, end := r.store.QueueRange("%LMQ%gone", 0)
		require.Equal(t, []message.QueueOffset{1, 1}, []message.QueueOffset{first, end})
		require.Equal(t, OffsetTooSmall, r.store.Get(GetRequest{Topic: "%LMQ%gone"}).Status)
		require.Equal(t, []seen{{"last", "U", 0, "1"}}, r.light("%LMQ%stays"))
		r.requireSound()
		r.checkpoint()
		require.NoError(t, r.disk.RemoveAll("store/consumequeue"))
		r.reopen(vfs.CrashOptions{})
	}
	r.send(lightRecord(t, "U", "new", "%LMQ%gone", 4))
	require.Equal(t, []seen{{"new", "U", 1, "1"}}, r.light("%LMQ%gone"))
}
