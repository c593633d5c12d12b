package protocol

import (
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string. Quotes, backslashes and control
// characters are escaped as Java and Go clients do; bytes that are not valid
// UTF-8 pass unchanged, because replacing them would change a property silently.
func appendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch >= 0x20 && ch != '"' && ch != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch ch {
		case '"', '\\':
			dst = append(dst, '\\', ch)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[ch>>4], hexDigits[ch&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// scanner reads JSON text. It rewrites the text in place when a string holds
// escapes (the result is never longer), so it may read each byte only once.
type scanner struct {
	b []byte
	i int
}

// space skips white space and returns the next byte, 0 at the end.
func (s *scanner) space() byte {
	for s.i < len(s.b) {
		ch := s.b[s.i]
		if ch > ' ' || (ch != ' ' && ch != '\n' && ch != '\r' && ch != '\t') {
			return ch
		}
		s.i++
	}
	return 0
}

// accept skips white space and then want, and reports whether it was there.
func (s *scanner) accept(want byte) bool {
	if s.space() != want || s.i >= len(s.b) {
		return false
	}
	s.i++
	return true
}

// text reads a string that starts at the current quote, with escapes resolved.
// Raw control characters are part of the string, as in fastjson.
func (s *scanner) text() ([]byte, bool) {
	start := s.i + 1
	for j := start; j < len(s.b); j++ {
		switch s.b[j] {
		case '"':
			s.i = j + 1
			return s.b[start:j:j], true
		case '\\':
			return s.escapedText(start, j)
		}
	}
	return nil, false
}

// escapedText continues text at the first backslash, at.
func (s *scanner) escapedText(start, at int) ([]byte, bool) {
	b, w, r := s.b, at, at
	for r < len(b) {
		ch := b[r]
		if ch == '"' {
			s.i = r + 1
			return b[start:w:w], true
		}
		if ch != '\\' {
			b[w] = ch
			w++
			r++
			continue
		}
		if r+1 >= len(b) {
			return nil, false
		}
		if b[r+1] == 'u' {
			ru, n := unicodeEscape(b[r:])
			if n == 0 {
				return nil, false
			}
			w += utf8.EncodeRune(b[w:], ru)
			r += n
			continue
		}
		plain := simpleEscape(b[r+1])
		if plain == 0 {
			return nil, false
		}
		b[w] = plain
		w++
		r += 2
	}
	return nil, false
}

// simpleEscape returns the byte that backslash + ch stands for, 0 if none.
func simpleEscape(ch byte) byte {
	switch ch {
	case '"', '\\', '/':
		return ch
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return 0
}

// unicodeEscape reads \uXXXX, or a surrogate pair of them, at the start of b. It
// returns the rune and the bytes read, 0 when malformed. A lone surrogate
// becomes U+FFFD. EncodeRune writes at most 4 of the 12 bytes a pair takes, and 3 of 6.
func unicodeEscape(b []byte) (rune, int) {
	u, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(u) {
		return u, 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if low, ok := hex4(b[6:]); ok {
			if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the four digits after \u.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 {
		return 0, false
	}
	var u rune
	for _, ch := range b[2:6] {
		switch {
		case ch >= '0' && ch <= '9':
			ch -= '0'
		case ch >= 'a' && ch <= 'f':
			ch -= 'a' - 10
		case ch >= 'A' && ch <= 'F':
			ch -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(ch)
	}
	return u, true
}

// token reads a bare word: a number, true, false or null. It is empty when
// something else is there.
func (s *scanner) token() []byte {
	start := s.i
	for s.i < len(s.b) {
		ch := s.b[s.i]
		word := ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' ||
			ch == '-' || ch == '+' || ch == '.' || ch == '_'
		if !word {
			break
		}
		s.i++
	}
	return s.b[start:s.i:s.i]
}

// skipDepthMax bounds the nesting of values that are skipped.
const skipDepthMax = 64

// skip passes over one value of any kind and returns its raw text. Brackets are
// only counted: what is skipped need not be judged.
func (s *scanner) skip() ([]byte, bool) {
	ch := s.space()
	start := s.i
	switch ch {
	case '"':
		ok := s.skipText()
		return s.b[start:s.i:s.i], ok
	case '{', '[':
	default:
		tok := s.token()
		return tok, len(tok) > 0
	}
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if !s.skipText() {
				return nil, false
			}
			continue
		case '{', '[':
			depth++
			if depth > skipDepthMax {
				return nil, false
			}
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return s.b[start:s.i:s.i], true
		}
	}
	return nil, false
}

// skipText passes over a string without resolving its escapes.
func (s *scanner) skipText() bool {
	for j := s.i + 1; j < len(s.b); j++ {
		switch s.b[j] {
		case '\\':
			j++
		case '"':
			s.i = j + 1
			return true
		}
	}
	return false
}
