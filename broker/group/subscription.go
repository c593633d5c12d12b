package group

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/broker/filter"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Subscription is what a consumer group wants of one topic. It is immutable.
type Subscription struct {
	// Data is the subscription as tools are shown it, with CodeSet computed
	// here. It must not be changed.
	Data protocol.SubscriptionData

	all   bool
	codes []int32 // ascending

	// compile makes the expression of a SQL92 subscription at its first use and
	// keeps it, or what is wrong with it, as long as the subscription: a
	// heartbeat repeats a version that is known every 30 s, and most broken
	// expressions are never pulled with.
	compile func() (*filter.Expression, error)
}

// NewSubscription makes a subscription from its text, as it stands in the
// header of a pull: "" and "*" are everything, otherwise tags joined by "||",
// or SQL when expressionType says so ("" is TAG).
func NewSubscription(topic, expression, expressionType string, version int64) *Subscription {
	return fromData(protocol.SubscriptionData{
		Topic: topic, SubString: expression, ExpressionType: expressionType, SubVersion: version,
	})
}

// fromData takes over a heartbeat's subscription. Tags come from the text and
// from tagsSet together: they say the same in every known client, and if one
// day they do not, a message too many is dropped by the client's own check of
// the tag, while a message too few would be lost to it.
func fromData(d protocol.SubscriptionData) *Subscription {
	if d.ExpressionType == "" {
		d.ExpressionType = protocol.ExpressionTag
	}
	s := &Subscription{Data: d}
	s.Data.TagsSet, s.Data.CodeSet = []string{}, []int32{}
	if d.ExpressionType != protocol.ExpressionTag {
		s.compile = sync.OnceValues(func() (*filter.Expression, error) {
			if d.ExpressionType != protocol.ExpressionSQL92 {
				return nil, fmt.Errorf("expression type %.32q is not known; use %s or %s", d.ExpressionType, protocol.ExpressionTag, protocol.ExpressionSQL92)
			}
			return filter.Compile(d.SubString)
		})
		return s
	}
	if text := strings.TrimSpace(d.SubString); text == "" && len(d.TagsSet) == 0 || text == protocol.SubscribeAll {
		s.Data.SubString, s.all = protocol.SubscribeAll, true
		return s
	}
	for _, tag := range slices.Concat(strings.Split(d.SubString, "||"), d.TagsSet) {
		tag = strings.TrimSpace(tag)
		if tag == "" || slices.Contains(s.Data.TagsSet, tag) {
			continue
		}
		s.Data.TagsSet = append(s.Data.TagsSet, tag)
		s.Data.CodeSet = append(s.Data.CodeSet, message.HashCode(tag))
	}
	s.codes = slices.Sorted(slices.Values(s.Data.CodeSet))
	return s
}

// Version is the subscription's subVersion, the client's clock in ms when it
// was made.
func (s *Subscription) Version() int64 { return s.Data.SubVersion }

// All reports whether every message of the topic is wanted, whatever its tag.
func (s *Subscription) All() bool { return s.all }

// IsTag reports whether the subscription is by tags; otherwise Expression says
// what it wants.
func (s *Subscription) IsTag() bool { return s.Data.ExpressionType == protocol.ExpressionTag }

// Expression returns the compiled selector of a subscription that is not by
// tags, or what is wrong with its text, with the position. Of a subscription by
// tags it is nil.
func (s *Subscription) Expression() (*filter.Expression, error) {
	if s.compile == nil {
		return nil, nil
	}
	return s.compile()
}

// Match reports whether a message with this tags code may be wanted. The
// client checks the tag itself again, so a hash collision does no harm.
// Expressions that are no tags match everything here.
func (s *Subscription) Match(tagsCode int64) bool {
	if s.all || s.Data.ClassFilterMode || s.Data.ExpressionType != protocol.ExpressionTag {
		return true
	}
	_, ok := slices.BinarySearch(s.codes, int32(tagsCode))
	return ok
}
