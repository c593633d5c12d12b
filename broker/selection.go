package broker

import (
	"strings"

	"github.com/cometmq/cometmq/broker/filter"
	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// selection is what one pull wants of its queue: tags, which the queue's own
// entries tell, or properties, which stand in the message.
type selection struct {
	sub *group.Subscription
	// expr is the selector of a SQL92 subscription, nil without one.
	expr *filter.Expression
	// retryOf finds the selector for a message of a retry topic; set while
	// filterSupportRetry is on.
	retryOf func(rec message.Stored) *filter.Expression
}

// matchFunc is the question the store and the table of held pulls ask about a
// message: rec is nil while only the queue's entry is known.
type matchFunc func(tagsCode int64, rec message.Stored) bool

// match returns the question, nil when every message is wanted. Properties are
// read where they lie in the stored record.
func (s *selection) match() matchFunc {
	switch {
	case s.expr != nil:
		return func(_ int64, rec message.Stored) bool { return rec == nil || s.expr.Match(rec.Properties()) }
	case s.retryOf != nil:
		return func(code int64, rec message.Stored) bool {
			if rec == nil {
				return s.sub.Match(code)
			}
			expr := s.retryOf(rec)
			return expr == nil || expr.Match(rec.Properties())
		}
	case s.sub.All():
		return nil
	}
	return func(code int64, _ message.Stored) bool { return s.sub.Match(code) }
}

// errNoSQL is RocketMQ's answer while enablePropertyFilter is off.
var errNoSQL = refuse(protocol.StatusSystemError, "The broker does not support consumer to filter message by SQL92")

// selectionOf turns a subscription into a selection, or refuses one that is
// not allowed here or whose expression is broken.
//
// Retry topics are not filtered by expressions: what lies there was wanted once.
// With filterSupportRetry a retried message is shown to the expression that the
// group has for the topic the message came from, which may be another by now.
func (b *Broker) selectionOf(sub *group.Subscription) (*selection, error) {
	cfg := b.cfg()
	if !sub.IsTag() && !cfg.PropertyFilter {
		return nil, errNoSQL
	}
	sel := &selection{sub: sub}
	name, retry := strings.CutPrefix(sub.Data.Topic, message.RetryPrefix)
	switch {
	case sub.IsTag() && !sub.All() && len(sub.Data.TagsSet) == 0 && !sub.Data.ClassFilterMode:
		return nil, refuse(protocol.StatusSubscriptionParseFailed, "parse the consumer's subscription failed: no tag in %.64q", sub.Data.SubString)
	case retry && cfg.PropertyFilter && cfg.FilterRetry:
		sel.retryOf = func(rec message.Stored) *filter.Expression { return b.originSelector(name, rec) }
	case !retry && !sub.IsTag():
		var err error
		if sel.expr, err = sub.Expression(); err != nil {
			return nil, refuse(protocol.StatusSubscriptionParseFailed, "parse the consumer's subscription failed: %v", err)
		}
	}
	return sel, nil
}

// originSelector is the selector a group has now for the topic that a message
// in its retry topic came from, nil for none.
func (b *Broker) originSelector(name string, rec message.Stored) *filter.Expression {
	topic, ok := rec.Property(message.PropertyRetryTopic)
	if !ok {
		return nil
	}
	_, sub, ok := b.clients.Consumer([]byte(name), topic)
	if !ok || sub == nil {
		return nil
	}
	expr, err := sub.Expression()
	if err != nil {
		return nil // its own pulls are refused for that
	}
	return expr
}

// checkSubscription is what CHECK_CLIENT_CONFIG wants to know of a subscription
// before the consumer starts.
func (b *Broker) checkSubscription(d *protocol.SubscriptionData) error {
	_, err := b.selectionOf(group.NewSubscription(d.Topic, d.SubString, d.ExpressionType, d.SubVersion))
	return err
}
