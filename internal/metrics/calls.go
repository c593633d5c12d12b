package metrics

import (
	"time"

	"github.com/cometmq/cometmq/internal/histogram"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Calls counts answered requests by code and status (RocketMQ 5's
// rocketmq_rpc_latency). Its size is bounded by the codes that are known: clients
// choose the numbers, and all others are one.
type Calls struct {
	known func(code int32) bool
	table *Table[call, histogram.Histogram]
}

type call struct {
	code, status int32
	held, oneway bool
}

const (
	callsMax    = 8192
	codeUnknown = -1
)

// callBounds are RocketMQ 5's ranges and some shorter ones, in nanoseconds: a
// message here is answered in well below a millisecond.
var callBounds = func() (ns []int64) {
	for _, us := range []int64{100, 250, 500, 1000, 2000, 3000, 5000, 7000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000, 3_000_000} {
		ns = append(ns, us*int64(time.Microsecond))
	}
	return ns
}()

// NewCallHistogram returns a histogram with the ranges of Calls.
func NewCallHistogram() *histogram.Histogram { return histogram.New(callBounds...) }

// NewCalls returns empty counts of the codes that known tells.
func NewCalls(known func(code int32) bool) *Calls {
	return &Calls{known: known, table: NewTable[call](callsMax, NewCallHistogram)}
}

// Observe counts one request; it is a remoting.ServerConfig.Answered.
func (c *Calls) Observe(o remoting.Outcome) {
	key := call{o.Code, o.Status, o.Held, o.Oneway}
	if !c.known(o.Code) {
		key.code = codeUnknown
	}
	if h := c.table.At(key); h != nil {
		h.Observe(int64(o.Took))
	}
}

// CallLabels are the labels of a family for Write.
var CallLabels = []string{"protocol_type", "request_code", "response_code", "is_long_polling", "result"}

// Write writes the counts into a family with CallLabels, in milliseconds.
func (c *Calls) Write(w *Writer, f *Family) {
	snaps := map[call]histogram.Snapshot{} // because writing takes long
	c.table.Each(func(k call, h *histogram.Histogram) { snaps[k] = h.Snapshot() })
	for k, s := range snaps {
		result, held := "success", "false"
		if k.oneway {
			result = "oneway"
		}
		if k.held {
			held = "true"
		}
		w.Histogram(f, s, float64(time.Millisecond), "remoting", protocol.CodeName(k.code), protocol.StatusName(k.status), held, result)
	}
}
