package store

import (
	"encoding/binary"
	"errors"
	"iter"
	"path/filepath"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

// DumpEntry is an entry of the log for people to read, or a place where none is.
type DumpEntry struct {
	// Problem is set instead of everything else.
	Problem *commitlog.Problem `json:"problem,omitempty"`

	Index      uint64     `json:"index,omitempty"`
	Term       uint64     `json:"term,omitempty"`
	Kind       uint8      `json:"kind"` // 0 records, others are Raft's own
	Offset     int64      `json:"offset"`
	Bytes      int        `json:"bytes,omitempty"` // of data
	AppendedAt *time.Time `json:"appendedAt,omitempty"`
	GroupTime  *time.Time `json:"groupTime,omitempty"`
	// Records of an entry of kind 0; Malformed if it has none.
	Records   []DumpRecord `json:"records,omitempty"`
	Malformed string       `json:"malformed,omitempty"`
}

// DumpRecord is a record of an entry: a message, or a command if Op is set.
type DumpRecord struct {
	Phy   message.PhyOffset `json:"phy"`
	Bytes int               `json:"bytes"`

	Topic      string            `json:"topic,omitempty"`
	QueueID    int32             `json:"queueId"`
	BodyBytes  int               `json:"bodyBytes,omitempty"`
	SysFlag    int32             `json:"sysFlag,omitempty"`
	Reconsumed int32             `json:"reconsumed,omitempty"`
	Born       *time.Time        `json:"born,omitempty"`
	BornHost   string            `json:"bornHost,omitempty"`
	Stored     *time.Time        `json:"stored,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`

	Op           uint16       `json:"op,omitempty"` // table in the high byte, verb in the low
	PayloadBytes int          `json:"payloadBytes,omitempty"`
	Nested       []DumpRecord `json:"nested,omitempty"`
}

// errStop ends a dump whose reader has seen enough.
var errStop = errors.New("stop")

// Dump shows the entries from..to of a store that no process uses (0: from the
// beginning, to the end), changing nothing, and the problems between them. An
// error is the last thing it shows.
func Dump(cfg Config, from, to uint64) iter.Seq2[DumpEntry, error] {
	return func(yield func(DumpEntry, error) bool) {
		size := cfg.SegmentSize
		cfg = cfg.withDefaults()
		lock, err := lockForReading(cfg)
		if err != nil {
			yield(DumpEntry{}, err)
			return
		}
		show := func(d DumpEntry) error {
			if !yield(d, nil) {
				return errStop
			}
			return nil
		}
		_, err = commitlog.Inspect(commitlog.Config{FS: cfg.FS, Dir: filepath.Join(cfg.Dir, "commitlog"), SegmentSize: size}, commitlog.Inspection{
			From: from, To: to,
			Visit:  func(e commitlog.Entry, off int64) error { return show(dumpEntry(e, off)) },
			Broken: func(p commitlog.Problem) error { return show(DumpEntry{Problem: &p, Offset: p.Offset}) },
		})
		stopped := errors.Is(err, errStop)
		if err = errors.Join(err, lock.Close()); err != nil && !stopped {
			yield(DumpEntry{}, err)
		}
	}
}

func dumpEntry(e commitlog.Entry, off int64) DumpEntry {
	d := DumpEntry{Index: e.Index, Term: e.Term, Kind: e.Kind, Offset: off, Bytes: len(e.Data)}
	if e.AppendedAt != 0 {
		t := time.Unix(0, e.AppendedAt).UTC()
		d.AppendedAt = &t
	}
	if e.Kind != KindRecords {
		return d
	}
	if len(e.Extensions) == 8 {
		d.GroupTime = dumpTime(int64(binary.BigEndian.Uint64(e.Extensions)))
	}
	at := message.PhyOffset(off + int64(commitlog.HeaderSize) + int64(len(e.Extensions)))
	err := EachRecord(e.Data, func(r Record) error {
		if !r.IsCommand() {
			d.Records = append(d.Records, dumpMessage(r.Message(), at+message.PhyOffset(r.Pos)))
			return nil
		}
		c := DumpRecord{Phy: at + message.PhyOffset(r.Pos), Bytes: len(r.Bytes), Op: r.Op(), PayloadBytes: len(r.Payload())}
		err := r.EachNested(func(pos int, m message.Stored) error {
			c.Nested = append(c.Nested, dumpMessage(m, at+message.PhyOffset(pos)))
			return nil
		})
		d.Records = append(d.Records, c)
		return err
	})
	if err != nil {
		d.Malformed = err.Error()
	}
	return d
}

func dumpTime(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

func dumpMessage(m message.Stored, phy message.PhyOffset) DumpRecord {
	d := DumpRecord{
		Phy: phy, Bytes: len(m), Topic: string(m.Topic()), QueueID: m.QueueID(), BodyBytes: len(m.Body()), SysFlag: m.SysFlag(),
		Reconsumed: m.ReconsumeTimes(), Born: dumpTime(m.BornTimestamp()), BornHost: m.BornHost().String(), Stored: dumpTime(m.StoreTimestamp()),
	}
	message.EachProperty(m.Properties(), func(k, v []byte) bool {
		if d.Properties == nil {
			d.Properties = make(map[string]string)
		}
		d.Properties[string(k)] = string(v)
		return true
	})
	return d
}
