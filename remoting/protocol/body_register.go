package protocol

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
)

// BodyCRC32 is the bodyCrc32 of a REGISTER_BROKER request: the CRC-32 of the
// body as sent, without its sign bit.
func BodyCRC32(body []byte) int32 { return int32(crc32.ChecksumIEEE(body) & 0x7FFFFFFF) }

// AppendJSON appends the plain form.
func (b *RegisterBrokerBody) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, func(w *jsonWriter) {
		w.open('{')
		w.key("filterServerList")
		w.strs(b.FilterServerList)
		w.key("topicConfigSerializeWrapper")
		b.TopicConfigs.write(w)
		w.close('}')
	})
}

// Decode reads the plain form, or the bare topic table that brokers before 3.0.11
// send. An empty body is an empty table with version 0.
func (b *RegisterBrokerBody) Decode(body []byte) error {
	*b = RegisterBrokerBody{TopicConfigs: TopicConfigSerializeWrapper{TopicConfigTable: map[string]*TopicConfig{}}}
	if len(body) == 0 {
		return nil
	}
	v, err := parseObject(body, registerLimits)
	if err != nil {
		return fmt.Errorf("broker registration: %w", err)
	}
	table := v.Get("topicConfigSerializeWrapper")
	if table.Kind() == KindNull && v.Get("topicConfigTable").Kind() != KindNull {
		table = v
	}
	b.TopicConfigs = topicTableOf(table)
	b.FilterServerList = v.Get("filterServerList").Strs()
	return nil
}

// The compressed form is one zlib stream of
//
//	i32 len | DataVersion JSON | i32 topic count |
//	per topic: i32 len | "<name> <read> <write> <perm> <filter type>[ <attributes JSON>]" |
//	i32 len | JSON array of filter servers
//
// The order flag and the system flag of a topic do not fit into it.
const (
	// registerInflatedMax bounds what a registration may inflate to: a stream of
	// zeros would otherwise turn 16 MiB into 16 GiB.
	registerInflatedMax = 64 << 20
	registerTextMax     = 64 << 10 // one topic's text
	registerJSONMax     = 1 << 20  // the JSON parts
	registerTopicsMax   = 256 << 10
)

// AppendCompressed appends the compressed form.
func (b *RegisterBrokerBody) AppendCompressed(dst []byte) ([]byte, error) {
	var plain []byte
	part := func(p []byte) {
		plain = append(binary.BigEndian.AppendUint32(plain, uint32(len(p))), p...)
	}
	part(Encode(&b.TopicConfigs.DataVersion))
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(b.TopicConfigs.TopicConfigTable)))
	for _, name := range sortedKeys(b.TopicConfigs.TopicConfigTable) {
		text := b.TopicConfigs.TopicConfigTable[name].registerText(name)
		if len(text) > registerTextMax {
			return dst, fmt.Errorf("%w: topic %.64q takes %d bytes in a registration", ErrTooLarge, name, len(text))
		}
		part([]byte(text))
	}
	part(appendJSON(nil, func(w *jsonWriter) { w.strs(b.FilterServerList) }))

	out := bytes.NewBuffer(dst)
	z, err := zlib.NewWriterLevel(out, zlib.BestCompression)
	if err == nil {
		if _, err = z.Write(plain); err == nil {
			err = z.Close()
		}
	}
	if err != nil {
		return dst, fmt.Errorf("compress registration: %w", err)
	}
	return out.Bytes(), nil
}

// registerText is one topic in the compressed form.
func (b *TopicConfig) registerText(name string) string {
	filter := b.TopicFilterType
	if filter == "" {
		filter = FilterSingleTag
	}
	text := fmt.Sprintf("%s %d %d %d %s", name, b.ReadQueueNums, b.WriteQueueNums, b.Perm, filter)
	if len(b.Attributes) > 0 {
		text += " " + string(appendJSON(nil, func(w *jsonWriter) { w.strMap(b.Attributes) }))
	}
	return text
}

// DecodeCompressed reads the compressed form. It inflates as it goes and stops
// at a bound, so a small body cannot take much memory.
func (b *RegisterBrokerBody) DecodeCompressed(body []byte) error {
	*b = RegisterBrokerBody{TopicConfigs: TopicConfigSerializeWrapper{TopicConfigTable: map[string]*TopicConfig{}}}
	if len(body) == 0 {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("compressed registration: %w: %w", ErrBody, err)
	}
	limited := &io.LimitedReader{R: z, N: registerInflatedMax}
	r := registerReader{r: bufio.NewReader(limited)}

	version := r.part(registerJSONMax)
	if r.err == nil && len(version) > 0 {
		r.err = b.TopicConfigs.DataVersion.Decode(version)
	}
	n := r.int32()
	if r.err == nil && (n < 0 || n > registerTopicsMax) {
		r.err = fmt.Errorf("%w: %d topics", ErrTooLarge, n)
	}
	for ; r.err == nil && n > 0; n-- {
		if text := r.part(registerTextMax); r.err == nil {
			r.err = b.addTopic(string(text))
		}
	}
	if filters := r.part(registerJSONMax); r.err == nil && len(filters) > 0 {
		v, err := ParseJSON(filters, JSONLimits{NodesMax: 1 << 16})
		r.err, b.FilterServerList = err, v.Strs()
	}
	switch {
	case r.err == nil:
		return nil
	case limited.N <= 0:
		return fmt.Errorf("compressed registration: %w: inflates to more than %d bytes", ErrTooLarge, registerInflatedMax)
	default:
		return fmt.Errorf("compressed registration: %w", r.err)
	}
}

// addTopic reads one topic's text.
func (b *RegisterBrokerBody) addTopic(text string) error {
	parts := strings.SplitN(text, " ", 6)
	if len(parts) < 5 || parts[0] == "" {
		return fmt.Errorf("%w: topic text %.64q", ErrBody, text)
	}
	t := &TopicConfig{TopicName: parts[0], TopicFilterType: parts[4]}
	for i, to := range []*int32{&t.ReadQueueNums, &t.WriteQueueNums, &t.Perm} {
		n, err := strconv.ParseInt(parts[1+i], 10, 32)
		if err != nil {
			return fmt.Errorf("%w: topic text %.64q: %w", ErrBody, text, err)
		}
		*to = int32(n)
	}
	if len(parts) == 6 && strings.HasPrefix(parts[5], "{") {
		v, err := ParseJSON([]byte(parts[5]), JSONLimits{NodesMax: 4096})
		if err != nil {
			return err
		}
		if v.Len() > 0 {
			t.Attributes = v.StrMap()
		}
	}
	b.TopicConfigs.TopicConfigTable[t.TopicName] = t
	return nil
}

// registerReader reads length-prefixed parts and remembers the first error.
type registerReader struct {
	r   *bufio.Reader
	err error
}

func (r *registerReader) int32() int32 {
	var b [4]byte
	r.full(b[:])
	return int32(binary.BigEndian.Uint32(b[:]))
}

func (r *registerReader) part(limit int32) []byte {
	n := r.int32()
	if r.err == nil && (n < 0 || n > limit) {
		r.err = fmt.Errorf("%w: part of %d bytes", ErrTooLarge, n)
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	r.full(b)
	return b
}

func (r *registerReader) full(b []byte) {
	if r.err != nil {
		return
	}
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = fmt.Errorf("%w: %w", ErrBody, err)
	}
}
