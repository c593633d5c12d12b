package filter

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
)

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindLong
	kindDouble
	kindString
)

// value is one operand. kindBool keeps its truth in i (0 or 1).
type value struct {
	kind kind
	i    int64
	f    float64
	s    []byte
}

func boolean(b bool) value {
	if b {
		return value{kind: kindBool, i: 1}
	}
	return value{kind: kindBool}
}

func (v value) isNumber() bool {
	return v.kind == kindInt || v.kind == kindLong || v.kind == kindDouble
}

func (v value) float() float64 {
	if v.kind == kindDouble {
		return v.f
	}
	return float64(v.i)
}

// errOperand is an operand of a type that the operator cannot take.
var errOperand = errors.New("operand of a wrong type")

// truth is the outcome of a condition. failed ends the evaluation: the message is not delivered, and which operand it was
// nobody would read.
type truth uint8

const (
	unknown truth = iota
	no
	yes
	failed
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// node is one operator or operand: a condition has a truth, an operand a value. Each kind implements its own half and
// derives the other from it, so that hot conditions never build a value.
// slots holds the properties' values by slot number, nil when missing.
type node interface {
	eval(slots [][]byte) (value, error)
	test(slots [][]byte) truth
}

var slotPool = sync.Pool{New: func() any { s := make([][]byte, 0, 16); return &s }}

// Match tells whether a message with this stored property string is wanted: only if the expression is TRUE.
// The bytes are only read during the call.
func (e *Expression) Match(properties []byte) bool {
	sp := slotPool.Get().(*[][]byte)
	slots := (*sp)[:0]
	for range e.names {
		slots = append(slots, nil)
	}
	e.fill(slots, properties)
	t := e.root.test(slots)
	clear(slots)
	*sp = slots
	slotPool.Put(sp)
	return t == yes
}

// fill reads the property string once. Empty keys and values are no properties, and the last of two equal keys wins, as
// everywhere in RocketMQ.
func (e *Expression) fill(slots [][]byte, properties []byte) {
	for len(properties) > 0 {
		pair := properties
		if n := bytes.IndexByte(properties, 2); n >= 0 {
			pair, properties = properties[:n], properties[n+1:]
		} else {
			properties = nil
		}
		n := bytes.IndexByte(pair, 1)
		if n <= 0 || n == len(pair)-1 {
			continue
		}
		key := pair[:n]
		for slot, name := range e.names {
			if len(name) == len(key) && name == string(key) {
				slots[slot] = pair[n+1:]
				break
			}
		}
	}
}

type constant struct{ v value }

func (n constant) eval([][]byte) (value, error) { return n.v, nil }
func (n constant) test(slots [][]byte) truth    { return truthOfOperand(n, slots) }

type property struct{ slot int }

func (n property) eval(slots [][]byte) (value, error) {
	if s := slots[n.slot]; s != nil {
		return value{kind: kindString, s: s}, nil
	}
	return value{}, nil
}

func (n property) test(slots [][]byte) truth { return truthOfOperand(n, slots) }

type negateNode struct{ x node }

func (n negateNode) eval(slots [][]byte) (value, error) {
	v, err := n.x.eval(slots)
	switch v.kind {
	case kindInt, kindLong:
		v.i = -v.i
	case kindDouble:
		v.f = -v.f
	default:
		v = value{}
	}
	return v, err
}

func (n negateNode) test(slots [][]byte) truth { return truthOfOperand(n, slots) }

// truthOfOperand is a value where a condition is asked for: a bare property is text, so it is never TRUE.
func truthOfOperand(n node, slots [][]byte) truth {
	v, err := n.eval(slots)
	switch {
	case err != nil:
		return failed
	case v.kind == kindNull:
		return unknown
	}
	return truthOf(v.kind == kindBool && v.i == 1)
}

// valueOfCondition is a condition where a value is asked for, as in (a = 1) = TRUE.
func valueOfCondition(n node, slots [][]byte) (value, error) {
	switch n.test(slots) {
	case failed:
		return value{}, errOperand
	case unknown:
		return value{}, nil
	case yes:
		return boolean(true), nil
	}
	return boolean(false), nil
}

type notNode struct{ x node }

func (n notNode) test(slots [][]byte) truth {
	switch t := n.x.test(slots); t {
	case yes:
		return no
	case no:
		return yes
	default:
		return t
	}
}

func (n notNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

type andNode struct{ left, right node }

func (n andNode) test(slots [][]byte) truth {
	l := n.left.test(slots)
	if l == no || l == failed {
		return l
	}
	r := n.right.test(slots)
	if l == yes || r == no || r == failed {
		return r
	}
	return unknown
}

func (n andNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

type orNode struct{ left, right node }

func (n orNode) test(slots [][]byte) truth {
	l := n.left.test(slots)
	if l == yes || l == failed {
		return l
	}
	r := n.right.test(slots)
	if l == no || r == yes || r == failed {
		return r
	}
	return unknown
}

func (n orNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

type isNullNode struct{ x node }

func (n isNullNode) test(slots [][]byte) truth {
	v, err := n.x.eval(slots)
	if err != nil {
		return failed
	}
	return truthOf(v.kind == kindNull)
}

func (n isNullNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

type equalNode struct{ left, right node }

func (n equalNode) test(slots [][]byte) truth {
	l, err := n.left.eval(slots)
	if err != nil {
		return failed
	}
	r, err := n.right.eval(slots)
	if err != nil {
		return failed
	}
	if l.kind == kindNull || r.kind == kindNull {
		return unknown
	}
	if l.kind == kindString && r.kind == kindString {
		return truthOf(bytes.Equal(l.s, r.s))
	}
	if l, r, err = sameType(l, r); err != nil {
		return failed
	}
	if l.kind == kindBool || r.kind == kindBool {
		return truthOf(l.kind == r.kind && l.i == r.i)
	}
	return truthOf(compareNumbers(l, r) == 0)
}

func (n equalNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

type orderNode struct {
	op          string
	left, right node
}

func (n orderNode) test(slots [][]byte) truth {
	l, err := n.left.eval(slots)
	if err != nil {
		return failed
	}
	r, err := n.right.eval(slots)
	if err != nil {
		return failed
	}
	if l.kind == kindNull || r.kind == kindNull {
		return unknown
	}
	if l.kind == kindString && r.kind == kindString {
		if l, err = parseAs(kindDouble, l.s); err == nil {
			r, err = parseAs(kindDouble, r.s)
		}
	} else {
		l, r, err = sameType(l, r)
	}
	if err != nil || l.kind == kindBool || r.kind == kindBool {
		return failed
	}
	c := compareNumbers(l, r)
	if c == unordered {
		return no
	}
	switch n.op {
	case ">":
		return truthOf(c > 0)
	case ">=":
		return truthOf(c >= 0)
	case "<":
		return truthOf(c < 0)
	default:
		return truthOf(c <= 0)
	}
}

func (n orderNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

// sameType reads the string of a mixed pair as the other side's type.
func sameType(l, r value) (value, value, error) {
	var err error
	if l.kind == kindString {
		l, err = parseAs(r.kind, l.s)
	} else if r.kind == kindString {
		r, err = parseAs(l.kind, r.s)
	}
	return l, r, err
}

func parseAs(k kind, s []byte) (value, error) {
	switch k {
	case kindBool:
		return boolean(len(s) == 4 && bytes.EqualFold(s, []byte("true"))), nil
	case kindInt, kindLong:
		bits := 64
		if k == kindInt {
			bits = 32
		}
		i, err := strconv.ParseInt(string(s), 10, bits)
		if err != nil {
			return value{}, errOperand
		}
		return value{kind: k, i: i}, nil
	default:
		f, err := strconv.ParseFloat(string(s), 64)
		if err != nil {
			return value{}, errOperand
		}
		return value{kind: kindDouble, f: f}, nil
	}
}

// unordered is what compareNumbers answers when one side is NaN.
const unordered = 2

// compareNumbers orders two numbers: as integers when both are, else as doubles.
func compareNumbers(l, r value) int {
	if l.kind != kindDouble && r.kind != kindDouble {
		switch {
		case l.i < r.i:
			return -1
		case l.i > r.i:
			return 1
		}
		return 0
	}
	switch a, b := l.float(), r.float(); {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	return unordered
}

type inNode struct {
	x   property
	set map[string]bool
}

func (n inNode) test(slots [][]byte) truth {
	s := slots[n.x.slot]
	if s == nil {
		return unknown
	}
	return truthOf(n.set[string(s)])
}

func (n inNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }

// textNode is CONTAINS, STARTSWITH or ENDSWITH.
type textNode struct {
	op   string
	x    property
	text []byte
}

func (n textNode) test(slots [][]byte) truth {
	s := slots[n.x.slot]
	switch {
	case s == nil:
		return unknown
	case n.op == "CONTAINS":
		return truthOf(bytes.Contains(s, n.text))
	case n.op == "STARTSWITH":
		return truthOf(bytes.HasPrefix(s, n.text))
	default:
		return truthOf(bytes.HasSuffix(s, n.text))
	}
}

func (n textNode) eval(slots [][]byte) (value, error) { return valueOfCondition(n, slots) }
