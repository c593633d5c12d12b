package message

import (
	"bytes"
	"fmt"
	"strings"
)

// Light queues. A message that names queues in PropertyInnerMultiDispatch can be
// read from each of them besides its own: one record, many queue entries. Whether
// it is, its leader decides and the record says, so that members with different
// settings do the same: the last property is then PropertyInnerMultiQueueOffset
// with room for one offset per name,
//
//	… 02 INNER_MULTI_QUEUE_OFFSET 01 00000000000000000000 , 00000000000000000000
//
// as many times twenty digits as there are names, zero in the log. The copy that
// is sent to a consumer has the offsets in their place, as PatchOffsets does with
// the message's own; Java reads numbers with leading zeros. Requiring the property
// to be the last one makes the question cheap, and one that no client can answer:
// what it sends gets the property CLUSTER behind it.
const (
	// LightPrefix begins the names of light queues.
	LightPrefix = "%LMQ%"
	// LightQueuesMax is how many names one message may have.
	LightQueuesMax = 64

	lightDigits = 20
)

var (
	lightPrefix = []byte(LightPrefix)
	lightMark   = []byte("\x02" + PropertyInnerMultiQueueOffset + "\x01")
	lightZeros  = bytes.Repeat([]byte{'0'}, lightDigits)
)

// IsLightQueue tells whether a name is that of a light queue.
func IsLightQueue(name string) bool { return strings.HasPrefix(name, LightPrefix) }

// FeedsLightQueues tells whether messages of a topic can be read from light queues
// too. Those cannot that wait, are retried or given up, are the system's own, or
// lie in a light queue.
func FeedsLightQueues(topic string) bool {
	return !IsRetryTopic(topic) && !IsDLQTopic(topic) && !IsSystemTopic(topic) && !IsLightQueue(topic) &&
		!strings.HasPrefix(topic, TimerTopicPrefix)
}

// LightQueues splits the value of PropertyInnerMultiDispatch as Java does, without
// empty names at the end. A name may occur twice. The error names the bound that
// the value breaks, for the remark of an answer.
func LightQueues(value []byte) ([]string, error) {
	text := strings.TrimRight(string(value), ",")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	names := strings.SplitN(text, ",", LightQueuesMax+1)
	if len(names) > LightQueuesMax {
		return nil, nameError(fmt.Sprintf("property %s names more than %d queues", PropertyInnerMultiDispatch, LightQueuesMax))
	}
	for _, name := range names {
		if !isLightName([]byte(name)) {
			return nil, nameError(fmt.Sprintf("property %s: %.140q cannot be a light queue; its name begins with %s, has at most %d characters and matches %s",
				PropertyInnerMultiDispatch, name, LightPrefix, TopicBytesMax, allowed))
		}
	}
	return names, nil
}

func isLightName(name []byte) bool {
	return len(name) > len(lightPrefix) && len(name) <= TopicBytesMax && bytes.HasPrefix(name, lightPrefix) && legalName(name)
}

// AppendLightOffsets appends the room for n offsets to the properties of a message
// that names n light queues. Nothing may be appended after it.
func AppendLightOffsets(props []byte, n int) []byte {
	props = append(props, lightMark...)
	for i := range n {
		if i > 0 {
			props = append(props, ',')
		}
		props = append(props, lightZeros...)
	}
	return props
}

// LightOffsetsSize is how many bytes AppendLightOffsets adds.
func LightOffsetsSize(n int) int { return len(lightMark) + n*(lightDigits+1) - 1 }

// EachLightQueue calls fn for each name of a light queue that the record of the
// log can be read from, in the order of the property: where the room for the
// offset is in the record, and whether the name came before.
func (s Stored) EachLightQueue(fn func(name []byte, at int, again bool)) {
	// Nearly all records have no such property, and this tells them apart.
	if !bytes.HasSuffix(s, lightZeros) {
		return
	}
	names, at := s.light()
	for rest := names; len(rest) > 0; at += lightDigits + 1 {
		var name []byte
		before := names[:len(names)-len(rest)]
		name, rest, _ = bytes.Cut(rest, comma)
		fn(name, at, hasName(before, name))
	}
}

var comma = []byte(",")

// light returns the names of the light queues, and where the room for the first
// offset is; none if the record is not exactly what a leader makes.
func (s Stored) light() (names []byte, at int) {
	props := s.Properties()
	mark := bytes.LastIndex(props, lightMark)
	names, _ = find(props, []byte(PropertyInnerMultiDispatch))
	names = bytes.TrimRight(names, ",")
	if mark < 0 || len(names) == 0 || !FeedsLightQueues(string(s.Topic())) {
		return nil, 0
	}
	count := 0
	for name := range bytes.SplitSeq(names, comma) {
		if count++; count > LightQueuesMax || !isLightName(name) {
			return nil, 0
		}
	}
	room := props[mark+len(lightMark):]
	if len(room) != count*(lightDigits+1)-1 {
		return nil, 0
	}
	for number := range bytes.SplitSeq(room, comma) {
		if !bytes.Equal(number, lightZeros) {
			return nil, 0
		}
	}
	return names, len(s) - len(room)
}

// hasName looks for a name in a list of them, each with a comma behind it.
func hasName(list, name []byte) bool {
	for len(list) > 0 {
		var one []byte
		if one, list, _ = bytes.Cut(list, comma); bytes.Equal(one, name) {
			return true
		}
	}
	return false
}

// PutLightOffset writes an offset where EachLightQueue said, into a copy of a
// record on its way out.
func PutLightOffset(rec []byte, at int, off QueueOffset) {
	for i := at + lightDigits - 1; i >= at; i-- {
		rec[i] = byte('0' + off%10)
		off /= 10
	}
}
