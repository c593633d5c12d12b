package protocol

import (
	"bytes"
	"fmt"
	"math"
)

// Field returns the value of a custom field, aliasing the frame. The last of
// several equal keys wins.
func (c *Command) Field(key string) ([]byte, bool) {
	for i := len(c.Fields) - 1; i >= 0; i-- {
		if string(c.Fields[i].Key) == key {
			return c.Fields[i].Value, true
		}
	}
	return nil, false
}

// Str returns the field as a copied string, "" when it is absent.
func (c *Command) Str(key string) string {
	v, _ := c.Field(key)
	return string(v)
}

// Int returns the field as a 32-bit number, or absent when the field is missing
// or not a number: Java leaves such a field at its default.
func (c *Command) Int(key string, absent int32) int32 {
	if v, ok := c.Field(key); ok {
		if n, ok := parseInt32(v); ok {
			return n
		}
	}
	return absent
}

// Int64 is Int for 64-bit numbers.
func (c *Command) Int64(key string, absent int64) int64 {
	if v, ok := c.Field(key); ok {
		if n, ok := parseInt64(v); ok {
			return n
		}
	}
	return absent
}

// Bool reports whether the field equals "true", ignoring case. Everything else,
// absence included, is false (Boolean.parseBoolean).
func (c *Command) Bool(key string) bool {
	v, _ := c.Field(key)
	return parseBool(v)
}

// Required returns a reader for fields that must be there.
func (c *Command) Required() FieldReader { return FieldReader{cmd: c} }

// FieldReader reads required fields and remembers the first failure, so that a
// handler checks once, after reading all: r := req.Required(); topic :=
// r.Str("topic"); id := r.Int("queueId"); if err := r.Err(); err != nil ….
type FieldReader struct {
	cmd *Command
	err error
}

// Str returns a copied required string; an empty value is accepted.
func (r *FieldReader) Str(key string) string { return string(r.Bytes(key)) }

// Bytes returns a required value, aliasing the frame.
func (r *FieldReader) Bytes(key string) []byte {
	v, ok := r.cmd.Field(key)
	if !ok {
		r.fail(key, "is missing", nil)
	}
	return v
}

// Int returns a required 32-bit number.
func (r *FieldReader) Int(key string) int32 {
	n, ok := r.number(key, math.MinInt32, math.MaxInt32)
	if !ok {
		return 0
	}
	return int32(n)
}

// Int64 returns a required 64-bit number.
func (r *FieldReader) Int64(key string) int64 {
	n, _ := r.number(key, math.MinInt64, math.MaxInt64)
	return n
}

// Err returns the first failure, which wraps ErrField and names code and field.
func (r *FieldReader) Err() error { return r.err }

func (r *FieldReader) number(key string, low, high int64) (int64, bool) {
	v, ok := r.cmd.Field(key)
	if !ok {
		r.fail(key, "is missing", nil)
		return 0, false
	}
	n, ok := parseInt64(v)
	if !ok || n < low || n > high {
		r.fail(key, "is not a number in range: ", v)
		return 0, false
	}
	return n, true
}

func (r *FieldReader) fail(key, what string, value []byte) {
	if r.err == nil {
		r.err = fieldError(r.cmd.Code, key, what, value)
	}
}

// fieldError names request code, field and a bounded part of the bad value.
func fieldError(code int32, key, what string, value []byte) error {
	if len(value) > 64 {
		value = value[:64]
	}
	if value == nil {
		return fmt.Errorf("%w: request code %d: field %s %s", ErrField, code, key, what)
	}
	return fmt.Errorf("%w: request code %d: field %s %s%q", ErrField, code, key, what, value)
}

// parseInt64 follows Long.parseLong: optional sign, decimal digits, no spaces.
func parseInt64(b []byte) (int64, bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	if len(b) <= 18 { // cannot overflow: the usual case, without a check per digit
		for _, ch := range b {
			if ch < '0' || ch > '9' {
				return 0, false
			}
			n = n*10 + int64(ch-'0')
		}
		if neg {
			n = -n
		}
		return n, true
	}
	// The negative range is one larger, so accumulate downwards.
	for _, ch := range b {
		d := int64(ch - '0')
		if ch < '0' || ch > '9' || n < (math.MinInt64+d)/10 {
			return 0, false
		}
		n = n*10 - d
	}
	if neg {
		return n, true
	}
	if n == math.MinInt64 {
		return 0, false
	}
	return -n, true
}

// parseInt32 follows Integer.parseInt.
func parseInt32(b []byte) (int32, bool) {
	n, ok := parseInt64(b)
	if !ok || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, false
	}
	return int32(n), true
}

// parseBool follows Boolean.parseBoolean.
func parseBool(b []byte) bool { return len(b) == 4 && bytes.EqualFold(b, []byte("true")) }
