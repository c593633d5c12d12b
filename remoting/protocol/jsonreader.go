package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// Kind is what a Value is.
type Kind uint8

// Kinds of values. The zero Value is KindNull, which also stands for "absent".
const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

// Value is a node of parsed fastjson text. Accessors never fail: a value of
// another kind, or an absent one, reads as zero, because every RocketMQ client
// leaves out or retypes something.
type Value struct {
	kind Kind
	text []byte // string content, or the bare word of a number or boolean
	// list holds the elements of an array, or keys and values in turns of an object.
	list []Value
}

// JSONLimits bounds what ParseJSON builds. A zero field means its default.
type JSONLimits struct {
	DepthMax int // nesting, 32
	NodesMax int // values and keys together, 1 Mi (each costs some 56 bytes)
}

// ParseJSON reads fastjson's dialect: standard JSON, and besides it bare numbers
// and objects as keys, raw control characters in strings. Strings alias body
// or, where it holds escapes, a copy of it: bodies are also forwarded, and compared
// by digest, after they were read. Errors wrap ErrBody or ErrTooLarge.
func ParseJSON(body []byte, lim JSONLimits) (Value, error) {
	if lim.DepthMax <= 0 {
		lim.DepthMax = 32
	}
	if lim.NodesMax <= 0 {
		lim.NodesMax = 1 << 20
	}
	if bytes.IndexByte(body, '\\') >= 0 {
		body = bytes.Clone(body) // escapes are resolved in place
	}
	p := jsonParser{scanner: scanner{b: body}, depth: lim.DepthMax, nodes: lim.NodesMax}
	v, err := p.value()
	if err != nil {
		return Value{}, err
	}
	if p.space(); p.i != len(p.b) {
		return Value{}, p.fail("the end")
	}
	return v, nil
}

// jsonParser counts down what is still allowed.
type jsonParser struct {
	scanner
	depth, nodes int
}

func (p *jsonParser) fail(want string) error {
	return fmt.Errorf("%w: expected %s at byte %d of %d", ErrBody, want, p.i, len(p.b))
}

func (p *jsonParser) value() (Value, error) {
	if p.nodes--; p.nodes < 0 {
		return Value{}, fmt.Errorf("%w: JSON body with too many values", ErrTooLarge)
	}
	switch p.space() {
	case '"':
		text, ok := p.text()
		if !ok {
			return Value{}, p.fail("a complete string")
		}
		return Value{kind: KindString, text: text}, nil
	case '{':
		return p.list(KindObject, '}')
	case '[':
		return p.list(KindArray, ']')
	}
	tok := p.token()
	switch {
	case string(tok) == "null":
		return Value{}, nil
	case string(tok) == "true", string(tok) == "false":
		return Value{kind: KindBool, text: tok}, nil
	case validBare(tok):
		return Value{kind: KindNumber, text: tok}, nil
	}
	return Value{}, p.fail("a value")
}

// list reads the rest of an array or object that begins at the current byte.
func (p *jsonParser) list(kind Kind, end byte) (Value, error) {
	if p.depth--; p.depth < 0 {
		return Value{}, fmt.Errorf("%w: JSON body nested too deep", ErrTooLarge)
	}
	p.i++
	v := Value{kind: kind}
	for first := true; ; first = false {
		if p.accept(end) {
			p.depth++
			return v, nil
		}
		if !first && !p.accept(',') {
			return Value{}, p.fail("a comma")
		}
		item, err := p.value()
		if err != nil {
			return Value{}, err
		}
		v.list = append(v.list, item)
		if kind == KindArray {
			continue
		}
		if !p.accept(':') {
			return Value{}, p.fail("a colon")
		}
		if item, err = p.value(); err != nil {
			return Value{}, err
		}
		v.list = append(v.list, item)
	}
}

// Kind returns what the value is.
func (v Value) Kind() Kind { return v.kind }

// Get returns the value of a string key, the last of several; absent keys give
// a null value.
func (v Value) Get(key string) Value {
	if v.kind == KindObject {
		for i := len(v.list) - 2; i >= 0; i -= 2 {
			if v.list[i].kind == KindString && string(v.list[i].text) == key {
				return v.list[i+1]
			}
		}
	}
	return Value{}
}

// Items returns the elements of an array, nil for other kinds.
func (v Value) Items() []Value {
	if v.kind == KindArray {
		return v.list
	}
	return nil
}

// Len returns the number of elements of an array or members of an object.
func (v Value) Len() int {
	if v.kind == KindObject {
		return len(v.list) / 2
	}
	return len(v.Items())
}

// Each calls fn for every member of an object in order. Keys are strings,
// numbers or objects.
func (v Value) Each(fn func(key, value Value)) {
	if v.kind == KindObject {
		for i := 0; i+1 < len(v.list); i += 2 {
			fn(v.list[i], v.list[i+1])
		}
	}
}

// Str returns the text of a string, number or boolean, copied.
func (v Value) Str() string { return string(v.text) }

// StrOr is Str with another result for absent and empty text.
func (v Value) StrOr(absent string) string {
	if len(v.text) == 0 {
		return absent
	}
	return string(v.text)
}

// Int64 returns a whole number, given bare or in quotes; a fraction is cut off.
func (v Value) Int64() int64 {
	if n, ok := parseInt64(v.text); ok {
		return n
	}
	f := v.Float64()
	// Only a range that surely converts; the rest reads as zero.
	if f >= -1<<62 && f <= 1<<62 {
		return int64(f)
	}
	return 0
}

// Int32 is Int64 for 32 bits; a number out of range reads as zero.
func (v Value) Int32() int32 {
	n := v.Int64()
	if n != int64(int32(n)) {
		return 0
	}
	return int32(n)
}

// Float64 returns a number, given bare or in quotes.
func (v Value) Float64() float64 {
	if len(v.text) == 0 || len(v.text) > 64 {
		return 0
	}
	f, err := strconv.ParseFloat(string(v.text), 64)
	if err != nil {
		return 0
	}
	return f
}

// Bool reports whether the value is true, bare or in quotes.
func (v Value) Bool() bool { return parseBool(v.text) }

// BoolOr is Bool with another result for an absent value.
func (v Value) BoolOr(absent bool) bool {
	if v.kind == KindNull {
		return absent
	}
	return v.Bool()
}

// Strs returns the texts of an array's elements.
func (v Value) Strs() []string {
	items := v.Items()
	if items == nil {
		return nil
	}
	out := make([]string, 0, len(items))
	for _, it := range items {
		out = append(out, it.Str())
	}
	return out
}

// StrMap returns an object as a map of texts; never nil.
func (v Value) StrMap() map[string]string {
	m := make(map[string]string, v.Len())
	v.Each(func(k, val Value) { m[k.Str()] = val.Str() })
	return m
}

// Queue reads a message queue: an object, or a string that holds the text of one
// (both are accepted as keys by Java).
func (v Value) Queue() MessageQueue {
	if v.kind == KindString && len(v.text) > 0 && v.text[0] == '{' {
		// A copy, because parsing rewrites and this value may be read twice.
		inner, err := ParseJSON(slices.Clone(v.text), JSONLimits{DepthMax: 2, NodesMax: 32})
		if err != nil {
			return MessageQueue{}
		}
		v = inner
	}
	return MessageQueue{
		Topic:      v.Get("topic").Str(),
		BrokerName: v.Get("brokerName").Str(),
		QueueID:    v.Get("queueId").Int32(),
	}
}

// queues reads an array of message queues.
func (v Value) queues() []MessageQueue {
	out := make([]MessageQueue, 0, v.Len())
	for _, it := range v.Items() {
		out = append(out, it.Queue())
	}
	return out
}

// queueOffsets reads a map from queue to offset, in fastjson's form or in
// Gson's ([[{queue},5],…]) that Go clients send too.
func (v Value) queueOffsets() map[MessageQueue]int64 {
	m := make(map[MessageQueue]int64, v.Len())
	v.Each(func(k, val Value) { m[k.Queue()] = val.Int64() })
	for _, pair := range v.Items() {
		if kv := pair.Items(); len(kv) == 2 {
			m[kv[0].Queue()] = kv[1].Int64()
		} else if pair.kind == KindObject {
			m[pair.Queue()] = pair.Get("offset").Int64() // the C++ list form
		}
	}
	return m
}

// intOffsets reads a map from a number, bare or quoted, to an offset.
func (v Value) intOffsets() map[int32]int64 {
	m := make(map[int32]int64, v.Len())
	v.Each(func(k, val Value) { m[k.Int32()] = val.Int64() })
	return m
}

// parseObject parses a body that must be an object.
func parseObject(body []byte, lim JSONLimits) (Value, error) {
	v, err := ParseJSON(body, lim)
	if err == nil && v.kind != KindObject {
		err = fmt.Errorf("%w: a JSON object expected", ErrBody)
	}
	return v, err
}
