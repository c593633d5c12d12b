package message

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTimerTopics(t *testing.T) {
	for _, slot := range []int64{1, 29_054_321, TimerSlotMax} {
		name := TimerTopic(slot)
		require.NoError(t, ValidTopic(name))
		got, ok := ParseTimerTopic(name)
		require.True(t, ok)
		require.Equal(t, slot, got)
		require.True(t, IsTimerTopic([]byte(name)))
	}
	require.Equal(t, "rmq_sys_wheel_timer-2", TimerTopic(TimerSlot(179_999)))
	for _, name := range []string{"", "rmq_sys_wheel_timer", "rmq_sys_wheel_timer-", "rmq_sys_wheel_timer-0", "rmq_sys_wheel_timer-01",
		"rmq_sys_wheel_timer--1", "rmq_sys_wheel_timer-2147483648", "rmq_sys_wheel_timer-x", "x-1"} {
		_, ok := ParseTimerTopic(name)
		require.False(t, ok, name)
	}
}

func TestDeliverAt(t *testing.T) {
	m := hello()
	for props, want := range map[string]int64{"": 0, "TIMER_OUT_MS\x011700000000123": 1_700_000_000_123, "TIMER_OUT_MS\x01x": 0} {
		m.Properties = []byte(props)
		rec, err := m.AppendStored(nil)
		require.NoError(t, err)
		got, ok := Stored(rec).DeliverAt()
		require.Equal(t, want, got)
		require.Equal(t, want != 0, ok)
	}
}
