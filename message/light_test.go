package message

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var lightHost = netip.MustParseAddrPort("127.0.0.1:10911")

// lightRecord is a stored message of a topic that names light queues, as a leader
// makes it, with more properties before and after.
func lightRecord(t testing.TB, topic, names string, room []byte) Stored {
	t.Helper()
	props := AppendProperty([]byte("TAGS\x01a"), PropertyInnerMultiDispatch, names)
	m := Message{Topic: topic, Body: []byte("body"), Properties: append(props, room...), BornHost: lightHost, StoreHost: lightHost}
	rec, err := m.AppendStored(nil)
	require.NoError(t, err)
	return rec
}

func TestLightQueues(t *testing.T) {
	for value, want := range map[string][]string{
		"": nil, " ": nil, ",,": nil,
		"%LMQ%a":                {"%LMQ%a"},
		"%LMQ%a,%LMQ%b,%LMQ%a,": {"%LMQ%a", "%LMQ%b", "%LMQ%a"},
	} {
		got, err := LightQueues([]byte(value))
		require.NoError(t, err, value)
		require.Equal(t, want, got, value)
	}
	full := strings.Repeat("%LMQ%a,", LightQueuesMax)
	_, err := LightQueues([]byte(full))
	require.NoError(t, err)
	for value, why := range map[string]string{
		"orders":             "cannot be a light queue",
		"%LMQ%":              "cannot be a light queue",
		"%LMQ%a,,%LMQ%b":     "cannot be a light queue",
		"%LMQ%a/b":           "cannot be a light queue",
		"%LMQ%a, %LMQ%b":     "cannot be a light queue",
		full + "%LMQ%b":      "more than 64 queues",
		"%LMQ%" + tooLong(t): "cannot be a light queue",
	} {
		_, err := LightQueues([]byte(value))
		require.ErrorIs(t, err, ErrName, value)
		require.ErrorContains(t, err, why, value)
	}
}

func tooLong(t testing.TB) string {
	t.Helper()
	return strings.Repeat("x", TopicBytesMax-len(LightPrefix)+1)
}

func TestRecordSaysWhichLightQueuesItIsIn(t *testing.T) {
	rec := lightRecord(t, "orders", "%LMQ%a,%LMQ%b,%LMQ%a", AppendLightOffsets(nil, 3))
	var seen []string
	for i := range 2 {
		seen = seen[:0]
		next := QueueOffset(7)
		rec.EachLightQueue(func(name []byte, at int, again bool) {
			if again {
				seen = append(seen, "again")
			}
			seen = append(seen, string(name))
			if i == 1 {
				PutLightOffset(rec, at, next)
				next *= 1_000_000_007
			}
		})
		require.Equal(t, []string{"%LMQ%a", "%LMQ%b", "again", "%LMQ%a"}, seen)
	}
	offsets, _ := rec.Property(PropertyInnerMultiQueueOffset)
	require.Equal(t, "00000000000000000007,00000000007000000049,07000000098000000343", string(offsets))
	require.Len(t, AppendLightOffsets(nil, 3), LightOffsetsSize(3))
}

// Whatever is not exactly what a leader makes is in its own queue only: what a
// client sent, what waits or comes again, and a copy that was filled in.
func TestRecordIsInNoLightQueue(t *testing.T) {
	const names = "%LMQ%a,%LMQ%b"
	room := AppendLightOffsets(nil, 2)
	filled := []byte(strings.Replace(string(room), ",00000000000000000000", ",00000000000000000001", 1))
	for what, rec := range map[string]Stored{
		"no room":           lightRecord(t, "orders", names, nil),
		"room for one":      lightRecord(t, "orders", names, AppendLightOffsets(nil, 1)),
		"room for three":    lightRecord(t, "orders", names, AppendLightOffsets(nil, 3)),
		"something behind":  lightRecord(t, "orders", names, append(room[:len(room):len(room)], "\x02CLUSTER\x01c"...)),
		"filled":            lightRecord(t, "orders", names, filled),
		"first one filled":  lightRecord(t, "orders", names, []byte(strings.Replace(string(room), "\x0100000000000000000000", "\x0100000000000000000001", 1))),
		"another separator": lightRecord(t, "orders", names, []byte(strings.Replace(string(room), ",", ";", 1))),
		"a topic":           lightRecord(t, "orders", "%LMQ%a,other", room),
		"no names":          lightRecord(t, "orders", ",", room),
		"retried":           lightRecord(t, RetryTopic("g"), names, room),
		"given up":          lightRecord(t, DLQTopic("g"), names, room),
		"waiting":           lightRecord(t, TopicSchedule, names, room),
		"waiting for long":  lightRecord(t, TimerTopic(5), names, room),
		"half":              lightRecord(t, TopicTransHalf, names, room),
		"in a light queue":  lightRecord(t, "%LMQ%c", names, room),
	} {
		rec.EachLightQueue(func(name []byte, _ int, _ bool) { require.Fail(t, what, "%s", name) })
	}
}

// FuzzEachLightQueue: no bytes of properties make it fail, and what it shows lies
// in the record.
func FuzzEachLightQueue(f *testing.F) {
	f.Add([]byte(lightRecord(f, "orders", "%LMQ%a,%LMQ%b", AppendLightOffsets(nil, 2)).Properties()))
	f.Add([]byte("INNER_MULTI_DISPATCH\x01,\x02INNER_MULTI_QUEUE_OFFSET\x0100000000000000000000"))
	f.Fuzz(func(t *testing.T, props []byte) {
		m := Message{Topic: "orders", Properties: props, BornHost: lightHost, StoreHost: lightHost}
		b, err := m.AppendStored(nil)
		if err != nil {
			return
		}
		rec := Stored(b)
		rec.EachLightQueue(func(name []byte, at int, _ bool) {
			require.NoError(t, ValidTopic(string(name)))
			require.True(t, IsLightQueue(string(name)))
			require.Equal(t, "00000000000000000000", string(rec[at:at+lightDigits]))
		})
	})
}

func BenchmarkEachLightQueueOfNone(b *testing.B) {
	rec := lightRecord(b, "orders", "%LMQ%a", []byte("\x02CLUSTER\x01DefaultCluster"))
	b.ReportAllocs()
	for b.Loop() {
		rec.EachLightQueue(func([]byte, int, bool) { b.Fail() })
	}
}
