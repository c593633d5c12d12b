package protocol

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"sync"
)

// fieldWriters keeps writers from being allocated per frame: they escape,
// because EncodeFields is called through an interface.
var fieldWriters = sync.Pool{New: func() any { return new(FieldWriter) }}

// head is what the two directions have in common.
type head struct {
	serialize Serialize
	code      int32
	language  Language
	version   int32
	opaque    int32
	flag      int32
	remark    string
	fields    HeaderEncoder // nil = no custom fields
}

// AppendFrame appends the whole frame of the command: lengths, header, body.
func (c *Command) AppendFrame(dst []byte) ([]byte, error) {
	return c.AppendFrameAs(dst, c.Opaque, c.Flag)
}

// AppendFrameAs is AppendFrame with another opaque and other flags, so that one
// command can be sent over several connections that each number their requests.
func (c *Command) AppendFrameAs(dst []byte, opaque, flag int32) ([]byte, error) {
	h := head{c.Serialize, c.Code, c.Language, c.Version, opaque, flag, c.Remark, nil}
	if c.hasFields || len(c.Fields) > 0 || c.Header != nil {
		h.fields = c
	}
	dst, err := appendHead(dst, &h, len(c.Body))
	if err != nil {
		return dst, err
	}
	return append(dst, c.Body...), nil
}

// AppendResponseHead appends the lengths and the header of a response frame, in
// the form its request had; the caller sends r.Body right behind it.
func AppendResponseHead(dst []byte, form Serialize, opaque int32, r *Response) ([]byte, error) {
	h := head{form, r.Code, LanguageGo, Version, opaque, FlagResponse, r.Remark, r.Header}
	return appendHead(dst, &h, len(r.Body))
}

// appendHead appends lengths and header for a frame with bodyLen bytes of body.
// On error dst is returned as it came.
func appendHead(dst []byte, h *head, bodyLen int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	w := fieldWriters.Get().(*FieldWriter)
	w.buf, w.binary, w.n, w.err = dst, h.serialize == SerializeROCKETMQ, 0, nil
	if w.binary {
		w.binaryHeader(h)
	} else {
		w.jsonHeader(h)
	}
	dst, err := w.buf, w.err
	w.buf = nil
	fieldWriters.Put(w)

	headerLen := len(dst) - start - 8
	switch {
	case err != nil:
	case headerLen > 0xFFFFFF:
		err = fmt.Errorf("%w: header of %d bytes does not fit 24 bits", ErrTooLarge, headerLen)
	case int64(headerLen)+int64(bodyLen) > math.MaxInt32-4:
		err = fmt.Errorf("%w: frame of %d bytes", ErrTooLarge, headerLen+bodyLen)
	}
	if err != nil {
		return dst[:start], err
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(4+headerLen+bodyLen))
	binary.BigEndian.PutUint32(dst[start+4:], uint32(h.serialize)<<24|uint32(headerLen))
	return dst, nil
}

// jsonHeader writes the keys in alphabetical order, as fastjson does.
func (w *FieldWriter) jsonHeader(h *head) {
	b := append(w.buf, `{"code":`...)
	b = strconv.AppendInt(b, int64(h.code), 10)
	if h.fields != nil {
		w.buf = append(b, `,"extFields":{`...)
		h.fields.EncodeFields(w)
		b = append(w.buf, '}')
	}
	b = append(b, `,"flag":`...)
	b = strconv.AppendInt(b, int64(h.flag), 10)
	b = append(b, `,"language":"`...)
	b = append(b, h.language.String()...)
	b = append(b, `","opaque":`...)
	b = strconv.AppendInt(b, int64(h.opaque), 10)
	if h.remark != "" {
		b = append(b, `,"remark":`...)
		b = appendJSONString(b, h.remark)
	}
	b = append(b, `,"version":`...)
	b = strconv.AppendInt(b, int64(h.version), 10)
	w.buf = append(b, '}')
}

// binaryHeader writes the form drawn at binaryFixed.
func (w *FieldWriter) binaryHeader(h *head) {
	if h.code != int32(int16(h.code)) || h.version != int32(int16(h.version)) {
		// RocketMQ truncates such codes silently and serves the wrong request.
		w.err = fmt.Errorf("%w: code %d does not fit the binary header; send it as JSON", ErrHeader, h.code)
		return
	}
	b := binary.BigEndian.AppendUint16(w.buf, uint16(h.code))
	b = append(b, byte(h.language))
	b = binary.BigEndian.AppendUint16(b, uint16(h.version))
	b = binary.BigEndian.AppendUint32(b, uint32(h.opaque))
	b = binary.BigEndian.AppendUint32(b, uint32(h.flag))
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.remark)))
	b = append(b, h.remark...)
	ext := len(b)
	w.buf = append(b, 0, 0, 0, 0)
	if h.fields != nil {
		h.fields.EncodeFields(w)
	}
	binary.BigEndian.PutUint32(w.buf[ext:], uint32(len(w.buf)-ext-4))
}
