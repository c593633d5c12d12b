package metadata

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store"
)

// FuzzApply gives arbitrary payloads to a filled state: no panic, and an error
// result means that nothing at all changed.
func FuzzApply(f *testing.F) {
	for _, c := range goldenCommands() {
		err := store.EachRecord(c, func(r store.Record) error {
			f.Add(r.Op(), r.Payload())
			return nil
		})
		require.NoError(f, err)
	}
	f.Add(uint16(0xffff), []byte{})
	f.Fuzz(func(t *testing.T, op uint16, payload []byte) {
		w := newWorld()
		everyCommand(t, w)
		w.checkpoint()
		before := observe(w.State)
		deleted := len(w.deleted)
		if _, refused := w.applyRecord(1_700_000_000_001, op, payload, nil).(error); refused {
			require.Equal(t, before, observe(w.State))
			require.Empty(t, w.Changes())
			require.Len(t, w.deleted, deleted)
			return
		}
		w.checkpoint()
		require.Equal(t, observe(w.State), observe(w.reload(t).State), "what was accepted survives a restart")
	})
}

// FuzzLoad gives arbitrary stored pairs: no panic, and what loads is stored
// again as something that loads to the same.
func FuzzLoad(f *testing.F) {
	w := newWorld()
	everyCommand(f, w)
	for k, v := range maps.All(w.checkpoint()) {
		f.Add([]byte(k), v)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		w := newWorld()
		if w.Load(func(yield func(k, v []byte) bool) { yield(key, value) }) != nil {
			return
		}
		markAll(w.State)
		w.checkpoint()
		require.Equal(t, observe(w.State), observe(w.reload(t).State))
	})
}

// markAll makes Changes return everything that is not built in.
func markAll(s *State) {
	for name := range s.topics.byName {
		if !s.SystemTopic(name) {
			s.topics.dirty.mark(name)
		}
	}
	for name := range s.groups.byName {
		if !s.SystemGroup(name) {
			s.groups.dirty.mark(name)
		}
	}
	s.topics.dirty.mark("")
	s.groups.dirty.mark("")
	for group, topics := range s.offsets.groups {
		for topic := range topics {
			s.offsets.dirty.mark(offsetKey(group, topic))
		}
	}
	s.locks.dirty.mark("")
	for group := range s.locks.groups {
		s.locks.dirty.mark(group)
	}
	for level := range s.delay.progress {
		s.delay.dirty.mark(levelKey(level))
	}
	s.members.dirty.mark("")
	for id := range s.members.members {
		s.members.dirty.mark(id)
	}
	s.half.dirty.mark("")
	for _, h := range s.half.halves {
		s.half.mark(h.Offset)
	}
	for offset := range s.half.ends {
		s.half.mark(offset)
	}
	for key := range s.settings.values {
		s.settings.dirty.mark(key)
	}
	for slot := range s.timers.slots {
		s.timers.dirty.mark(slotKey(slot))
	}
	s.once.dirty.mark("")
	for _, b := range s.once.buckets {
		s.once.dirty.mark(bucketKey(b.seq))
		for i := range b.entries {
			s.once.dirty.mark(pageKey(b.seq, i))
		}
	}
}
