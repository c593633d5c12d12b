package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// GroupBytesMax is the longest group name clients accept.
const GroupBytesMax = 255

// ErrName is what ValidTopic and ValidGroup wrap. The texts are RocketMQ's: they
// reach the user as the remark of a response.
var ErrName = errors.New("illegal name")

type nameError string

func (e nameError) Error() string { return string(e) }

// Is lets errors.Is(err, ErrName) hold while the text stays exactly RocketMQ's.
func (e nameError) Is(target error) bool { return target == ErrName }

// allowed is the pattern RocketMQ prints; LegalName is what it says.
const allowed = "^[%|a-zA-Z0-9_-]+$"

// ValidTopic returns nil for a name a topic may have: 1 to 127 characters of
// letters, digits, '%', '|', '_' and '-'. Otherwise the error's text is the
// remark RocketMQ answers with (status SYSTEM_ERROR).
func ValidTopic(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return nameError("The specified topic is blank.")
	case !legalName(name):
		return nameError("The specified topic contains illegal characters, allowing only " + allowed)
	case len(name) > TopicBytesMax:
		return nameError("The specified topic is longer than topic max length.")
	}
	return nil
}

// ValidGroup is ValidTopic for consumer and producer groups, whose limit is
// GroupBytesMax.
func ValidGroup(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return nameError("the specified group is blank")
	case len(name) > GroupBytesMax:
		return nameError(fmt.Sprintf("the specified group is longer than group max length %d.", GroupBytesMax))
	case !legalName(name):
		return nameError(fmt.Sprintf("the specified group[%s] contains illegal characters, allowing only %s", name, allowed))
	}
	return nil
}

func legalName[N string | []byte](name N) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '%', c == '|', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(name) > 0
}

// RetryTopic is the topic a group's failed messages come back through.
func RetryTopic(group string) string { return RetryPrefix + group }

// DLQTopic is the topic of a group's dead letters.
func DLQTopic(group string) string { return DLQPrefix + group }

// IsRetryTopic tells whether the topic is some group's retry topic.
func IsRetryTopic(topic string) bool { return strings.HasPrefix(topic, RetryPrefix) }

// IsDLQTopic tells whether the topic is some group's dead letter topic.
func IsDLQTopic(topic string) bool { return strings.HasPrefix(topic, DLQPrefix) }

// IsSystemTopic tells whether users may not create or delete the topic because
// the broker gives it a meaning. A broker also has system topics named after
// itself and its cluster, which only it knows.
func IsSystemTopic(topic string) bool {
	switch topic {
	case TopicAutoCreate, TopicSchedule, TopicBenchmark, TopicTransHalf, TopicTransOpHalf,
		TopicTransCheckMaxTime, TopicTrace, TopicSelfTest, TopicOffsetMoved:
		return true
	}
	return strings.HasPrefix(topic, TopicSystemPrefix)
}

// SystemGroups returns the consumer groups that exist on every broker from the
// start: tools and proxies consume with them without ever creating them.
func SystemGroups() []string {
	return []string{
		"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY",
		"CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS",
		"SCHEDULE_CONSUMER", "__MONITOR_CONSUMER", "CLIENT_INNER_PRODUCER",
	}
}

// IsSystemGroup tells whether a consumer group is one of SystemGroups.
func IsSystemGroup(group string) bool { return slices.Contains(SystemGroups(), group) }
