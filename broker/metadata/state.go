package metadata

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// Bounds of the replicated state. They are constants and not settings because
// every replica must refuse the same commands: a replica with another limit
// would silently hold another state. They are far above anything useful and
// exist so that a client that invents names cannot fill the memory.
const (
	TopicsMax          = 200_000   // topics, system topics not counted
	GroupsMax          = 200_000   // subscription groups, system groups not counted
	OffsetsMax         = 4_000_000 // (group, topic, queue) triples with an offset
	LocksPerGroupMax   = 20_000    // queues locked in one group
	LockedGroupsMax    = 50_000    // groups with a lock
	MembersMax         = 1_000     // brokers that ever led the group
	QueuesPerTopicMax  = 16_384    // read or write queues of one topic
	LevelsMax          = 1_000     // delay levels
	clientIDMax        = 1_024     // bytes of a client id
	memberAddrMax      = 1_024     // bytes of a member's address
	secretMax          = 255       // bytes of the group's secret
	topicValueMax      = 16 << 10  // bytes of a topic's configuration, attributes included
	SettingsBytesMax   = 64 << 10  // bytes of the group's settings, keys and values
	settingKeyMax      = 255       // bytes of a setting's key
	LockLifetimeMillis = 60_000    // a queue lock ends this long after its last renewal
)

// Results of refused commands (store.Result.Value) wrap one of these.
var (
	// ErrUnknownOp says that no table knows the op of a command record.
	ErrUnknownOp = errors.New("metadata: unknown command")
	// ErrInvalid says that a name or number in a command is not allowed.
	ErrInvalid = errors.New("metadata: invalid value")
	// ErrSystem says that a command wanted to change a system topic or group.
	ErrSystem = errors.New("metadata: reserved for the system")
	// ErrFull says that a table is at its bound.
	ErrFull = errors.New("metadata: table is full")
	// ErrNotFound says that the thing to change does not exist.
	ErrNotFound = errors.New("metadata: not found")
)

// Config names the group and says which system topics exist.
type Config struct {
	// Cluster and BrokerName are brokerClusterName and brokerName. Both are
	// also system topics. They must be the same on all members of the group.
	Cluster, BrokerName string
	// AutoCreateTopic (autoCreateTopicEnable) makes the template topic TBW102.
	AutoCreateTopic bool
	// ClusterTopic and BrokerTopic (clusterTopicEnable, brokerTopicEnable)
	// let the cluster's and the broker's name serve as template topics.
	ClusterTopic, BrokerTopic bool
	// TraceTopic (traceTopicEnable) makes RMQ_SYS_TRACE_TOPIC. A trace topic
	// of another name is an ordinary topic.
	TraceTopic bool
	// DefaultTopicQueues (defaultTopicQueueNums) sizes TBW102; 0 = 8.
	DefaultTopicQueues int32
	// DelayLevels is the number of queues of SCHEDULE_TOPIC_XXXX; 0 = 18.
	DelayLevels int32
	// OnSettings hears of the group's settings after each change and after Load, on
	// the applying goroutine. It must not block and not change the map. Nil: nobody.
	OnSettings func(map[string]string)
	// Logger gets refused commands. Nil means no logging.
	Logger hclog.Logger
}

func (c Config) withDefaults() Config {
	if c.DefaultTopicQueues <= 0 {
		c.DefaultTopicQueues = 8
	}
	if c.DelayLevels <= 0 {
		c.DelayLevels = 18
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// table is one replicated table. Its methods are called from the applying
// goroutine only; each guards what readers see with a lock of its own.
type table interface {
	// apply carries out the command verb (low byte of the op). The result
	// value is documented at the command's Append function; an error means
	// that nothing changed.
	apply(ctx *store.ApplyContext, verb byte, payload *reader) (any, error)
	// changes appends the keys changed since the last call with their
	// present values, nil for deleted ones.
	changes(dst []store.KV) []store.KV
	// reset returns to the state New made.
	reset()
	// load takes over one stored pair; both slices are only lent.
	load(key, value []byte) error
}

// State is the replicated metadata of a broker group; it implements
// store.Machine. Read methods may be called from any goroutine.
type State struct {
	cfg Config
	log hclog.Logger

	topics   *topicTable
	groups   *groupTable
	offsets  *offsetTable
	locks    *lockTable
	delay    *delayTable
	members  *memberTable
	half     *halfTable
	once     *onceTable
	timers   *timerTable
	settings *settingTable

	tables map[byte]table
}

var _ store.Machine = (*State)(nil)

// New returns the state of an empty group: system topics and groups only.
func New(cfg Config) *State {
	s := &State{cfg: cfg.withDefaults()}
	s.log = s.cfg.Logger.Named("metadata")
	s.offsets = newOffsetTable(s.log)
	s.locks = newLockTable()
	s.topics = newTopicTable(s.cfg, s.dropTopic)
	s.groups = newGroupTable(s.dropGroup)
	s.delay = newDelayTable()
	s.members = newMemberTable()
	s.half = newHalfTable()
	s.once = newOnceTable(s.half, s.log)
	s.timers = newTimerTable()
	s.settings = newSettingTable(cfg.OnSettings)
	s.tables = map[byte]table{
		tableTopics:   s.topics,
		tableGroups:   s.groups,
		tableOffsets:  s.offsets,
		tableLocks:    s.locks,
		tableDelay:    s.delay,
		tableMembers:  s.members,
		tableHalf:     s.half,
		tableOnce:     s.once,
		tableTimers:   s.timers,
		tableSettings: s.settings,
	}
	return s
}

// Apply carries out one command. The returned value is what the command's
// Append function documents, or an error that wraps one of this package's
// sentinels when the command was refused and nothing changed.
func (s *State) Apply(ctx *store.ApplyContext, op uint16, payload []byte) any {
	value, err := s.dispatch(ctx, op, payload)
	if err != nil {
		s.log.Error("ignored a metadata command", "index", ctx.Index, "op", fmt.Sprintf("%#04x", op), "error", err)
		return err
	}
	return value
}

func (s *State) dispatch(ctx *store.ApplyContext, op uint16, payload []byte) (any, error) {
	t, ok := s.tables[byte(op>>8)]
	if !ok {
		return nil, fmt.Errorf("%w %#04x: a newer broker wrote it; upgrade this one", ErrUnknownOp, op)
	}
	r := newReader(payload)
	if r.err != nil {
		return nil, r.err
	}
	return t.apply(ctx, byte(op), r)
}

// Changes returns the keys changed since the last call, in no special order.
// The store calls it from the applying goroutine when it takes a checkpoint.
func (s *State) Changes() []store.KV {
	var out []store.KV
	for _, t := range s.tables {
		out = t.changes(out)
	}
	return out
}

// Load replaces the whole state by stored pairs. A pair that cannot be read is
// an error, never skipped: going on without it would be a different state from
// that of the other replicas.
func (s *State) Load(each func(yield func(k, v []byte) bool)) error {
	for _, t := range s.tables {
		t.reset()
	}
	var err error
	each(func(k, v []byte) bool {
		err = s.loadPair(k, v)
		return err == nil
	})
	if err == nil {
		s.settings.tell(s.settings.values)
	}
	return err
}

func (s *State) loadPair(k, v []byte) error {
	if len(k) == 0 {
		return fmt.Errorf("%w: empty key", ErrFormat)
	}
	t, ok := s.tables[k[0]]
	if !ok {
		return fmt.Errorf("%w: key %x belongs to no table: a newer broker wrote it; upgrade this one", ErrFormat, k)
	}
	if err := t.load(k[1:], v); err != nil {
		return fmt.Errorf("load key %q: %w", k, err)
	}
	return nil
}

// dropTopic removes what hangs on a topic when it is deleted.
func (s *State) dropTopic(ctx *store.ApplyContext, topic string) {
	s.offsets.deleteTopic(topic)
	s.locks.deleteTopic(topic)
	ctx.DeleteTopic(topic)
}

// dropGroup removes what hangs on a group when it is deleted.
func (s *State) dropGroup(group string, offsets bool) {
	if offsets {
		s.offsets.deleteGroup(group)
	}
	s.locks.deleteGroup(group)
}

// unknownVerb is the common answer of tables to a verb they do not have.
func unknownVerb(table string, verb byte) error {
	return fmt.Errorf("%w %d of table %s: a newer broker wrote it; upgrade this one", ErrUnknownOp, verb, table)
}

// dirty is the set of a table's keys that changed since the last checkpoint.
type dirty map[string]struct{}

func (d dirty) mark(key string) { d[key] = struct{}{} }

// drain appends one pair per marked key, valued by value (nil = deleted), and
// forgets the marks.
func (d dirty) drain(dst []store.KV, table byte, value func(key string) []byte) []store.KV {
	for key := range d {
		k := make([]byte, 0, 1+len(key))
		dst = append(dst, store.KV{Key: append(append(k, table), key...), Value: value(key)})
	}
	clear(d)
	return dst
}

// validTopic and validGroup repeat at apply what the broker checked before it
// proposed: the log may hold commands of an older or a faulty proposer.
func validTopic(name string) error {
	if err := message.ValidTopic(name); err != nil {
		return fmt.Errorf("%w: topic %.200q: %w", ErrInvalid, name, err)
	}
	return nil
}

func validGroup(name string) error {
	if err := message.ValidGroup(name); err != nil {
		return fmt.Errorf("%w: group %.300q: %w", ErrInvalid, name, err)
	}
	return nil
}
