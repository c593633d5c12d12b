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

func (v value) isTrue() bool { return v.kind == kindBool && v.i == 1 }

func (v value) isFalse() bool { return v.kind == kindBool && v.i == 0 }

func (v value) float() float64 {
	if v.kind == kindDouble {
		return v.f
	}
	return float64(v.i)
}

// errOperand ends an evaluation: the message is not delivered. Which operand it was nobody would read.
var errOperand = errors.New("operand of a wrong type")

// node is one operator or operand. slots holds the properties' values by slot number, nil when missing.
type node interface {
	eval(slots [][]byte) (value, error)
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
	v, err := e.root.eval(slots)
	clear(slots)
	*sp = slots
	slotPool.Put(sp)
	return err == nil && v.isTrue()
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

type property struct{ slot int }

func (n property) eval(slots [][]byte) (value, error) {
	if s := slots[n.slot]; s != nil {
		return value{kind: kindString, s: s}, nil
	}
	return value{}, nil
}

// condition makes an operand a truth value where one is asked for: a bare property is text, so it is never TRUE.
func condition(n node) node {
	switch n.(type) {
	case constant, property, negateNode:
		return castNode{n}
	}
	return n
}

type castNode struct{ x node }

func (n castNode) eval(slots [][]byte) (value, error) {
	v, err := n.x.eval(slots)
	if err != nil || v.kind == kindNull || v.kind == kindBool {
		return v, err
	}
	return boolean(false), nil
}

type notNode struct{ x node }

func (n notNode) eval(slots [][]byte) (value, error) {
	v, err := n.x.eval(slots)
	if err != nil || v.kind == kindNull {
		return v, err
	}
	return boolean(!v.isTrue()), nil
}

type andNode struct{ left, right node }

func (n andNode) eval(slots [][]byte) (value, error) {
	l, err := n.left.eval(slots)
	if err != nil || l.isFalse() {
		return l, err
	}
	r, err := n.right.eval(slots)
	if err != nil || r.isFalse() || l.kind != kindNull {
		return r, err
	}
	return value{}, nil
}

type orNode struct{ left, right node }

func (n orNode) eval(slots [][]byte) (value, error) {
	l, err := n.left.eval(slots)
	if err != nil || l.isTrue() {
		return l, err
	}
	r, err := n.right.eval(slots)
	if err != nil || r.isTrue() || l.kind != kindNull {
		return r, err
	}
	return value{}, nil
}

type isNullNode struct{ x node }

func (n isNullNode) eval(slots [][]byte) (value, error) {
	v, err := n.x.eval(slots)
	return boolean(v.kind == kindNull), err
}

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

type equalNode struct{ left, right node }

func (n equalNode) eval(slots [][]byte) (value, error) {
	l, err := n.left.eval(slots)
	if err != nil {
		return l, err
	}
	r, err := n.right.eval(slots)
	if err != nil || l.kind == kindNull || r.kind == kindNull {
		return value{}, err
	}
	if l.kind == kindString && r.kind == kindString {
		return boolean(bytes.Equal(l.s, r.s)), nil
	}
	if l, r, err = sameType(l, r); err != nil {
		return value{}, err
	}
	if l.kind == kindBool || r.kind == kindBool {
		return boolean(l.kind == r.kind && l.i == r.i), nil
	}
	return boolean(compareNumbers(l, r) == 0), nil
}

type orderNode struct {
	op          string
	left, right node
}

func (n orderNode) eval(slots [][]byte) (value, error) {
	l, err := n.left.eval(slots)
	if err != nil {
		return l, err
	}
	r, err := n.right.eval(slots)
	if err != nil || l.kind == kindNull || r.kind == kindNull {
		return value{}, err
	}
	if l.kind == kindString && r.kind == kindString {
		if l, err = parseAs(kindDouble, l.s); err == nil {
			r, err = parseAs(kindDouble, r.s)
		}
	} else {
		l, r, err = sameType(l, r)
	}
	if err != nil || l.kind == kindBool || r.kind == kindBool {
		return value{}, errOperand
	}
	if l.float() != l.float() || r.float() != r.float() { // NaN has no order
		return boolean(false), nil
	}
	c := compareNumbers(l, r)
	switch n.op {
	case ">":
		return boolean(c > 0), nil
	case ">=":
		return boolean(c >= 0), nil
	case "<":
		return boolean(c < 0), nil
	default:
		return boolean(c <= 0), nil
	}
}

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
	return 2 // NaN equals nothing
}

type inNode struct {
	x   property
	set map[string]bool
}

func (n inNode) eval(slots [][]byte) (value, error) {
	s := slots[n.x.slot]
	if s == nil {
		return value{}, nil
	}
	return boolean(n.set[string(s)]), nil
}

// textNode is CONTAINS, STARTSWITH or ENDSWITH.
type textNode struct {
	op   string
	x    node
	text string
}

func (n textNode) eval(slots [][]byte) (value, error) {
	v, err := n.x.eval(slots)
	if err != nil || v.kind == kindNull {
		return value{}, err
	}
	s, t := v.s, n.text
	switch n.op {
	case "CONTAINS":
		return boolean(bytes.Contains(s, []byte(t))), nil
	case "STARTSWITH":
		return boolean(len(s) >= len(t) && string(s[:len(t)]) == t), nil
	default:
		return boolean(len(s) >= len(t) && string(s[len(s)-len(t):]) == t), nil
	}
}
