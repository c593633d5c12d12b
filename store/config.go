package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
)

// Config says where a store lives and who hears of it.
type Config struct {
	// FS holds everything but metadata.db. Default: vfs.OS.
	FS vfs.FS
	// Dir is the root of the store; it is made if it does not exist.
	Dir string
	// Cluster and Group are written into the identity file of a new store, and a
	// store that belongs to another cluster or group is refused. An empty one is
	// neither written nor compared.
	Cluster, Group string
	// SegmentSize is the size of a commit log file in bytes. Default: 1 GiB. It
	// must be the same on all members, since positions follow from it.
	SegmentSize int64
	// Sync makes each append to the commit log wait for the disk.
	Sync bool
	// FlushInterval bounds how long bytes stay unsynced without Sync. Default:
	// 500 ms.
	FlushInterval time.Duration
	// Logger may be nil.
	Logger hclog.Logger
	// KeyIndex keeps an index of messages by unique id and keys, for QueryKey.
	KeyIndex bool
	// Machine is the metadata half of the replicated state. Nil means that the
	// log holds no commands.
	Machine Machine
	// DelayTime returns the delay in milliseconds of a level, from 1. It must
	// answer the same on all members. Default: no delay.
	DelayTime func(level int) int64
	// OnArrival hears of new messages, once per applied entry, on the applying
	// goroutine after the queues are readable. The slice is reused: keep no part
	// of it but the strings.
	OnArrival func([]Arrival)
	// OnFailure hears once of a failure after which the commit log takes no more
	// writes; the process should end.
	OnFailure func(error)
	// OnDamage hears once, on a goroutine of its own, when committed bytes of the
	// log turn out to be damaged; the error is an *InDoubtError. The process should
	// end: it must neither serve this log nor vote with it.
	OnDamage func(error)
	// ScrubRate is how many bytes of sealed segments are read and checked per
	// second in the background. 0: none.
	ScrubRate int64
	// OpenKV opens the metadata file. Default: bbolt at Dir/metadata.db. Tests on
	// a memory disk give (*MemKV).Open, since bbolt maps a real file.
	OpenKV func(path string) (KVFile, error)

	// Of tests: bounds of the consume queues and of the key index, so small that they are met.
	tailBytes    int64
	openFiles    int
	indexEntries int
	scrubEvery   time.Duration
}

// DefaultConfig returns the defaults; Dir is still missing.
func DefaultConfig() Config {
	return Config{
		FS:            vfs.OS,
		SegmentSize:   1 << 30,
		Sync:          true,
		FlushInterval: 500 * time.Millisecond,
		Logger:        hclog.NewNullLogger(),
	}
}

// withDefaults fills what is zero and means "default". Sync is not among them.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.FS == nil {
		c.FS = d.FS
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = d.SegmentSize
	}
	if c.FlushInterval == 0 {
		c.FlushInterval = d.FlushInterval
	}
	if c.Logger == nil {
		c.Logger = d.Logger
	}
	if c.DelayTime == nil {
		c.DelayTime = func(int) int64 { return 0 }
	}
	if c.OnArrival == nil {
		c.OnArrival = func([]Arrival) {}
	}
	if c.OnFailure == nil {
		c.OnFailure = func(error) {}
	}
	if c.scrubEvery == 0 {
		c.scrubEvery = scrubEvery
	}
	if c.OpenKV == nil {
		c.OpenKV = openBolt
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("store: Dir is empty; give the root directory of the store"))
	}
	if c.SegmentSize < 0 {
		errs = append(errs, fmt.Errorf("store: SegmentSize is %d; give a positive number of bytes", c.SegmentSize))
	}
	if c.ScrubRate < 0 {
		errs = append(errs, fmt.Errorf("store: ScrubRate is %d; give bytes per second, or 0 for none", c.ScrubRate))
	}
	if c.FlushInterval < 0 {
		errs = append(errs, fmt.Errorf("store: FlushInterval is %v; give a positive duration", c.FlushInterval))
	}
	return errors.Join(errs...)
}

// Entry is one applied entry of the Raft log.
type Entry struct {
	Index, Term uint64
	// Time is the group time of the entry in unix ms, from its extensions.
	Time int64
	// Offset is the physical offset of Data[0].
	Offset message.PhyOffset
	// Data is records back to back; see EachRecord.
	Data []byte
}

// Result is what became of one record.
type Result struct {
	// Phy is the physical offset of the record, Queue the offset the message got
	// in its queue: -1 for a message that no queue can hold, 0 for a command.
	Phy   message.PhyOffset
	Queue message.QueueOffset
	// Value is what the Machine returned for a command.
	Value any
}

// KV is one change of a key; a nil Value deletes it.
type KV struct{ Key, Value []byte }

// Machine is the metadata half of the replicated state: topics, groups,
// offsets. The broker hands it in. All methods are called from the applying
// goroutine, Load before anything else.
type Machine interface {
	// Apply changes the state by one command. It must depend on nothing but the
	// state, the command and ctx, and is never told the same command twice.
	Apply(ctx *ApplyContext, op uint16, payload []byte) any
	// Changes returns what changed since the last call. The caller owns it.
	Changes() []KV
	// Load replaces the state by the given keys and values, which are valid
	// during the call only.
	Load(each func(yield func(k, v []byte) bool)) error
}

// Arrival tells of one message that became readable.
type Arrival struct {
	Topic    string
	QueueID  int32
	Offset   message.QueueOffset
	TagsCode int64
	// Message is the record as it lies in the log, its offsets not patched.
	Message message.Stored
}

// KVFile is the file that checkpoints are written to: named buckets of keys and
// values.
type KVFile interface {
	// Each shows all keys of a bucket in order; a missing bucket is empty. What
	// fn gets is valid during the call.
	Each(bucket string, fn func(k, v []byte) error) error
	// Update makes all changes durable or none. Within a bucket later changes of
	// a key win.
	Update(changes map[string][]KV) error
	Close() error
}
