package message

import (
	"bytes"
	"strconv"
	"strings"
)

// A timed message waits in a topic of its minute: TimerTopicPrefix and the number
// of minutes from 1970 to its delivery. The topic has one queue, exists while
// messages wait in it, and is known to nobody but the broker. Its property
// TIMER_OUT_MS says when exactly it is due.
const (
	// TimerTopicPrefix is RocketMQ's topic of waiting messages and a hyphen.
	TimerTopicPrefix = "rmq_sys_wheel_timer-"
	// TimerSlotMillis is the length of a slot.
	TimerSlotMillis = 60_000
	// TimerSlotMax bounds slot numbers: some time in the year 6053.
	TimerSlotMax = 1<<31 - 1
)

// TimerSlot is the number of the slot in which a time (unix ms) lies.
func TimerSlot(ms int64) int64 { return ms / TimerSlotMillis }

// TimerTopic is the topic of a slot.
func TimerTopic(slot int64) string {
	return string(strconv.AppendInt([]byte(TimerTopicPrefix), slot, 10))
}

// ParseTimerTopic returns the slot of a topic; false for any other topic.
func ParseTimerTopic(topic string) (slot int64, ok bool) {
	digits, ok := strings.CutPrefix(topic, TimerTopicPrefix)
	if !ok {
		return 0, false
	}
	slot, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || slot < 1 || slot > TimerSlotMax || digits[0] == '0' || digits[0] == '+' {
		return 0, false
	}
	return slot, true
}

// IsTimerTopic tells the names that only the broker writes to.
func IsTimerTopic(topic []byte) bool { return bytes.HasPrefix(topic, timerPrefix) }

var timerPrefix = []byte(TimerTopicPrefix)

// DeliverAt is when a waiting message is due, unix ms, from TIMER_OUT_MS; false
// without it.
func (s Stored) DeliverAt() (int64, bool) {
	v, ok := s.Property(PropertyTimerOutMS)
	if !ok {
		return 0, false
	}
	ms, err := strconv.ParseInt(string(v), 10, 64)
	return ms, err == nil
}
