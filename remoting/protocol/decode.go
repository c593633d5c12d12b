package protocol

import (
	"encoding/binary"
	"fmt"
)

// Decode reads a frame, given without its four length bytes, into c. The fields
// and the body alias frame, whose bytes are rewritten where a JSON string holds
// escapes. Errors wrap ErrFrame or ErrHeader, after which the connection cannot be
// trusted to be in step and should be closed, or ErrTooManyFields: then all but
// Fields is valid, so that the request can be answered.
func (c *Command) Decode(frame []byte, lim Limits) error {
	lim = lim.withDefaults()
	owned := c.frame
	c.reset()
	c.frame = owned
	if len(frame) < 4 {
		return fmt.Errorf("%w: %d bytes are too few for a header word", ErrFrame, len(frame))
	}
	if len(frame) > lim.FrameMax-4 {
		return fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrFrame, len(frame)+4, lim.FrameMax)
	}
	word := binary.BigEndian.Uint32(frame)
	headerLen := int(word & 0xFFFFFF)
	if headerLen > len(frame)-4 {
		return fmt.Errorf("%w: header of %d bytes in a frame with %d bytes left", ErrFrame, headerLen, len(frame)-4)
	}
	header := frame[4 : 4+headerLen : 4+headerLen]
	if body := frame[4+headerLen:]; len(body) > 0 {
		c.Body = body
	}
	c.Serialize = Serialize(word >> 24)
	var err error
	switch c.Serialize {
	case SerializeJSON:
		err = c.decodeJSON(header, lim)
	case SerializeROCKETMQ:
		err = c.decodeBinary(header, lim)
	default:
		err = fmt.Errorf("%w: unknown serialize type %d", ErrFrame, c.Serialize)
	}
	if err == nil && len(c.Fields) > lim.FieldsMax {
		c.Fields = nil
		err = fmt.Errorf("%w: the limit is %d", ErrTooManyFields, lim.FieldsMax)
	}
	return err
}

// addField collects a field. One more than allowed is kept as the mark that
// there were too many; the header is read to its end for code and opaque.
func (lim *Limits) addField(fields []Field, f Field) []Field {
	if len(fields) <= lim.FieldsMax {
		fields = append(fields, f)
	}
	return fields
}

// decodeJSON reads the JSON form of a header.
func (c *Command) decodeJSON(header []byte, lim Limits) error {
	c.Language = LanguageOther
	s := scanner{b: header}
	if !s.accept('{') {
		return headerError(&s, "an object")
	}
	for first := true; ; first = false {
		if s.accept('}') {
			break
		}
		if !first {
			if !s.accept(',') {
				return headerError(&s, "a comma")
			}
		}
		if s.space() != '"' {
			return headerError(&s, "a quoted key")
		}
		key, ok := s.text()
		if !ok || !s.accept(':') {
			return headerError(&s, "a key and a colon")
		}
		if err := c.decodeMember(&s, key, lim); err != nil {
			return err
		}
	}
	if s.space(); s.i != len(s.b) {
		return headerError(&s, "the end")
	}
	return nil
}

// decodeMember reads the value of one top-level key.
func (c *Command) decodeMember(s *scanner, key []byte, lim Limits) error {
	ok := true
	switch string(key) {
	case "code":
		c.Code, ok = s.int32()
	case "version":
		c.Version, ok = s.int32()
	case "opaque":
		c.Opaque, ok = s.int32()
	case "flag":
		c.Flag, ok = s.int32()
	case "language":
		var v []byte
		v, ok = s.scalar()
		c.Language = ParseLanguage(v)
	case "remark":
		var v []byte
		v, ok = s.scalar()
		c.Remark = string(v)
	case "extFields":
		return c.decodeExtFields(s, lim)
	default:
		_, ok = s.skip()
	}
	if !ok {
		return headerError(s, "a value for "+clip(key))
	}
	return nil
}

// decodeExtFields reads the custom fields. Like fastjson, a second extFields
// object replaces the first, bare numbers and booleans count as their text, and
// null values are left out.
func (c *Command) decodeExtFields(s *scanner, lim Limits) error {
	if s.space() != '{' {
		if v, ok := s.scalar(); !ok || v != nil {
			return headerError(s, "an object or null as extFields")
		}
		return nil
	}
	s.i++
	c.hasFields = true
	fields := c.inline[:0]
	for first := true; ; first = false {
		ch := s.space()
		if ch == '}' {
			s.i++
			break
		}
		if !first {
			if !s.accept(',') {
				return headerError(s, "a comma between extFields")
			}
			ch = s.space()
		}
		if ch != '"' {
			return headerError(s, "a quoted field name")
		}
		key, ok := s.text()
		if !ok || !s.accept(':') {
			return headerError(s, "a field name and a colon")
		}
		value, ok := s.fieldValue()
		if !ok {
			return headerError(s, "a value for field "+clip(key))
		}
		if value != nil {
			fields = lim.addField(fields, Field{Key: key, Value: value})
		}
	}
	c.Fields = fields
	return nil
}

// fieldValue reads one extFields value; nil stands for null. A nested value
// counts as its raw text.
func (s *scanner) fieldValue() ([]byte, bool) {
	if ch := s.space(); ch == '{' || ch == '[' {
		return s.skip()
	}
	return s.scalar()
}

// scalar reads a string, number, boolean or null (nil) and returns its text.
func (s *scanner) scalar() ([]byte, bool) {
	if s.space() == '"' {
		return s.text()
	}
	tok := s.token()
	if string(tok) == "null" {
		return nil, true
	}
	return tok, validBare(tok)
}

// validBare reports whether tok is true, false or begins like a number.
func validBare(tok []byte) bool {
	if len(tok) == 0 {
		return false
	}
	if ch := tok[0]; ch == '-' || ch == '+' || ch >= '0' && ch <= '9' {
		return true
	}
	return string(tok) == "true" || string(tok) == "false"
}

// int32 reads a number, a number in quotes, or null (0).
func (s *scanner) int32() (int32, bool) {
	v, ok := s.scalar()
	if !ok || v == nil {
		return 0, ok
	}
	return parseInt32(v)
}

// headerError says what was expected where.
func headerError(s *scanner, want string) error {
	return fmt.Errorf("%w: expected %s at byte %d of %d", ErrHeader, want, s.i, len(s.b))
}

// clip returns a bounded, quoted form of text from a peer, for messages.
func clip(b []byte) string {
	if len(b) > 64 {
		b = b[:64]
	}
	return fmt.Sprintf("%q", b)
}

// binaryFixed is the size of a binary header without remark and fields:
//
//	code i16 | language u8 | version i16 | opaque i32 | flag i32 |
//	remarkLen i32 | remark | extLen i32 | pairs: keyLen i16 key valueLen i32 value
const binaryFixed = 21

// decodeBinary reads the ROCKETMQ form of a header.
func (c *Command) decodeBinary(h []byte, lim Limits) error {
	if len(h) < binaryFixed {
		return fmt.Errorf("%w: binary header of %d bytes, at least %d expected", ErrHeader, len(h), binaryFixed)
	}
	c.Code = int32(int16(binary.BigEndian.Uint16(h)))
	c.Language = languageOf(int32(h[2]))
	c.Version = int32(int16(binary.BigEndian.Uint16(h[3:])))
	c.Opaque = int32(binary.BigEndian.Uint32(h[5:]))
	c.Flag = int32(binary.BigEndian.Uint32(h[9:]))
	remark, rest, ok := cutBytes(h[13:], 4)
	if !ok {
		return fmt.Errorf("%w: remark is longer than the header", ErrHeader)
	}
	c.Remark = string(remark)
	ext, rest, ok := cutBytes(rest, 4)
	if !ok || len(rest) != 0 {
		return fmt.Errorf("%w: length of the field map does not match the header", ErrHeader)
	}
	if len(ext) == 0 {
		return nil
	}
	c.hasFields = true
	fields := c.inline[:0]
	for len(ext) > 0 {
		var f Field
		if f.Key, ext, ok = cutBytes(ext, 2); ok {
			f.Value, ext, ok = cutBytes(ext, 4)
		}
		if !ok {
			return fmt.Errorf("%w: field %d is longer than the field map", ErrHeader, len(fields))
		}
		fields = lim.addField(fields, f)
	}
	c.Fields = fields
	return nil
}

// cutBytes splits off a value behind a length of size 2 or 4 bytes.
func cutBytes(b []byte, size int) (value, rest []byte, ok bool) {
	if len(b) < size {
		return nil, nil, false
	}
	var n int64
	if size == 2 {
		n = int64(int16(binary.BigEndian.Uint16(b)))
	} else {
		n = int64(int32(binary.BigEndian.Uint32(b)))
	}
	b = b[size:]
	if n < 0 || n > int64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
