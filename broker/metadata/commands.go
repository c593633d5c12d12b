package metadata

import (
	"encoding/binary"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// The Append functions append one command record to dst and return the longer
// slice. Several records may stand in one proposal: they are applied in order,
// each with its own result.

// AppendPutTopic creates or replaces a topic. Negative numbers count as zero.
// Result value: the *protocol.TopicConfig now in force (with IfAbsent perhaps
// the one that was there before), or an error.
func AppendPutTopic(dst []byte, c *protocol.TopicConfig, mode PutMode) []byte {
	p := appendString([]byte{formatVersion, byte(mode)}, c.TopicName)
	return store.AppendCommand(dst, OpPutTopic, appendTopicValue(p, c))
}

// AppendDeleteTopic removes a topic, its queues, its consumer offsets and its
// queue locks. Result value: a bool, whether the topic existed, or an error.
func AppendDeleteTopic(dst []byte, topic string) []byte {
	return store.AppendCommand(dst, OpDeleteTopic, appendString([]byte{formatVersion}, topic))
}

// AppendCleanTopic removes the queues, consumer offsets and queue locks of a name
// that has no topic; of a topic that exists by the time the command is applied
// it removes nothing. Result value: a bool, whether it removed, or an error.
func AppendCleanTopic(dst []byte, name string) []byte {
	return store.AppendCommand(dst, OpCleanTopic, appendString([]byte{formatVersion}, name))
}

// AppendPutGroup creates or replaces a subscription group. Result value: the
// *protocol.SubscriptionGroupConfig now in force, or an error.
func AppendPutGroup(dst []byte, c *protocol.SubscriptionGroupConfig, mode PutMode) []byte {
	p := appendString([]byte{formatVersion, byte(mode)}, c.GroupName)
	return store.AppendCommand(dst, OpPutGroup, appendGroupValue(p, c))
}

// AppendDeleteGroup removes a subscription group and its queue locks, and its
// consumer offsets too if removeOffsets is set. Result value: a bool, whether
// the group existed, or an error.
func AppendDeleteGroup(dst []byte, group string, removeOffsets bool) []byte {
	p := appendBool(appendString([]byte{formatVersion}, group), removeOffsets)
	return store.AppendCommand(dst, OpDeleteGroup, p)
}

// AppendCommitOffsets stores consumer offsets; see OffsetCommit for the rule.
// Commits of one group and topic should stand next to each other: they then
// share its name. A commit with a negative queue or offset is left out.
// Result value: an int, how many were stored, or an error.
func AppendCommitOffsets(dst []byte, commits []OffsetCommit) []byte {
	n := 0
	for i := range commits {
		if commits[i].valid() {
			n++
		}
	}
	p := make([]byte, 1, 16+24*len(commits))
	p[0] = formatVersion
	p = binary.AppendUvarint(p, uint64(n))
	var last *OffsetCommit
	for i := range commits {
		c := &commits[i]
		if !c.valid() {
			continue
		}
		if last != nil && last.Group == c.Group && last.Topic == c.Topic {
			p = append(p, 0)
		} else {
			p = appendString(appendString(p, c.Group), c.Topic)
		}
		p = binary.AppendUvarint(appendI32(p, c.Queue), uint64(c.Offset))
		last = c
	}
	return store.AppendCommand(dst, OpCommitOffsets, p)
}

func (c *OffsetCommit) valid() bool { return c.Group != "" && c.Queue >= 0 && c.Offset >= 0 }

func readCommits(r *reader) ([]OffsetCommit, error) {
	commits := make([]OffsetCommit, 0, r.count(3))
	for range cap(commits) {
		c := OffsetCommit{Group: r.string()}
		if c.Group != "" {
			c.Topic = r.string()
		} else if n := len(commits); n > 0 {
			c.Group, c.Topic = commits[n-1].Group, commits[n-1].Topic
		} else {
			r.fail("first commit repeats a group")
		}
		c.Queue, c.Offset = r.i32(), r.offset()
		commits = append(commits, c)
	}
	return commits, r.done()
}

// AppendLockQueues asks for the locks of queues on behalf of a client. Result
// value: a []protocol.MessageQueue, those of the asked queues the client now
// owns, or an error.
func AppendLockQueues(dst []byte, group, clientID string, queues []protocol.MessageQueue) []byte {
	return store.AppendCommand(dst, OpLockQueues, appendLockPayload(group, clientID, queues))
}

// AppendUnlockQueues releases those of the queues' locks that the client owns.
// Result value: an int, how many were released, or an error.
func AppendUnlockQueues(dst []byte, group, clientID string, queues []protocol.MessageQueue) []byte {
	return store.AppendCommand(dst, OpUnlockQueues, appendLockPayload(group, clientID, queues))
}

func appendLockPayload(group, clientID string, queues []protocol.MessageQueue) []byte {
	p := appendString(appendString([]byte{formatVersion}, group), clientID)
	p = binary.AppendUvarint(p, uint64(len(queues)))
	for _, q := range queues {
		p = appendString(appendString(p, q.Topic), q.BrokerName)
		p = appendI32(p, q.QueueID)
	}
	return p
}

func readLockPayload(r *reader) (group, owner string, queues []protocol.MessageQueue, err error) {
	group, owner = r.string(), r.string()
	queues = make([]protocol.MessageQueue, 0, r.count(3))
	for range cap(queues) {
		queues = append(queues, protocol.MessageQueue{Topic: r.string(), BrokerName: r.string(), QueueID: r.i32()})
	}
	return group, owner, queues, r.done()
}

// AppendAnnounce says who leads from here on; each leader's first entry.
// Result value: the Member, or an error.
func AppendAnnounce(dst []byte, m Member) []byte {
	p := appendString(appendString([]byte{formatVersion}, m.ID), m.Addr)
	return store.AppendCommand(dst, OpAnnounce, binary.BigEndian.AppendUint64(p, m.Term))
}

// AppendSecret proposes the secret that the group's members know each other by.
// The first one stays. Result value: the secret in force, a string, or an error.
func AppendSecret(dst []byte, secret string) []byte {
	return store.AppendCommand(dst, OpSecret, appendString([]byte{formatVersion}, secret))
}

// AppendMature publishes nested, the deliverable forms of the messages with
// offsets [from, to) of a delay level's queue, and moves the level's progress
// to `to`, both only if the progress is `from`. Fewer messages than offsets are
// fine: offsets that hold nothing deliverable are passed over. Result value: a
// Matured, or an error.
func AppendMature(dst []byte, level int32, from, to message.QueueOffset, nested ...[]byte) []byte {
	p := appendI32([]byte{formatVersion}, level)
	p = binary.BigEndian.AppendUint64(p, uint64(from))
	p = binary.BigEndian.AppendUint64(p, uint64(to))
	return store.AppendCommand(dst, OpMature, p, nested...)
}
