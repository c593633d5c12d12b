package protocol

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
)

// jsonWriter appends fastjson's dialect: compact, bare integers and whole
// objects allowed as keys. The callers write keys in alphabetical order, because
// some third-party clients search the text instead of parsing it.
type jsonWriter struct {
	b     []byte
	comma bool // a separator is due before the next key or element
}

func (w *jsonWriter) open(ch byte) {
	w.sep()
	w.b = append(w.b, ch)
	w.comma = false
}

func (w *jsonWriter) close(ch byte) {
	w.b = append(w.b, ch)
	w.comma = true
}

func (w *jsonWriter) sep() {
	if w.comma {
		w.b = append(w.b, ',')
	}
}

// key writes a quoted key; the value follows without a separator.
func (w *jsonWriter) key(k string) {
	w.sep()
	w.b = append(appendJSONString(w.b, k), ':')
	w.comma = false
}

// intKey writes a bare integer key, or a quoted one for standard JSON.
func (w *jsonWriter) intKey(k int64, quoted bool) {
	w.sep()
	if quoted {
		w.b = append(strconv.AppendInt(append(w.b, '"'), k, 10), '"', ':')
	} else {
		w.b = append(strconv.AppendInt(w.b, k, 10), ':')
	}
	w.comma = false
}

// queueKey writes a message queue as an object key.
func (w *jsonWriter) queueKey(q MessageQueue) {
	w.queue(q)
	w.b = append(w.b, ':')
	w.comma = false
}

func (w *jsonWriter) str(v string) {
	w.sep()
	w.b = appendJSONString(w.b, v)
	w.comma = true
}

func (w *jsonWriter) int(v int64) {
	w.sep()
	w.b = strconv.AppendInt(w.b, v, 10)
	w.comma = true
}

func (w *jsonWriter) bool(v bool) {
	w.sep()
	w.b = strconv.AppendBool(w.b, v)
	w.comma = true
}

// float writes a number with a fraction, as Java prints doubles. JSON has no
// word for infinity, so that and NaN become 0.0.
func (w *jsonWriter) float(v float64) {
	w.sep()
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	at := len(w.b)
	w.b = strconv.AppendFloat(w.b, v, 'f', -1, 64)
	if !slices.Contains(w.b[at:], '.') {
		w.b = append(w.b, '.', '0')
	}
	w.comma = true
}

func (w *jsonWriter) strKV(k, v string)           { w.key(k); w.str(v) }
func (w *jsonWriter) intKV(k string, v int64)     { w.key(k); w.int(v) }
func (w *jsonWriter) boolKV(k string, v bool)     { w.key(k); w.bool(v) }
func (w *jsonWriter) floatKV(k string, v float64) { w.key(k); w.float(v) }

// strKVIf writes the pair only when v is not empty.
func (w *jsonWriter) strKVIf(k, v string) {
	if v != "" {
		w.strKV(k, v)
	}
}

// strs writes an array of strings; nil becomes [].
func (w *jsonWriter) strs(v []string) {
	w.open('[')
	for _, s := range v {
		w.str(s)
	}
	w.close(']')
}

// strMap writes a map of strings in sorted order; nil becomes {}.
func (w *jsonWriter) strMap(m map[string]string) {
	w.open('{')
	for _, k := range sortedKeys(m) {
		w.strKV(k, m[k])
	}
	w.close('}')
}

func (w *jsonWriter) queue(q MessageQueue) {
	w.open('{')
	w.strKV("brokerName", q.BrokerName)
	w.intKV("queueId", int64(q.QueueID))
	w.strKV("topic", q.Topic)
	w.close('}')
}

// queueOffsets writes a map from queue to offset.
func (w *jsonWriter) queueOffsets(m map[MessageQueue]int64) {
	w.open('{')
	for _, q := range sortedQueues(m) {
		w.queueKey(q)
		w.int(m[q])
	}
	w.close('}')
}

// intOffsets writes a map from queue id or level to offset.
func (w *jsonWriter) intOffsets(m map[int32]int64) {
	w.open('{')
	for _, k := range sortedKeys(m) {
		w.intKey(int64(k), false)
		w.int(m[k])
	}
	w.close('}')
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// sortedQueues orders by topic, broker and queue id.
func sortedQueues[V any](m map[MessageQueue]V) []MessageQueue {
	return slices.SortedFunc(maps.Keys(m), func(a, b MessageQueue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.BrokerName, b.BrokerName),
			cmp.Compare(a.QueueID, b.QueueID))
	})
}

// appendJSON runs body on a writer that appends to dst.
func appendJSON(dst []byte, body func(w *jsonWriter)) []byte {
	w := jsonWriter{b: dst}
	body(&w)
	return w.b
}
