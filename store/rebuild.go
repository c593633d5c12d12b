package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// errRebuild says that log and checkpoint contradict each other.
var errRebuild = errors.New("commit log and checkpoint do not belong together")

// plan is what a rebuild knows of one damaged queue.
type plan struct {
	state consumequeue.State
	// seen counts the queue's messages in the log so far, skip those that came
	// before the topic was last deleted.
	seen, skip int64
	at         int64
}

// rebuild makes the given queues again from the log up to the checkpoint. It
// walks the log twice: how many messages of a queue the log still holds tells
// which offset the first of them has. suspects are notes to take back.
func (s *Store) rebuild(damaged []consumequeue.Damage, suspects []KV) error {
	began := time.Now()
	plans := make(map[consumequeue.Key]*plan, len(damaged))
	for _, d := range damaged {
		s.log.Warn("consume queue is damaged, rebuilding it from the commit log",
			"topic", d.State.Topic, "queue", d.State.QueueID, "reason", d.Reason)
		plans[consumequeue.Key{Topic: d.State.Topic, QueueID: d.State.QueueID}] = &plan{state: d.State}
	}
	if err := s.kv.Update(map[string][]KV{bucketMeta: {number(keyRebuilding, 1)}}); err != nil {
		return fmt.Errorf("note the rebuild of consume queues: %w", err)
	}
	err := s.walk(s.index.Load(), func(m message.Stored, _ message.PhyOffset) error {
		return eachPlace(m, func(topic []byte, queue int32) error {
			if p := planOf(plans, topic, queue); p != nil {
				p.seen++
			}
			return nil
		})
	}, func(topic string) {
		for _, p := range plans {
			if p.state.Topic == topic {
				p.skip = p.seen
			}
		}
	})
	if err != nil {
		return fmt.Errorf("rebuild consume queues: %w", err)
	}
	if err := s.resetPlanned(plans); err != nil {
		return err
	}
	err = s.walk(s.index.Load(), func(m message.Stored, phy message.PhyOffset) error {
		return eachPlace(m, func(topic []byte, queue int32) error {
			p := planOf(plans, topic, queue)
			if p == nil {
				return nil
			}
			if p.at++; p.at <= p.skip {
				return nil
			}
			_, _, err := s.queues.Append(topic, queue, s.queueEntry(m, phy))
			return err
		})
	}, func(string) {})
	if err != nil {
		return fmt.Errorf("rebuild consume queues: %w", err)
	}
	c := &Checkpoint{store: s, index: s.index.Load(), term: s.term.Load(), time: s.time.Load(), queues: s.queues.Capture()}
	if err := s.persist([]*Checkpoint{c}, nil); err != nil {
		return fmt.Errorf("keep rebuilt consume queues: %w", err)
	}
	if len(suspects) > 0 {
		if err := s.kv.Update(map[string][]KV{bucketSuspect: suspects}); err != nil {
			return fmt.Errorf("keep rebuilt consume queues: %w", err)
		}
	}
	s.log.Info("rebuilt consume queues", "queues", len(plans), "took", time.Since(began))
	return nil
}

func planOf(plans map[consumequeue.Key]*plan, topic []byte, queue int32) *plan {
	return plans[consumequeue.Key{Topic: string(topic), QueueID: queue}]
}

func (s *Store) resetPlanned(plans map[consumequeue.Key]*plan) error {
	for key, p := range plans {
		first := int64(p.state.Next) - (p.seen - p.skip)
		if first < 0 || first > 0 && s.commit.FirstIndex() <= 1 {
			return fmt.Errorf("%w: the log holds %d messages of %s-%d, the checkpoint knows %d; remove the whole store so that the group brings this member up again",
				errRebuild, p.seen-p.skip, key.Topic, key.QueueID, p.state.Next)
		}
		if err := s.queues.Reset(key.Topic, key.QueueID, message.QueueOffset(first)); err != nil {
			return err
		}
	}
	return nil
}

// walk shows all published messages and deleted topics of the log up to an
// index that the last checkpoint holds, in the order in which Apply saw them.
// Commands are not run again: what they did is known, see "Rebuilding" in doc.go.
// Entries that are cut from the log meanwhile are passed over.
func (s *Store) walk(to uint64, publish func(m message.Stored, phy message.PhyOffset) error, remove func(topic string)) error {
	kept := make(map[string][]action)
	err := s.kv.Each(bucketActions, func(k, v []byte) error {
		actions, err := decodeActions(v)
		kept[string(k)] = actions
		return err
	})
	if err != nil {
		return err
	}
	for index := max(s.commit.FirstIndex(), 1); index <= to; index++ {
		e, dataOff, err := s.commit.Read(index)
		if s.isCut(index, err) {
			index = s.commit.FirstIndex() - 1
			continue
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if e.Kind != KindRecords || EachRecord(e.Data, func(Record) error { return nil }) != nil {
			continue
		}
		at := message.PhyOffset(dataOff)
		err = EachRecord(e.Data, func(r Record) error {
			if !r.IsCommand() {
				return publish(r.Message(), at+message.PhyOffset(r.Pos))
			}
			actions, unusual := kept[string(actionKey(index, r.Pos))]
			return walkCommand(r, at, actions, unusual, publish, remove)
		})
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return nil
}

func walkCommand(r Record, at message.PhyOffset, actions []action, unusual bool,
	publish func(m message.Stored, phy message.PhyOffset) error, remove func(topic string),
) error {
	var inside []nested
	err := r.EachNested(func(pos int, m message.Stored) error {
		inside = append(inside, nested{m: m, phy: at + message.PhyOffset(pos)})
		if !unusual {
			return publish(m, at+message.PhyOffset(pos))
		}
		return nil
	})
	if err != nil || !unusual {
		return err
	}
	for _, a := range actions {
		if a.topic != "" {
			remove(a.topic)
			continue
		}
		if a.nested >= len(inside) {
			return fmt.Errorf("%w: message %d of %d was published", errRebuild, a.nested, len(inside))
		}
		if err := publish(inside[a.nested].m, inside[a.nested].phy); err != nil {
			return err
		}
	}
	return nil
}
