package store

import (
	"errors"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store/commitlog"
)

var errSkeleton = errors.New("store: not built yet")

func openBolt(path string) (KVFile, error) { return nil, errSkeleton }

// MemKV is a KVFile in memory for crash tests.
type MemKV struct{}

func NewMemKV() *MemKV                            { return &MemKV{} }
func (m *MemKV) Open(path string) (KVFile, error) { return nil, errSkeleton }
func (m *MemKV) Clone() *MemKV                    { return &MemKV{} }

type ApplyContext struct {
	Index, Term uint64
	Time        int64
}

func (c *ApplyContext) NestedCount() int            { return 0 }
func (c *ApplyContext) Nested(i int) message.Stored { return nil }
func (c *ApplyContext) Publish(i int) Result        { return Result{} }
func (c *ApplyContext) DeleteTopic(topic string)    {}

// NewApplyContext makes a context for tests of a Machine.
func NewApplyContext(index, term uint64, time int64, nested []message.Stored, publish func(i int) Result, deleteTopic func(topic string)) *ApplyContext {
	return &ApplyContext{Index: index, Term: term, Time: time}
}

type Store struct{}

func Open(cfg Config) (*Store, error)               { return nil, errSkeleton }
func (s *Store) Close() error                       { return nil }
func (s *Store) Log() *commitlog.Log                { return nil }
func (s *Store) Apply(e Entry) []Result             { return nil }
func (s *Store) AppliedIndex() uint64               { return 0 }
func (s *Store) AppliedTerm() uint64                { return 0 }
func (s *Store) AppliedTime() int64                 { return 0 }
func (s *Store) Capture() (*Checkpoint, error)      { return nil, errSkeleton }
func (s *Store) RaftMeta(key string) ([]byte, bool) { return nil, false }

type Checkpoint struct{}

func (c *Checkpoint) Persist(extra []KV) error { return errSkeleton }
func (c *Checkpoint) Index() uint64            { return 0 }
func (c *Checkpoint) Term() uint64             { return 0 }

// Status is the outcome of Get; String is RocketMQ's name, used as remark.
type Status uint8

const (
	Found Status = iota
	NoMatchedMessage
	MessageWasRemoving
	OffsetOverflowOne
	OffsetFoundNull
	NoMessageInQueue
	OffsetOverflowBadly
	OffsetTooSmall
)

func (s Status) String() string { return "" }

type GetRequest struct {
	Topic       string
	QueueID     int32
	Offset      message.QueueOffset
	MaxMessages int
	MaxBytes    int
	Match       func(tagsCode int64, rec message.Stored) bool
	Buf         []byte
}

type GetResult struct {
	Status   Status
	Messages []byte
	Count    int
	Next     message.QueueOffset
	Min, Max message.QueueOffset
	Err      error
}

var ErrNotFound = errors.New("not found")

func (s *Store) Get(req GetRequest) GetResult { return GetResult{} }
func (s *Store) QueueRange(topic string, q int32) (min, max message.QueueOffset) {
	return 0, 0
}
func (s *Store) OffsetByTime(topic string, q int32, ms int64) message.QueueOffset { return 0 }
func (s *Store) StoreTimeAt(topic string, q int32, off message.QueueOffset) (int64, bool) {
	return 0, false
}
func (s *Store) MessageAt(p message.PhyOffset) (message.Stored, error) { return nil, errSkeleton }
