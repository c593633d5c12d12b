package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// ErrNoMessage says that no message was found.
var ErrNoMessage = errors.New("no such message")

// BodyMax bounds a body after decompression, so that a small message cannot
// claim to be gigabytes.
const BodyMax = 64 << 20

// View returns the message with the given offset message id, from the broker
// that the id names.
func (c *Client) View(ctx context.Context, msgID string) (message.Stored, error) {
	addr, at, err := message.ParseOffsetMsgID(msgID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (32 hexadecimal digits, broker and position; an id made by a producer needs its topic: queryMsgByUniqueKey)", msgID, err)
	}
	action := "read message " + msgID
	resp, err := c.call(ctx, addr.String(), action, protocol.NewRequest(protocol.CodeViewMessageByID).SetField("offset", strconv.FormatInt(int64(at), 10)))
	if IsStatus(err, protocol.StatusSystemError, protocol.StatusNoMessage, protocol.StatusQueryNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrNoMessage, err)
	}
	if err != nil {
		return nil, err
	}
	m, err := message.ParseStored(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	return m, nil
}

// KeyQuery says what to look for in a topic's key index.
type KeyQuery struct {
	Topic, Key string
	// Unique: Key is an id that a producer made, not one of the user's keys.
	Unique     bool
	Begin, End int64 // store time in ms
	Max        int   // of each broker
}

// Query returns the messages with a key, the oldest first. One that several
// names of a broker lead to is returned once. The error is ErrNoMessage when
// there is none.
func (c *Client) Query(ctx context.Context, q KeyQuery) ([]message.Stored, error) {
	addrs, err := c.brokersOf(ctx, q.Topic)
	if err != nil {
		return nil, err
	}
	action := fmt.Sprintf("look for %s in topic %s", q.Key, q.Topic)
	var found []message.Stored
	seen := map[string]bool{}
	for _, addr := range addrs {
		req := protocol.NewRequest(protocol.CodeQueryMessage).SetHeader(protocol.Pairs{
			{"topic", q.Topic}, {"key", q.Key}, {"maxNum", strconv.Itoa(q.Max)},
			{"beginTimestamp", strconv.FormatInt(q.Begin, 10)}, {"endTimestamp", strconv.FormatInt(q.End, 10)},
			{"_UNIQUE_KEY_QUERY", strconv.FormatBool(q.Unique)}})
		resp, err := c.callWithin(ctx, askedTimeout, addr, action, req)
		if IsStatus(err, protocol.StatusQueryNotFound, protocol.StatusNoMessage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for rest := resp.Body; len(rest) > 0; {
			m, err := message.ParseStored(rest)
			if err != nil {
				return nil, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
			}
			rest = rest[m.Size():]
			id := message.OffsetMsgID(m.StoreHost(), m.PhyOffset())
			if q.matches(m) && !seen[id] {
				seen[id] = true
				found = append(found, m.Clone())
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", action, ErrNoMessage)
	}
	slices.SortStableFunc(found, func(a, b message.Stored) int { return int(a.StoreTimestamp() - b.StoreTimestamp()) })
	return found, nil
}

// matches sorts out what only has the hash of its key in common.
func (q KeyQuery) matches(m message.Stored) bool {
	if string(m.Topic()) != q.Topic {
		return false
	}
	if q.Unique {
		return MessageID(m) == q.Key
	}
	keys, _ := m.Property(message.PropertyKeys)
	return slices.Contains(strings.Split(string(keys), " "), q.Key)
}

// MessageID is the id that clients show for a message: the one its producer
// made, or where it lies.
func MessageID(m message.Stored) string {
	if id, ok := m.Property(message.PropertyUniqKey); ok {
		return string(id)
	}
	return message.OffsetMsgID(m.StoreHost(), m.PhyOffset())
}

// Body returns a message's body as its producer gave it.
func Body(m message.Stored) ([]byte, error) {
	return message.DecompressBody(m.SysFlag(), m.Body(), BodyMax)
}

// PullStatus is what a pull found, by RocketMQ's names.
type PullStatus string

// What a pull can find.
const (
	PullFound         PullStatus = "FOUND"
	PullNoNewMsg      PullStatus = "NO_NEW_MSG"
	PullNoMatchedMsg  PullStatus = "NO_MATCHED_MSG"
	PullOffsetIllegal PullStatus = "OFFSET_ILLEGAL"
)

// Pulled is the answer to a pull. The messages are the caller's to keep.
type Pulled struct {
	Status         PullStatus
	Next, Min, Max int64 // offset to go on from; ends of the queue
	Messages       []message.Stored
}

// Pull reads messages of one queue once, without waiting and without moving the
// group. expression is "*" or tags separated by ||; group "" is the tools' own.
func (c *Client) Pull(ctx context.Context, addr, group, topic string, queue int32, from int64, most int32, expression string) (*Pulled, error) {
	if group == "" {
		group = readerGroup
	}
	action := fmt.Sprintf("read topic %s queue %d at offset %d", topic, queue, from)
	resp, err := c.exchange(ctx, addr, action, protocol.NewRequest(protocol.CodePullMessage).SetHeader(&protocol.PullHeader{
		ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue, QueueOffset: from, MaxMsgNums: most,
		SysFlag: protocol.PullSubscription, Subscription: []byte(expression), SubVersion: time.Now().UnixMilli(),
		ExpressionType: []byte(protocol.ExpressionTag)}))
	if err != nil {
		return nil, err
	}
	p := &Pulled{}
	switch resp.Code {
	case protocol.StatusSuccess:
		p.Status = PullFound
	case protocol.StatusPullNotFound:
		p.Status = PullNoNewMsg
	case protocol.StatusPullRetryImmediately:
		p.Status = PullNoMatchedMsg
	case protocol.StatusPullOffsetMoved:
		p.Status = PullOffsetIllegal
	default:
		return nil, statusError(resp, addr, action)
	}
	var h protocol.PullResponseHeader
	if err := h.Decode(resp); err != nil {
		return nil, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	p.Next, p.Min, p.Max = h.NextBeginOffset, h.MinOffset, h.MaxOffset
	for rest := resp.Body; len(rest) > 0 && p.Status == PullFound; {
		m, err := message.ParseStored(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", action, err)
		}
		p.Messages, rest = append(p.Messages, m), rest[m.Size():]
	}
	return p, nil
}
