package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// AnyQueue as Message.Queue spreads messages over all writable queues.
const AnyQueue int32 = -1

// Message is what a tool sends.
type Message struct {
	Topic      string
	Queue      int32 // AnyQueue, or the id of a queue of the (first) broker
	Body       []byte
	Tags, Keys string
	Properties []byte // property string with further properties, may be nil
}

// SendResult is where a message was stored.
type SendResult struct {
	MsgID    string // the broker's offset message id
	Broker   string
	Addr     string // who acknowledged it
	Queue    int32
	Offset   int64
	Status   int32 // success, or stored but not flushed or copied in time (10 to 12)
	Attempts int
}

// StoredBy is the address of the member that stored the message, which it writes
// into the message's id; "" if the id says nothing. It differs from Addr when
// the member that was asked sent the message on.
func (r SendResult) StoredBy() string {
	first, _, _ := strings.Cut(r.MsgID, ",") // a batch has one id for each message
	host, _, err := message.ParseOffsetMsgID(first)
	if err != nil {
		return ""
	}
	return host.String()
}

// producerGroup names the tool to the broker; it is not checked there.
const producerGroup = "CLIENT_INNER_PRODUCER"

// Send stores a message and returns where. It refreshes the route and tries
// again after every failure until ctx ends, or until the broker has refused
// Config.RefusalsMax times for a reason that will not change. A failed attempt
// whose outcome is unknown may have stored the message too.
func (c *Client) Send(ctx context.Context, m Message) (SendResult, error) {
	refusals := 0
	for attempt := 1; ; attempt++ {
		res, err := c.sendByRoute(ctx, m)
		if err == nil {
			res.Attempts = attempt
			return res, nil
		}
		if hopeless(err) || errors.Is(err, ErrNoTopic) {
			refusals++
		}
		if c.cfg.RefusalsMax > 0 && refusals >= c.cfg.RefusalsMax || ctx.Err() != nil {
			return SendResult{Attempts: attempt}, err
		}
		select {
		case <-ctx.Done():
			return SendResult{Attempts: attempt}, err
		case <-time.After(retryPause(attempt)):
		}
	}
}

// retryPause grows from 2 ms, so that the first sends after an election are not
// late, to 64 ms, so that a long outage costs no processor.
func retryPause(attempt int) time.Duration {
	return time.Millisecond << min(attempt, 6)
}

// pick chooses the queue and the address of one attempt.
func (c *Client) pick(route *Route, m Message) (Queue, string, error) {
	if len(route.Writable) == 0 {
		return Queue{}, "", fmt.Errorf("topic %s: %w", m.Topic, ErrNoLeader)
	}
	q := route.Writable[0]
	if m.Queue == AnyQueue {
		q = route.Writable[int(c.turn.Add(1))%len(route.Writable)]
	} else {
		q.ID = m.Queue
	}
	addr, err := route.Leader(q.Broker)
	return q, addr, err
}

// SendTo makes one attempt at the given address, whatever the route says. The
// queue must be named.
func (c *Client) SendTo(ctx context.Context, addr string, m Message) (SendResult, error) {
	action := "send to topic " + m.Topic
	q := Queue{ID: m.Queue}
	resp, err := c.exchange(ctx, addr, action, sendRequest(m, q))
	if err != nil {
		return SendResult{}, err
	}
	res, err := sendResult(resp, q, addr, action)
	res.Attempts = 1
	return res, err
}

// sendByRoute makes one attempt, and gives up the route when it fails.
func (c *Client) sendByRoute(ctx context.Context, m Message) (SendResult, error) {
	route, err := c.Route(ctx, m.Topic)
	if err != nil {
		return SendResult{}, err
	}
	q, addr, err := c.pick(route, m)
	var res SendResult
	if err == nil {
		res, err = c.SendTo(ctx, addr, m.in(q))
	}
	if err != nil {
		c.drop(route)
	}
	res.Broker = q.Broker
	return res, err
}

func (m Message) in(q Queue) Message {
	m.Queue = q.ID
	return m
}

// SendAsync makes one attempt without waiting; done is called exactly once, on
// another goroutine or before SendAsync returns, and must not block. After a
// failure the next send looks the route up again.
func (c *Client) SendAsync(ctx context.Context, m Message, done func(SendResult, error)) {
	route, err := c.Route(ctx, m.Topic)
	if err != nil {
		done(SendResult{}, err)
		return
	}
	q, addr, err := c.pick(route, m)
	if err != nil {
		c.drop(route)
		done(SendResult{}, err)
		return
	}
	c.remote.InvokeAsync(addr, sendRequest(m, q), func(resp *protocol.Command, err error) {
		action := "send to topic " + m.Topic
		var res SendResult
		if err != nil {
			err = fmt.Errorf("%s: %s: %w", action, addr, err)
		} else {
			res, err = sendResult(resp, q, addr, action)
		}
		if err != nil {
			c.drop(route)
		}
		done(res, err)
	})
}

func sendRequest(m Message, q Queue) *protocol.Command {
	props := m.Properties
	if m.Tags != "" {
		props = message.AppendProperty(props, message.PropertyTags, m.Tags)
	}
	if m.Keys != "" {
		props = message.AppendProperty(props, message.PropertyKeys, m.Keys)
	}
	return protocol.NewRequest(protocol.CodeSendMessageV2).SetBody(m.Body).SetHeader(&protocol.SendHeader{
		ProducerGroup:         []byte(producerGroup),
		Topic:                 []byte(m.Topic),
		DefaultTopic:          []byte(message.TopicAutoCreate),
		DefaultTopicQueueNums: templateQueues,
		QueueID:               q.ID,
		BornTimestamp:         time.Now().UnixMilli(),
		Properties:            props,
		MaxReconsumeTimes:     -1,
	})
}

// sendResult reads an answer. A message that is stored but not yet flushed or
// copied as the broker's settings ask (statuses 10 to 12 of a Java broker)
// counts as sent, as it does for every client.
func sendResult(resp *protocol.Command, q Queue, addr, action string) (SendResult, error) {
	switch resp.Code {
	case protocol.StatusSuccess, protocol.StatusFlushDiskTimeout, protocol.StatusSlaveNotAvailable, protocol.StatusFlushSlaveTimeout:
	default:
		err := statusError(resp, addr, action)
		resp.Release()
		return SendResult{}, err
	}
	var h protocol.SendResponseHeader
	if err := h.Decode(resp); err != nil {
		return SendResult{}, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
	}
	res := SendResult{MsgID: string(h.MsgID), Broker: q.Broker, Addr: addr, Queue: h.QueueID, Offset: h.QueueOffset, Status: resp.Code}
	resp.Release()
	return res, nil
}
