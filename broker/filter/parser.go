package filter

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Expression is a compiled selector. It is immutable and may be used from any goroutine.
type Expression struct {
	text  string
	root  node
	names []string // slot number to property name
}

// Compile parses a selector. Errors are *SyntaxError with the position of the fault.
func Compile(text string) (*Expression, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens, slots: map[string]int{}}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, p.unexpected(t, "the end")
	}
	return &Expression{text: text, root: root, names: p.names}, nil
}

// String is the selector as it was written.
func (e *Expression) String() string { return e.text }

type parser struct {
	tokens []token
	next   int
	depth  int
	slots  map[string]int
	names  []string
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

// accept takes the next token if it is that keyword or symbol.
func (p *parser) accept(text string) bool {
	t := p.peek()
	if (t.kind == tokenWord || t.kind == tokenSymbol) && t.text == text {
		p.next++
		return true
	}
	return false
}

func (p *parser) expect(text string) error {
	if !p.accept(text) {
		return p.unexpected(p.peek(), text)
	}
	return nil
}

func (p *parser) unexpected(t token, want string) error {
	return &SyntaxError{Pos: t.pos, Reason: fmt.Sprintf("found %s where %s was expected", t, want)}
}

// deeper bounds the recursion: the depth of an expression is a stranger's choice.
func (p *parser) deeper() error {
	p.depth++
	if p.depth > depthMax {
		return &SyntaxError{Pos: p.peek().pos, Reason: fmt.Sprintf("nested deeper than %d", depthMax)}
	}
	return nil
}

func (p *parser) or() (node, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.and()
	for err == nil && p.accept("OR") {
		var right node
		if right, err = p.and(); err == nil {
			left = orNode{left, right}
		}
	}
	return left, err
}

func (p *parser) and() (node, error) {
	left, err := p.not()
	for err == nil && p.accept("AND") {
		var right node
		if right, err = p.not(); err == nil {
			left = andNode{left, right}
		}
	}
	return left, err
}

func (p *parser) not() (node, error) {
	if !p.accept("NOT") {
		return p.equality()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	if err != nil {
		return nil, err
	}
	return notNode{x}, nil
}

func (p *parser) equality() (node, error) {
	left, err := p.compare()
	for err == nil {
		at := p.peek()
		switch {
		case p.accept("="), p.accept("<>"):
			var right node
			if right, err = p.compare(); err != nil {
				return nil, err
			}
			if isNullLiteral(left) || isNullLiteral(right) {
				return nil, &SyntaxError{Pos: at.pos, Reason: "NULL cannot be compared; use IS NULL"}
			}
			left = equalNode{left, right}
			if at.text == "<>" {
				left = notNode{left}
			}
		case p.accept("IS"):
			negated := p.accept("NOT")
			if err = p.expect("NULL"); err != nil {
				return nil, err
			}
			left = isNullNode{left}
			if negated {
				left = notNode{left}
			}
		default:
			return left, nil
		}
	}
	return left, err
}

func (p *parser) compare() (node, error) {
	left, err := p.unary()
	for err == nil {
		at := p.peek()
		switch {
		case p.accept(">"), p.accept(">="), p.accept("<"), p.accept("<="):
			var right node
			if right, err = p.unary(); err == nil {
				left, err = ordered(at.text, left, right, at.pos)
			}
		case at.kind == tokenWord && (at.text == "NOT" || at.text == "BETWEEN" || at.text == "IN" || isTextOperator(at.text)):
			left, err = p.test(left)
		default:
			return left, nil
		}
	}
	return left, err
}

// test parses [NOT] BETWEEN, IN, CONTAINS, STARTSWITH and ENDSWITH after their left operand.
func (p *parser) test(left node) (node, error) {
	negated := p.accept("NOT")
	at := p.take()
	var n node
	var err error
	switch {
	case at.kind == tokenWord && at.text == "BETWEEN":
		n, err = p.between(left, at.pos)
	case at.kind == tokenWord && at.text == "IN":
		n, err = p.in(left, at.pos)
	case at.kind == tokenWord && isTextOperator(at.text):
		t := p.take()
		if t.kind != tokenString {
			return nil, p.unexpected(t, "a string")
		}
		prop, ok := left.(property)
		if !ok {
			return nil, &SyntaxError{Pos: at.pos, Reason: at.text + " needs a property on its left"}
		}
		n = textNode{op: at.text, x: prop, text: []byte(t.text)}
	default:
		return nil, p.unexpected(at, "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH")
	}
	if err != nil {
		return nil, err
	}
	if negated {
		n = notNode{n}
	}
	return n, nil
}

func isTextOperator(word string) bool {
	return word == "CONTAINS" || word == "STARTSWITH" || word == "ENDSWITH"
}

func (p *parser) between(x node, pos int) (node, error) {
	low, err := p.unary()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AND"); err != nil {
		return nil, err
	}
	high, err := p.unary()
	if err != nil {
		return nil, err
	}
	if a, ok := low.(constant); ok {
		if b, ok := high.(constant); ok && a.v.isNumber() && b.v.isNumber() && compareNumbers(a.v, b.v) > 0 {
			return nil, &SyntaxError{Pos: pos, Reason: "the bounds of BETWEEN are in the wrong order"}
		}
	}
	left, err := ordered(">=", x, low, pos)
	if err != nil {
		return nil, err
	}
	right, err := ordered("<=", x, high, pos)
	if err != nil {
		return nil, err
	}
	return andNode{left, right}, nil
}

func (p *parser) in(x node, pos int) (node, error) {
	prop, ok := x.(property)
	if !ok {
		return nil, &SyntaxError{Pos: pos, Reason: "IN needs a property on its left"}
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for {
		t := p.take()
		if t.kind != tokenString {
			return nil, p.unexpected(t, "a string")
		}
		set[t.text] = true
		if !p.accept(",") {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return inNode{prop, set}, nil
}

func (p *parser) unary() (node, error) {
	t := p.peek()
	if p.accept("+") {
		return p.signed(t, false)
	}
	if p.accept("-") {
		return p.signed(t, true)
	}
	return p.primary(false)
}

// signed parses what follows a sign. A minus directly before a number belongs to it, so that the smallest int64 can be
// written.
func (p *parser) signed(sign token, negative bool) (node, error) {
	if p.peek().kind == tokenNumber {
		return p.primary(negative)
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.unary()
	if err != nil {
		return nil, err
	}
	if c, ok := x.(constant); ok && !c.v.isNumber() {
		return nil, &SyntaxError{Pos: sign.pos, Reason: "a sign needs a number"}
	}
	if negative {
		return negateNode{x}, nil
	}
	return x, nil
}

func (p *parser) primary(negative bool) (node, error) {
	t := p.take()
	switch t.kind {
	case tokenString:
		return constant{value{kind: kindString, s: []byte(t.text)}}, nil
	case tokenNumber:
		return number(t, negative)
	case tokenWord:
		switch t.text {
		case "TRUE", "FALSE":
			return constant{boolean(t.text == "TRUE")}, nil
		case "NULL":
			return constant{}, nil
		}
		if keywords[t.text] {
			return nil, p.unexpected(t, "a value")
		}
		return p.property(t)
	case tokenSymbol:
		if t.text == "(" {
			x, err := p.or()
			if err != nil {
				return nil, err
			}
			return x, p.expect(")")
		}
	}
	return nil, p.unexpected(t, "a value")
}

func (p *parser) property(t token) (node, error) {
	slot, ok := p.slots[t.exact]
	if !ok {
		if len(p.names) == identifiersMax {
			return nil, &SyntaxError{Pos: t.pos, Reason: fmt.Sprintf("more than %d different properties", identifiersMax)}
		}
		slot = len(p.names)
		p.slots[t.exact] = slot
		p.names = append(p.names, t.exact)
	}
	return property{slot}, nil
}

func number(t token, negative bool) (node, error) {
	text := t.text
	if negative {
		text = "-" + text
	}
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, &SyntaxError{Pos: t.pos, Reason: fmt.Sprintf("%q is no number", text)}
		}
		return constant{value{kind: kindDouble, f: f}}, nil
	}
	text, long := strings.CutSuffix(strings.ToUpper(text), "L")
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, &SyntaxError{Pos: t.pos, Reason: fmt.Sprintf("%q does not fit 64 bits", text)}
	}
	if long || i < math.MinInt32 || i > math.MaxInt32 {
		return constant{value{kind: kindLong, i: i}}, nil
	}
	return constant{value{kind: kindInt, i: i}}, nil
}

func isNullLiteral(n node) bool {
	c, ok := n.(constant)
	return ok && c.v.kind == kindNull
}

// ordered builds a comparison by order; text, truth values and NULL have none.
func ordered(op string, left, right node, pos int) (node, error) {
	for _, n := range []node{left, right} {
		if c, ok := n.(constant); ok && !c.v.isNumber() {
			return nil, &SyntaxError{Pos: pos, Reason: fmt.Sprintf("%q compares numbers and properties only", op)}
		}
	}
	return orderNode{op: op, left: left, right: right}, nil
}
