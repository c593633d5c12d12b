package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/remoting"
)

// TestUnknownCodesAreOne: clients choose the number of a request, and must not be
// able to make as many series as there are numbers.
func TestUnknownCodesAreOne(t *testing.T) {
	t.Parallel()
	var fams Families
	f := fams.Add(Histogram, "x_latency", "X.", CallLabels...)
	calls := NewCalls(func(code int32) bool { return code == 310 })
	r, err := NewRegistry(Config{Families: &fams, Collect: func(w *Writer) { calls.Write(w, f) }})
	require.NoError(t, err)
	for code := range int32(1000) {
		calls.Observe(remoting.Outcome{Code: code, Status: 3, Took: time.Millisecond})
	}
	calls.Observe(remoting.Outcome{Code: 310, Took: time.Millisecond})
	calls.Observe(remoting.Outcome{Code: 310, Oneway: true, Held: true, Took: time.Second})
	text := scrape(t, r)
	for _, line := range []string{
		`x_latency_count{is_long_polling="false",protocol_type="remoting",request_code="unknown",response_code="request_code_not_supported",result="success"} 999`,
		`x_latency_count{is_long_polling="false",protocol_type="remoting",request_code="send_message_v2",response_code="request_code_not_supported",result="success"} 1`,
		`x_latency_count{is_long_polling="false",protocol_type="remoting",request_code="send_message_v2",response_code="success",result="success"} 1`,
		`x_latency_sum{is_long_polling="true",protocol_type="remoting",request_code="send_message_v2",response_code="success",result="oneway"} 1000`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Equal(t, 4, strings.Count(text, "x_latency_count{"))
}

// BenchmarkRequest is what metrics add to a send: the outcome of the request, and
// the size of its message by topic and type. 0.2 µs of processor time on the
// machine on which a send costs the broker 12 µs.
func BenchmarkRequest(b *testing.B) {
	type key struct {
		topic string
		kind  uint8
	}
	calls := NewCalls(func(code int32) bool { return code == 310 })
	sizes := NewTable[key](100, func() *histogram.Histogram { return histogram.New(1<<10, 4<<10, 512<<10, 1<<20, 2<<20, 4<<20) })
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			arrived := time.Now()
			sizes.At(key{"orders", 0}).Observe(200)
			calls.Observe(remoting.Outcome{Code: 310, Took: time.Since(arrived)})
		}
	})
}
