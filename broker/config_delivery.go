package broker

import (
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/broker/transaction"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// DeliveryConfig holds the keys of transactions, request-reply, producer
// de-duplication and light queues.
type DeliveryConfig struct {
	// TransactionTimeout is how old a half message is before its producer group
	// is asked about it, TransactionInterval the time between two such
	// check-backs, and after TransactionCheckMax of them it is moved to
	// TRANS_CHECK_MAX_TIME_TOPIC.
	TransactionTimeout  time.Duration `cfg:"transactionTimeOut" unit:"ms" live:"true" group:"true" min:"0"`
	TransactionInterval time.Duration `cfg:"transactionCheckInterval" unit:"ms" live:"true" group:"true" min:"10"`
	TransactionCheckMax int           `cfg:"transactionCheckMax" live:"true" group:"true" min:"0" max:"1000000"`
	// RejectTransactions refuses half messages. Those that wait go on.
	RejectTransactions bool `cfg:"rejectTransactionMessage" live:"true" group:"true"`

	// StoreReply stores replies in the cluster's reply topic, beside pushing them
	// to the requester.
	StoreReply bool `cfg:"storeReplyMessageEnable" live:"true" group:"true"`

	// Deduplicate answers a producer that sends a message again (same topic,
	// producer group and unique id) with the place of the first copy instead of
	// storing a second one. DeduplicateTopics switches it on for some topics
	// only, separated by ";"; a topic's attribute "deduplicate" decides before
	// both. RocketMQ has nothing like it, so it is off by default.
	Deduplicate       bool   `cfg:"deduplicateEnable" live:"true" group:"true"`
	DeduplicateTopics string `cfg:"deduplicateTopics" live:"true" group:"true"`
	// DeduplicateWindow is how long a send is remembered, DeduplicateEntries how
	// many messages are, at about 100 bytes of memory each; when more arrive
	// within the window, the oldest are forgotten before its end.
	DeduplicateWindow  time.Duration `cfg:"deduplicateWindowMillis" unit:"ms" live:"true" group:"true" min:"1" max:"86400000"`
	DeduplicateEntries int           `cfg:"deduplicateEntriesMax" live:"true" group:"true" min:"5" max:"20000000"`

	// LightQueues lets clients read light queues (%LMQ%…), which need no topic, and
	// consume with groups whose names begin so and need no settings. With
	// MultiDispatch, too, a message can be read from the light queues that it names
	// in the property INNER_MULTI_DISPATCH. Switch both on when all members of the
	// group run a version that has them. LightQueuesMax is how many light queues
	// there may be; messages that would make more are refused.
	LightQueues    bool `cfg:"enableLmq" live:"true" group:"true"`
	MultiDispatch  bool `cfg:"enableMultiDispatch" live:"true" group:"true"`
	LightQueuesMax int  `cfg:"maxLmqConsumeQueueNum" live:"true" group:"true" min:"0" max:"1000000"`
}

func defaultDelivery() DeliveryConfig {
	return DeliveryConfig{
		TransactionTimeout:  6 * time.Second,
		TransactionInterval: 60 * time.Second,
		TransactionCheckMax: 15,
		StoreReply:          true,
		DeduplicateWindow:   2 * time.Minute,
		DeduplicateEntries:  1_000_000,
		LightQueuesMax:      20_000,
	}
}

func (c *DeliveryConfig) checks() transaction.Settings {
	return transaction.Settings{
		Timeout: c.TransactionTimeout, Interval: c.TransactionInterval, CheckMax: int32(c.TransactionCheckMax),
	}
}

// attributeDeduplicate is the topic attribute that switches de-duplication on
// (true) or off for the topic, whatever the broker's default.
const attributeDeduplicate = "deduplicate"

// deduplicates says whether sends to a topic are stored once.
func (c *DeliveryConfig) deduplicates(t *protocol.TopicConfig) bool {
	if len(t.Attributes) > 0 {
		if v, ok := t.Attributes[attributeDeduplicate]; ok {
			return strings.EqualFold(v, "true")
		}
	}
	return c.Deduplicate || c.DeduplicateTopics != "" && listed(c.DeduplicateTopics, t.TopicName)
}

// listed looks for a name in a list separated by ";".
func listed(list, name string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ";")
		if strings.TrimSpace(item) == name {
			return true
		}
	}
	return false
}

func (c *DeliveryConfig) onceLimits() metadata.OnceLimits {
	return metadata.OnceLimits{WindowMillis: c.DeduplicateWindow.Milliseconds(), EntriesMax: int32(c.DeduplicateEntries)}
}
