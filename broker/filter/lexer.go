package filter

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds on what a client may send: an expression is parsed once per subscription but stays in memory with it.
const (
	expressionBytesMax = 16 << 10
	depthMax           = 128
	identifiersMax     = 128
)

// SyntaxError says what is wrong with an expression and where.
type SyntaxError struct {
	Pos    int // byte offset into the expression, 0-based
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("SQL92 expression: %s at position %d", e.Reason, e.Pos+1)
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenString
	tokenNumber
	tokenSymbol
)

// token is one lexical unit. text is the upper-cased word, the unescaped string, the number as written or the symbol.
type token struct {
	kind  tokenKind
	pos   int
	text  string
	exact string // words: as written, since property names are case-sensitive
}

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenWord:
		return strconv.Quote(t.exact)
	case tokenString:
		return "string '" + t.text + "'"
	default:
		return strconv.Quote(t.text)
	}
}

// keywords cannot be property names.
var keywords = map[string]bool{
	"AND": true, "OR": true, "NOT": true, "BETWEEN": true, "IN": true, "IS": true, "NULL": true, "TRUE": true, "FALSE": true,
	"CONTAINS": true, "STARTSWITH": true, "ENDSWITH": true,
}

func tokenize(s string) ([]token, error) {
	if len(s) > expressionBytesMax {
		return nil, &SyntaxError{Pos: expressionBytesMax, Reason: fmt.Sprintf("longer than %d bytes", expressionBytesMax)}
	}
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			i++
		case strings.HasPrefix(s[i:], "--"):
			if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
				i += n + 1
			} else {
				i = len(s)
			}
		case strings.HasPrefix(s[i:], "/*"):
			n := strings.Index(s[i+2:], "*/")
			if n < 0 {
				return nil, &SyntaxError{Pos: i, Reason: "comment without end"}
			}
			i += n + 4
		case c == '\'':
			text, end, ok := quoted(s, i)
			if !ok {
				return nil, &SyntaxError{Pos: i, Reason: "string without closing quote"}
			}
			out = append(out, token{kind: tokenString, pos: i, text: text})
			i = end
		case isDigit(c) || c == '.' && i+1 < len(s) && isDigit(s[i+1]):
			end := numberEnd(s, i)
			out = append(out, token{kind: tokenNumber, pos: i, text: s[i:end]})
			i = end
		case isWordStart(c):
			end := i + 1
			for end < len(s) && (isWordStart(s[end]) || isDigit(s[end])) {
				end++
			}
			out = append(out, token{kind: tokenWord, pos: i, text: strings.ToUpper(s[i:end]), exact: s[i:end]})
			i = end
		default:
			sym := symbolAt(s[i:])
			if sym == "" {
				return nil, &SyntaxError{Pos: i, Reason: fmt.Sprintf("unexpected character %q", []rune(s[i:])[0])}
			}
			out = append(out, token{kind: tokenSymbol, pos: i, text: sym})
			i += len(sym)
		}
	}
	return append(out, token{kind: tokenEnd, pos: len(s)}), nil
}

func symbolAt(s string) string {
	for _, sym := range []string{"<>", ">=", "<=", "=", "<", ">", "(", ")", ",", "+", "-"} {
		if strings.HasPrefix(s, sym) {
			return sym
		}
	}
	return ""
}

func quoted(s string, start int) (text string, end int, ok bool) {
	var b strings.Builder
	for i := start + 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

func numberEnd(s string, i int) int {
	for i < len(s) && (isDigit(s[i]) || s[i] == '.') {
		i++
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if j < len(s) && isDigit(s[j]) {
			for j < len(s) && isDigit(s[j]) {
				j++
			}
			i = j
		}
	} else if i < len(s) && (s[i] == 'l' || s[i] == 'L') {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}
