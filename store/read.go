package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
	"github.com/cometmq/cometmq/store/consumequeue"
)

// Status is the outcome of Get. RocketMQ calls it GetMessageStatus.
type Status uint8

// The outcomes of Get; String gives RocketMQ's name.
const (
	// Found: at least one message is returned.
	Found Status = iota
	// NoMatchedMessage: there were messages, and Match refused them all.
	NoMatchedMessage
	// MessageWasRemoving: the log was cut while its messages were read.
	MessageWasRemoving
	// OffsetOverflowOne: the offset is the one the next message will get.
	OffsetOverflowOne
	// OffsetFoundNull: the queue or the log could not be read there, see Err.
	OffsetFoundNull
	// NoMessageInQueue: the queue never had a message.
	NoMessageInQueue
	// OffsetOverflowBadly: the offset is beyond the next one.
	OffsetOverflowBadly
	// OffsetTooSmall: the message is not in the log any more.
	OffsetTooSmall
)

var statusNames = [...]string{
	"FOUND", "NO_MATCHED_MESSAGE", "MESSAGE_WAS_REMOVING", "OFFSET_OVERFLOW_ONE",
	"OFFSET_FOUND_NULL", "NO_MESSAGE_IN_QUEUE", "OFFSET_OVERFLOW_BADLY", "OFFSET_TOO_SMALL",
}

// String is RocketMQ's name of the status, which is the remark of a pull's answer.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("STATUS_%d", uint8(s))
}

// Bounds of one Get, as RocketMQ has them.
const (
	defaultMaxMessages = 32
	defaultMaxBytes    = 256 << 10
	scanEntries        = 800
)

// How reads of the log are joined: records that lie less than readGap apart are
// fetched together, up to readSpan bytes at a time.
const (
	readGap  = 4 << 10
	readSpan = 256 << 10
	// scratchKept is the largest scratch buffer that is kept for the next reader.
	scratchKept = 1 << 20
	// scanChunk is the least number of queue entries read at once.
	scanChunk = 64
)

// DamageError reports a message that is not what was stored. It is never
// delivered; the other members hold it too.
type DamageError struct {
	Topic   string
	QueueID int32
	Offset  message.QueueOffset
	Phy     message.PhyOffset
	Reason  string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("message %d of %s-%d at physical offset %d is damaged: %s; run the store check on this member and compare it with another",
		e.Offset, e.Topic, e.QueueID, e.Phy, e.Reason)
}

// GetRequest asks for the messages of a queue from an offset on.
type GetRequest struct {
	Topic   string
	QueueID int32
	Offset  message.QueueOffset
	// MaxMessages and MaxBytes bound the answer; 0 means 32 and 256 KiB. At least
	// one message is returned even if it is larger.
	MaxMessages int
	MaxBytes    int
	// Match chooses messages; nil takes all. It is first asked with a nil rec,
	// when only the queue entry is known, and a message it refuses then is not
	// read. One it accepts is shown to it again with its record (offsets not yet
	// patched, valid during the call), and the second answer decides.
	Match func(tagsCode int64, rec message.Stored) bool
	// Buf is appended to; it may be nil.
	Buf []byte
}

// GetResult is the answer to a GetRequest.
type GetResult struct {
	Status Status
	// Messages is Buf with Count records appended, whole and with their offsets.
	Messages []byte
	Count    int
	// Next is the offset to ask for next time.
	Next message.QueueOffset
	// Min and Max are the first readable offset and the one after the last.
	Min, Max message.QueueOffset
	// Err tells why reading stopped at Next, usually a *DamageError. Messages
	// before it are returned; with none the status is OffsetFoundNull.
	Err error
}

// readBuffer is what one Get needs besides the caller's buffer.
type readBuffer struct {
	entries [scanEntries]consumequeue.Entry
	picks   [scanEntries]pick
	scratch []byte
}

// pick is an entry that passed the first filter.
type pick struct {
	consumequeue.Entry
	off message.QueueOffset
}

// reading is one Get under way.
type reading struct {
	s       *Store
	q       *consumequeue.Queue
	req     *GetRequest
	res     *GetResult
	buf     *readBuffer
	start   int // where this Get's bytes begin in res.Messages
	scanned int
	removed int
	full    bool
	light   bool // the queue is a light one
}

// Get reads messages of a queue. Any goroutine.
func (s *Store) Get(req GetRequest) GetResult {
	res := GetResult{Messages: req.Buf, Next: req.Offset}
	q := s.queues.Queue(req.Topic, req.QueueID)
	if q == nil {
		res.Status, res.Next = NoMessageInQueue, 0
		return res
	}
	var err error
	res.Min, res.Max, err = q.Range(s.minOffset())
	switch {
	case errors.Is(err, consumequeue.ErrDeleted):
		return GetResult{Messages: req.Buf, Status: NoMessageInQueue}
	case err != nil:
		res.Status, res.Err = OffsetFoundNull, err
	case res.Max == 0:
		res.Status, res.Next = NoMessageInQueue, 0
	case req.Offset < res.Min:
		res.Status, res.Next = OffsetTooSmall, res.Min
	case req.Offset == res.Max:
		res.Status = OffsetOverflowOne
	case req.Offset > res.Max:
		res.Status, res.Next = OffsetOverflowBadly, res.Max
	default:
		s.read(q, &req, &res)
	}
	return res
}

func (s *Store) minOffset() message.PhyOffset { return message.PhyOffset(s.commit.MinOffset()) }

func (s *Store) read(q *consumequeue.Queue, req *GetRequest, res *GetResult) {
	if req.MaxMessages <= 0 {
		req.MaxMessages = defaultMaxMessages
	}
	if req.MaxBytes <= 0 {
		req.MaxBytes = defaultMaxBytes
	}
	buf := s.reads.Get().(*readBuffer)
	r := &reading{s: s, q: q, req: req, res: res, buf: buf, start: len(res.Messages), light: message.IsLightQueue(req.Topic)}
	for !r.full && res.Err == nil && r.scanned < scanEntries && res.Next < res.Max {
		r.step()
	}
	if cap(buf.scratch) > scratchKept {
		buf.scratch = nil
	}
	s.reads.Put(buf)

	switch {
	case res.Count > 0:
		res.Status = Found
	case errors.Is(res.Err, consumequeue.ErrRange):
		// The queue's beginning moved meanwhile.
		s.rangeChanged(q, req, res)
	case errors.Is(res.Err, consumequeue.ErrDeleted):
		*res = GetResult{Messages: res.Messages, Status: NoMessageInQueue}
	case res.Err != nil:
		res.Status = OffsetFoundNull
	case r.removed == r.scanned:
		res.Status = MessageWasRemoving
	default:
		res.Status = NoMatchedMessage
	}
	s.reportDamage(res.Err)
}

// rangeChanged answers a Get whose entries were removed while it looked at them.
func (s *Store) rangeChanged(q *consumequeue.Queue, req *GetRequest, res *GetResult) {
	low, next, err := q.Range(s.minOffset())
	if err != nil || req.Offset >= low {
		*res = GetResult{Messages: res.Messages, Status: NoMessageInQueue}
		return
	}
	*res = GetResult{Messages: res.Messages, Status: OffsetTooSmall, Next: low, Min: low, Max: next}
}

// step looks at the next entries of the queue and reads what they point at.
func (r *reading) step() {
	n := max(r.req.MaxMessages-r.res.Count, scanChunk)
	n = min(n, scanEntries-r.scanned, int(r.res.Max-r.res.Next))
	entries, err := r.q.Read(r.buf.entries[:0], r.res.Next, n)
	if err != nil && len(entries) == 0 {
		r.unreadable(err)
		return
	}
	// next is where to go on if all picks can be read.
	next, picks, bounded := r.choose(entries)
	want := r.res.Count + len(picks)
	for len(picks) > 0 && r.res.Err == nil {
		group := groupOf(picks)
		r.fetch(group)
		picks = picks[len(group):]
	}
	if r.res.Err != nil {
		return
	}
	r.scanned += int(next - r.res.Next)
	r.res.Next = next
	// A pick that its record spoke against leaves room for another.
	r.full = bounded && r.res.Count == want
}

// choose picks the entries to read; bounded tells that MaxMessages or MaxBytes
// ended it, in case all picks end up in the answer.
func (r *reading) choose(entries []consumequeue.Entry) (next message.QueueOffset, picks []pick, bounded bool) {
	logMin := r.s.minOffset()
	picks = r.buf.picks[:0]
	bytes := len(r.res.Messages) - r.start
	for i, e := range entries {
		off := r.res.Next + message.QueueOffset(i)
		if e.Phy < logMin {
			r.removed++
			continue
		}
		if r.req.Match != nil && !r.req.Match(e.TagsCode, nil) {
			continue
		}
		have := r.res.Count + len(picks)
		if have >= r.req.MaxMessages || have > 0 && bytes+int(e.Size) > r.req.MaxBytes {
			return off, picks, true
		}
		bytes += int(e.Size)
		picks = append(picks, pick{e, off})
	}
	next = r.res.Next + message.QueueOffset(len(entries))
	return next, picks, false
}

// groupOf cuts off the first picks that one read of the log can serve.
func groupOf(picks []pick) []pick {
	from := picks[0].Phy
	end := from + message.PhyOffset(picks[0].Size)
	n := 1
	for ; n < len(picks); n++ {
		p := picks[n]
		if p.Phy < end || p.Phy-end > readGap || p.Phy+message.PhyOffset(p.Size)-from > readSpan {
			break
		}
		end = p.Phy + message.PhyOffset(p.Size)
	}
	return picks[:n]
}

// fetch reads a group and appends its messages to the answer.
func (r *reading) fetch(group []pick) {
	from, last := group[0].Phy, group[len(group)-1]
	span := int64(last.Phy-from) + int64(last.Size)
	if span > r.s.commit.MaxOffset()-int64(from) {
		// Only one of them is wrong; those before it are delivered.
		for _, p := range group[:len(group)-1] {
			if r.fetch([]pick{p}); r.res.Err != nil {
				return
			}
		}
		r.damaged(last, "its queue entry points beyond the end of the log")
		return
	}
	if r.req.Match == nil && len(group) == 1 {
		r.fetchInPlace(group[0])
		return
	}
	r.buf.scratch = slices.Grow(r.buf.scratch[:0], int(span))
	b := r.buf.scratch[:span]
	if err := r.s.commit.ReadAt(b, int64(from)); err != nil {
		r.readFailed(group, err)
		return
	}
	for _, p := range group {
		rec := b[p.Phy-from:][:p.Size]
		if reason := checkRecord(rec, p); reason != "" {
			r.damaged(p, reason)
			return
		}
		if r.req.Match != nil && !r.req.Match(p.TagsCode, rec) {
			continue
		}
		at := len(r.res.Messages)
		r.res.Messages = append(r.res.Messages, rec...)
		r.patch(r.res.Messages[at:], p)
		r.res.Count++
	}
}

// fetchInPlace reads one record straight into the answer.
func (r *reading) fetchInPlace(p pick) {
	at := len(r.res.Messages)
	grown := slices.Grow(r.res.Messages, int(p.Size))
	rec := grown[at : at+int(p.Size)]
	if err := r.s.commit.ReadAt(rec, int64(p.Phy)); err != nil {
		r.readFailed([]pick{p}, err)
		return
	}
	if reason := checkRecord(rec, p); reason != "" {
		r.damaged(p, reason)
		return
	}
	r.patch(rec, p)
	r.res.Messages = grown[:at+int(p.Size)]
	r.res.Count++
}

// patch writes the offsets into the copy of a record that goes out. What is read
// from a light queue keeps its own topic, queue and offset there, as in RocketMQ.
func (r *reading) patch(rec message.Stored, p pick) {
	off := p.off
	if r.light && string(rec.Topic()) != r.req.Topic {
		off = r.s.queueOffsetOf(rec, p.Phy)
	}
	r.s.patchLight(rec, p.Phy)
	message.PatchOffsets(rec, off, p.Phy)
}

// checkRecord tells what is wrong with a record, or "". The checksum of the queue
// entry covers all of the record's bytes; the lengths inside are looked at too,
// because a client trusts them, and a record shorter than its fixed part could
// not take the offsets.
func checkRecord(rec []byte, p pick) string {
	if crc := crc32.Checksum(rec, castagnoli); crc != p.CRC {
		return fmt.Sprintf("its checksum is %08x, the queue says %08x", crc, p.CRC)
	}
	if s, err := message.ViewStored(rec); err != nil || len(s) != len(rec) {
		return "its queue entry does not point at a message"
	}
	return ""
}

// readFailed sorts out why the log could not be read: cut meanwhile is no error.
func (r *reading) readFailed(group []pick, err error) {
	if errors.Is(err, commitlog.ErrNotFound) && group[len(group)-1].Phy < r.s.minOffset() {
		r.removed += len(group)
		return
	}
	r.stop(group[0].off, fmt.Errorf("read messages of %s-%d from offset %d on: %w", r.req.Topic, r.req.QueueID, group[0].off, err))
}

func (r *reading) damaged(p pick, reason string) {
	err := &DamageError{Topic: r.req.Topic, QueueID: r.req.QueueID, Offset: p.off, Phy: p.Phy, Reason: reason}
	r.s.suspect(err, p.Entry)
	r.stop(p.off, err)
}

// stop ends the reading before a message; the client asks for it again, and may
// by then be served by another member.
func (r *reading) stop(off message.QueueOffset, err error) {
	r.scanned += int(off - r.res.Next)
	r.res.Next, r.res.Err = off, err
}

// unreadable passes over a queue file that cannot be read.
func (r *reading) unreadable(err error) {
	r.res.Err = err
	if r.res.Count == 0 {
		file := int64(r.res.Next)/consumequeue.EntriesPerFile + 1
		r.res.Next = min(r.res.Max, message.QueueOffset(file*consumequeue.EntriesPerFile))
	}
}

// reportDamage logs at most once a second, since a client can ask as often as it
// likes.
func (s *Store) reportDamage(err error) {
	if err == nil || errors.Is(err, consumequeue.ErrDeleted) {
		return
	}
	now, last := time.Now(), s.damageAt.Load()
	if (last == nil || now.Sub(*last) > time.Second) && s.damageAt.CompareAndSwap(last, &now) {
		s.log.Error("cannot deliver messages", "error", err)
	}
}
