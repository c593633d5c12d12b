package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// refusal is an answer other than success that a handler decided on. It is the
// one kind of error whose code does not follow from where it came from.
type refusal struct {
	code   int32
	remark string
}

func (r *refusal) Error() string { return r.remark }

// refuse returns a refusal with the given status and remark.
func refuse(code int32, format string, args ...any) error {
	return &refusal{code: code, remark: fmt.Sprintf(format, args...)}
}

// unavailable begins RocketMQ's remark of status 14, and ours.
const unavailable = "service not available now. "

// remarkIllegal is what RocketMQ says of a message that its store refuses.
const remarkIllegal = "the message is illegal, maybe msg body or properties length not matched. " +
	"msg body length limit %dB, msg properties length limit 32KB."

// answerOf turns an error into the status and remark for the client. It is the
// only place that does. Three groups matter to clients:
//
//   - StatusServiceNotAvailable: nothing was stored; producers retry.
//   - StatusSystemError with "outcome unknown": it may have been stored;
//     producers retry too and may store it twice. A FLUSH_… status would tell
//     them it is stored, which nobody knows.
//   - StatusSystemBusy: a bound was reached, and the remark names it.
func (b *Broker) answerOf(err error) (int32, string) {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.code, r.remark
	case errors.Is(err, dledger.ErrBusy):
		return protocol.StatusSystemBusy, "[OVERLOAD]system busy, start flow control for a while: " + err.Error()
	case errors.Is(err, dledger.ErrUnknown):
		return protocol.StatusSystemError, "outcome unknown: this broker lost the leadership before a majority answered; " +
			"the request may or may not have been carried out. " + b.whoLeads()
	case errors.Is(err, dledger.ErrStep):
		return protocol.StatusSystemError, err.Error()
	case errors.Is(err, dledger.ErrNotLeader):
		return protocol.StatusServiceNotAvailable, unavailable + b.whoLeads()
	case errors.Is(err, dledger.ErrClosed):
		return protocol.StatusServiceNotAvailable, unavailable + b.name() + " is stopping"
	case errors.Is(err, dledger.ErrTooLarge),
		errors.Is(err, message.ErrTopicLength),
		errors.Is(err, message.ErrPropertiesLength):
		return protocol.StatusMessageIllegal, fmt.Sprintf(remarkIllegal, b.cfg().MaxMessageSize)
	case errors.Is(err, metadata.ErrFull), errors.Is(err, group.ErrTooMany), errors.Is(err, group.ErrOffsetsFull):
		return protocol.StatusSystemBusy, "[OVERLOAD]" + err.Error()
	default:
		return protocol.StatusSystemError, err.Error()
	}
}

// whoLeads says in one sentence what this member is and who leads the group, or
// why nobody does.
func (b *Broker) whoLeads() string {
	st := b.node.Status()
	role := fmt.Sprint(st.Role)
	switch m, ok := b.meta.Member(st.LeaderID); {
	case st.LeaderID == "":
		reason := noQuorum(&st, b.selfID, time.Now(), b.cfg().silence(), b.forward.unledFrom())
		if reason == "" {
			reason = standingNote(st.Standing)
		}
		if reason == "" {
			reason = "the group has no leader at the moment"
		}
		return explain.NoLeader(reason, b.name(), role, st.Term)
	case ok:
		return explain.NotLeader(b.name(), role, st.Term, st.LeaderID+" at "+m.Addr)
	default:
		return explain.NotLeader(b.name(), role, st.Term, st.LeaderID)
	}
}

// noQuorum names the members that a member without a leader has not heard of for
// silence, if a majority is missing: "no quorum: n1, n2 unreachable since …".
// unled stands in for members that it never talked to.
func noQuorum(st *dledger.Status, self string, now time.Time, silence time.Duration, unled time.Time) string {
	var missing []string
	var since time.Time
	voters := 0
	for _, p := range st.Peers {
		if p.Voter {
			voters++
		}
		if !p.Voter || p.ID == self || now.Sub(p.Contact) < silence {
			continue
		}
		missing = append(missing, p.ID)
		at := p.Contact
		if at.IsZero() {
			at = unled
		}
		if at.After(since) {
			since = at
		}
	}
	if voters == 0 || voters-len(missing) > voters/2 {
		return ""
	}
	text := "no quorum: " + strings.Join(missing, ", ") + " unreachable"
	if !since.IsZero() {
		text += " since " + since.Format("2006-01-02 15:04:05")
	}
	return text
}

// silence is after how long without an answer a member counts as unreachable.
func (c *Config) silence() time.Duration {
	return max(5*c.RaftElectionTimeout, time.Second)
}
