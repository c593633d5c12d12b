package message

import (
	"bytes"
	"strings"
)

// Separators of the property string.
const (
	// NameValueSeparator stands between a property's name and its value.
	NameValueSeparator = 0x01
	// PropertySeparator stands between properties; one at the end is accepted.
	PropertySeparator = 0x02
)

// nextSegment cuts the first segment off props. key is nil when the segment is
// one that Java's parser skips: shorter than three bytes, or without a separator
// that has something on both sides.
func nextSegment(props []byte) (segment, key, value, rest []byte) {
	segment, rest, _ = bytes.Cut(props, separator)
	if len(segment) < 3 {
		return segment, nil, nil, rest
	}
	i := bytes.IndexByte(segment, NameValueSeparator)
	if i <= 0 || i == len(segment)-1 {
		return segment, nil, nil, rest
	}
	return segment, segment[:i], segment[i+1:], rest
}

var separator = []byte{PropertySeparator}

// EachProperty calls fn for each property in the order of the string until fn
// returns false. Segments without a name or a value are passed over in silence,
// as RocketMQ's parser does; of a name that occurs twice both are shown.
func EachProperty(props []byte, fn func(key, value []byte) bool) {
	for len(props) > 0 {
		_, k, v, rest := nextSegment(props)
		if k != nil && !fn(k, v) {
			return
		}
		props = rest
	}
}

// Property returns the value of the named property; of several the last, as in
// the map that Java makes of the string. The value shares memory with props.
//
// It looks for the name and then at what surrounds it, which for the one tag
// among the usual five properties is several times faster than cutting segments.
func Property(props []byte, key string) (value []byte, ok bool) {
	if key == "" || strings.IndexByte(key, NameValueSeparator) >= 0 || strings.IndexByte(key, PropertySeparator) >= 0 {
		return nil, false
	}
	return find(props, []byte(key))
}

// find is Property for a name that has been checked.
func find(props, k []byte) (value []byte, ok bool) {
	for at := 0; ; {
		i := bytes.Index(props[at:], k)
		if i < 0 {
			return value, ok
		}
		start := at + i
		end := start + len(k)
		at = start + 1
		if start > 0 && props[start-1] != PropertySeparator || end >= len(props) || props[end] != NameValueSeparator {
			continue
		}
		v := props[end+1:]
		if j := bytes.IndexByte(v, PropertySeparator); j >= 0 {
			v = v[:j]
		}
		if len(v) > 0 {
			value, ok = v, true
		}
		at = end
	}
}

// AppendProperty appends one property to the property string dst, with a
// separator first if dst needs one.
func AppendProperty[K, V string | []byte](dst []byte, key K, value V) []byte {
	dst = appendSeparator(dst, 0)
	dst = append(dst, key...)
	dst = append(dst, NameValueSeparator)
	return append(dst, value...)
}

// AppendProperties appends the property string props to the property string dst,
// with a separator between them if one is needed.
func AppendProperties(dst, props []byte) []byte {
	if len(props) == 0 {
		return dst
	}
	return append(appendSeparator(dst, 0), props...)
}

// DeleteProperty appends props to dst without the named property. The other
// segments keep their bytes and order. dst must not overlap props.
func DeleteProperty(dst, props []byte, key string) []byte {
	start := len(dst)
	for len(props) > 0 {
		segment, k, _, rest := nextSegment(props)
		if len(segment) > 0 && (k == nil || string(k) != key) {
			dst = append(appendSeparator(dst, start), segment...)
		}
		props = rest
	}
	return dst
}

// SetProperty appends props to dst with the named property set to value, which
// then is the last one. dst must not overlap props.
func SetProperty[V string | []byte](dst, props []byte, key string, value V) []byte {
	start := len(dst)
	dst = DeleteProperty(dst, props, key)
	dst = appendSeparator(dst, start)
	dst = append(dst, key...)
	dst = append(dst, NameValueSeparator)
	return append(dst, value...)
}

// appendSeparator ends the property string that begins at start, unless it is
// empty or ended already.
func appendSeparator(dst []byte, start int) []byte {
	if len(dst) > start && dst[len(dst)-1] != PropertySeparator {
		dst = append(dst, PropertySeparator)
	}
	return dst
}
