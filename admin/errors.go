package admin

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// ErrNoNameServer says that no name server answered.
var ErrNoNameServer = errors.New("cannot reach any name server")

// ErrNoTopic says that no broker serves a topic, and none would create it.
var ErrNoTopic = errors.New("topic not found")

// ErrNoLeader says that a topic's broker has no address that takes writes now:
// a failover is going on, or the broker is gone.
var ErrNoLeader = errors.New("no leader registered")

// StatusError is an answer other than success.
type StatusError struct {
	Code   int32  // protocol.Status…
	Remark string // the server's own words, may be empty
	Addr   string // who answered
	Action string // what was asked, e.g. "send to topic orders"
}

// Error names the action, the server and its words.
func (e *StatusError) Error() string {
	remark := strings.TrimSpace(e.Remark)
	if remark == "" {
		remark = "no reason given"
	}
	return fmt.Sprintf("%s: %s refused with status %d: %s", e.Action, e.Addr, e.Code, remark)
}

// IsStatus reports whether err is a StatusError with one of the given codes.
func IsStatus(err error, codes ...int32) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return false
	}
	for _, c := range codes {
		if status.Code == c {
			return true
		}
	}
	return false
}

// NotSent reports whether an error proves that a request had no effect: it
// never left this process. Everything else that is not an answer is unknown.
func NotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, ErrNoLeader) || errors.Is(err, ErrNoTopic) || errors.Is(err, ErrNoNameServer)
}

// hopeless reports whether a status will be the same on the next attempt, so
// that retrying is only worth it for the short time a new topic takes to spread.
func hopeless(err error) bool {
	return IsStatus(err, protocol.StatusSystemError, protocol.StatusMessageIllegal, protocol.StatusNoPermission,
		protocol.StatusTopicNotExist, protocol.StatusRequestCodeNotSupported, protocol.StatusSubscriptionGroupMissing)
}
