package protocol

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// FieldWriter appends custom header fields in the form of the frame being
// written: members of a JSON object, or length-prefixed pairs. All values travel
// as strings; a bare number would make the Go client drop the whole header.
type FieldWriter struct {
	buf    []byte
	binary bool
	n      int   // fields written
	err    error // first field that cannot be written
}

// String writes a text field.
func (w *FieldWriter) String(key, value string) {
	w.key(key)
	if w.binary {
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(value)))
		w.buf = append(w.buf, value...)
		return
	}
	w.buf = appendJSONString(w.buf, value)
}

// Bytes writes a text field given as bytes.
func (w *FieldWriter) Bytes(key string, value []byte) {
	w.key(key)
	w.value(value)
}

// Field writes a field whose key is given as bytes too.
func (w *FieldWriter) Field(key, value []byte) {
	w.n++
	if w.binary {
		if len(key) > math.MaxInt16 && w.err == nil {
			w.err = fmt.Errorf("%w: field name of %d bytes", ErrTooLarge, len(key))
		}
		w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(key)))
		w.buf = append(w.buf, key...)
	} else {
		if w.n > 1 {
			w.buf = append(w.buf, ',')
		}
		w.buf = appendJSONString(w.buf, key)
		w.buf = append(w.buf, ':')
	}
	w.value(value)
}

// Int writes a 32-bit number.
func (w *FieldWriter) Int(key string, v int32) { w.Int64(key, int64(v)) }

// Int64 writes a 64-bit number.
func (w *FieldWriter) Int64(key string, v int64) {
	w.key(key)
	if w.binary {
		at := len(w.buf)
		w.buf = strconv.AppendInt(append(w.buf, 0, 0, 0, 0), v, 10)
		binary.BigEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-at-4))
		return
	}
	w.buf = append(w.buf, '"')
	w.buf = strconv.AppendInt(w.buf, v, 10)
	w.buf = append(w.buf, '"')
}

// Bool writes "true" or "false".
func (w *FieldWriter) Bool(key string, v bool) {
	if v {
		w.String(key, "true")
	} else {
		w.String(key, "false")
	}
}

func (w *FieldWriter) value(value []byte) {
	if w.binary {
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(value)))
		w.buf = append(w.buf, value...)
		return
	}
	w.buf = appendJSONString(w.buf, value)
}

// key writes a key that is known to need no escapes: all of ours are plain ASCII.
func (w *FieldWriter) key(key string) {
	w.n++
	if w.binary {
		w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(key)))
		w.buf = append(w.buf, key...)
		return
	}
	if w.n > 1 {
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, '"', ':')
}

// Pairs is a HeaderEncoder for fields made at run time: {{"changed", "true"}}.
type Pairs [][2]string

// EncodeFields writes the pairs in order.
func (p Pairs) EncodeFields(w *FieldWriter) {
	for _, kv := range p {
		w.Field([]byte(kv[0]), []byte(kv[1]))
	}
}

// EmptyHeader writes no field, but makes extFields present as {}.
type EmptyHeader struct{}

// EncodeFields writes nothing.
func (EmptyHeader) EncodeFields(*FieldWriter) {}
