package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// readerGroup is a consumer group that every RocketMQ broker knows.
const readerGroup = "TOOLS_CONSUMER"

// Bits of a pull's sysFlag.
const (
	pullSuspend      = 0x2 // hold the request until something arrives
	pullSubscription = 0x4 // the subscription comes with the request
)

// Reader reads one queue from an offset on. It belongs to one goroutine.
type Reader struct {
	client *Client
	addr   string // whom to ask whatever the route says; "": by the route
	topic  string
	queue  Queue
	next   int64
	max    int64
}

// NewReader returns a reader of one queue that starts at the given offset.
func (c *Client) NewReader(topic string, queue Queue, from int64) *Reader {
	return &Reader{client: c, topic: topic, queue: queue, next: from}
}

// NewReaderAt is NewReader for one member of the group, whether it leads or not.
func (c *Client) NewReaderAt(addr, topic string, queue Queue, from int64) *Reader {
	r := c.NewReader(topic, queue, from)
	r.addr = addr
	return r
}

// Next is the offset of the message that is read next.
func (r *Reader) Next() int64 { return r.next }

// Max is the queue's end as the last answer told: the offset of the message
// that will be stored next.
func (r *Reader) Max() int64 { return r.max }

// Read returns the messages from Next on; none when there are none after
// waiting for up to wait at the broker. It looks the route up again and retries
// after failures until ctx ends. Offsets that were deleted are passed over. The
// messages are the caller's to keep.
func (r *Reader) Read(ctx context.Context, wait time.Duration) ([]message.Stored, error) {
	refusals := 0
	for attempt := 1; ; attempt++ {
		msgs, err := r.readOnce(ctx, wait)
		if err == nil {
			return msgs, nil
		}
		if hopeless(err) || errors.Is(err, ErrNoTopic) {
			refusals++
		}
		limit := r.client.cfg.RefusalsMax
		if limit > 0 && refusals >= limit {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryPause(attempt)):
		}
	}
}

// readOnce makes one attempt, and gives up the route when it fails.
func (r *Reader) readOnce(ctx context.Context, wait time.Duration) ([]message.Stored, error) {
	if r.addr != "" {
		return r.readFrom(ctx, r.addr, wait)
	}
	route, err := r.client.Route(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	addr, err := route.Any(r.queue.Broker)
	var msgs []message.Stored
	if err == nil {
		msgs, err = r.readFrom(ctx, addr, wait)
	}
	if err != nil {
		r.client.drop(route)
	}
	return msgs, err
}

func (r *Reader) readFrom(ctx context.Context, addr string, wait time.Duration) ([]message.Stored, error) {
	c, action := r.client, fmt.Sprintf("read topic %s queue %d", r.topic, r.queue.ID)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout+wait)
	defer cancel()
	resp, err := c.remote.Invoke(ctx, addr, r.request(wait))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", action, addr, err)
	}
	switch resp.Code {
	case protocol.StatusSuccess, protocol.StatusPullNotFound, protocol.StatusPullRetryImmediately, protocol.StatusPullOffsetMoved:
	default:
		return nil, statusError(resp, addr, action)
	}
	var h protocol.PullResponseHeader
	if err := h.Decode(resp); err != nil {
		return nil, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	r.max = h.MaxOffset
	var msgs []message.Stored
	for rest := resp.Body; len(rest) > 0 && resp.Code == protocol.StatusSuccess; {
		m, err := message.ParseStored(rest)
		if err != nil {
			return nil, fmt.Errorf("%s at offset %d: %w", action, r.next, err)
		}
		msgs, rest = append(msgs, m), rest[m.Size():]
	}
	r.next = h.NextBeginOffset
	return msgs, nil
}

func (r *Reader) request(wait time.Duration) *protocol.Command {
	h := &protocol.PullHeader{
		ConsumerGroup:  []byte(readerGroup),
		Topic:          []byte(r.topic),
		QueueID:        r.queue.ID,
		QueueOffset:    r.next,
		MaxMsgNums:     32,
		SysFlag:        pullSubscription,
		Subscription:   []byte("*"),
		SubVersion:     time.Now().UnixMilli(),
		ExpressionType: []byte("TAG"),
	}
	if wait > 0 {
		h.SysFlag |= pullSuspend
		h.SuspendTimeoutMillis = wait.Milliseconds()
	}
	return protocol.NewRequest(protocol.CodePullMessage).SetHeader(h)
}
