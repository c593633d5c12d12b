package metadata

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// world is a state together with what its commands did outside of the tables
// and the pairs a checkpoint would hold.
type world struct {
	*State
	index     uint64
	published [][]byte
	deleted   []string
	ends      map[string]message.QueueOffset // of queues, as the store would know
	stored    map[string][]byte
}

func testConfig() Config {
	return Config{Cluster: "c1", BrokerName: "broker-a", AutoCreateTopic: true, ClusterTopic: true, BrokerTopic: true, TraceTopic: true}
}

func newWorld() *world {
	return &world{State: New(testConfig()), stored: map[string][]byte{}, ends: map[string]message.QueueOffset{
		message.TimerTopic(goldenSlot): 100, message.TimerTopic(goldenSlot + 1): 1,
	}}
}

// apply carries out every command record in data at a group time and returns
// the last result.
func (w *world) apply(tb testing.TB, time int64, data []byte) any {
	tb.Helper()
	var value any
	require.NoError(tb, store.EachRecord(data, func(r store.Record) error {
		value = w.applyRecord(time, r.Op(), r.Payload(), nested(tb, r))
		return nil
	}))
	return value
}

func nested(tb testing.TB, r store.Record) []message.Stored {
	tb.Helper()
	var out []message.Stored
	require.NoError(tb, r.EachNested(func(_ int, m message.Stored) error {
		out = append(out, m)
		return nil
	}))
	return out
}

func (w *world) applyRecord(time int64, op uint16, payload []byte, nested []message.Stored) any {
	w.index++
	return w.Apply(store.NewApplyContext(w.index, 1, time, nested, func(i int) store.Result {
		w.published = append(w.published, bytes.Clone(nested[i]))
		return store.Result{Queue: message.QueueOffset(len(w.published) - 1)}
	}, func(topic string) {
		w.deleted = append(w.deleted, topic)
	}).WithQueueEnds(func(topic string, _ int32) message.QueueOffset { return w.ends[topic] }), op, payload)
}

// checkpoint takes over the changed pairs.
func (w *world) checkpoint() map[string][]byte {
	for _, kv := range w.Changes() {
		if kv.Value == nil {
			delete(w.stored, string(kv.Key))
		} else {
			w.stored[string(kv.Key)] = kv.Value
		}
	}
	return w.stored
}

// reload returns a new state loaded from what this one has checkpointed.
func (w *world) reload(tb testing.TB) *world {
	tb.Helper()
	n := newWorld()
	n.index, n.stored = w.index, maps.Clone(w.stored)
	require.NoError(tb, n.Load(func(yield func(k, v []byte) bool) {
		for _, k := range sortedKeys(w.stored) { // the store gives them in order
			if !yield([]byte(k), w.stored[k]) {
				return
			}
		}
	}))
	return n
}

func topic(name string, queues int32) *protocol.TopicConfig {
	return newTopic(name, queues, protocol.PermRead|protocol.PermWrite)
}

func TestNewHasSystemTopicsAndGroups(t *testing.T) {
	s := New(testConfig())
	var names []string
	for _, c := range s.Topics() {
		names = append(names, c.TopicName)
		require.True(t, s.SystemTopic(c.TopicName), "%s can be changed by a command", c.TopicName)
	}
	require.Equal(t, []string{
		"BenchmarkTest", "OFFSET_MOVED_EVENT", "RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRANS_HALF_TOPIC",
		"RMQ_SYS_TRANS_OP_HALF_TOPIC", "SCHEDULE_TOPIC_XXXX", "SELF_TEST_TOPIC", "TBW102",
		"TRANS_CHECK_MAX_TIME_TOPIC", "broker-a", "c1", "c1_REPLY_TOPIC",
	}, names)
	tbw, _ := s.Topic("TBW102")
	require.Equal(t, int32(8), tbw.WriteQueueNums)
	require.Equal(t, int32(7), tbw.Perm)
	schedule, _ := s.Topic("SCHEDULE_TOPIC_XXXX")
	require.Equal(t, int32(18), schedule.ReadQueueNums)
	_, ok := s.Group("TOOLS_CONSUMER")
	require.True(t, ok)
	require.Empty(t, s.Changes(), "system names are not stored")
	require.Zero(t, s.TopicsVersion())

	cfg := testConfig()
	cfg.AutoCreateTopic = false
	_, ok = New(cfg).Topic("TBW102")
	require.False(t, ok)
	require.True(t, New(cfg).SystemTopic("TBW102"), "reserved whether it exists or not")
}

// The topic of traces comes with its first message where no setting makes it, and is the system's from then on.
func TestTraceTopicIsMadeByUse(t *testing.T) {
	bare := testConfig()
	bare.TraceTopic = false
	w := newWorld()
	w.State = New(bare)
	trace := func(mode PutMode, queues int32) any {
		return w.apply(t, 1, AppendPutTopic(nil, topic(message.TopicTrace, queues), mode))
	}
	isError := func(value any) {
		t.Helper()
		err, _ := value.(error)
		require.ErrorIs(t, err, ErrSystem)
	}
	isError(trace(Upsert, 1))
	require.NotImplements(t, (*error)(nil), trace(IfAbsent, 4))
	isError(trace(Upsert, 1))
	isError(w.apply(t, 1, AppendDeleteTopic(nil, message.TopicTrace)))
	w.checkpoint()

	load := func(cfg Config) int32 {
		s := New(cfg)
		require.NoError(t, s.Load(func(yield func(k, v []byte) bool) {
			for _, k := range sortedKeys(w.stored) {
				if !yield([]byte(k), w.stored[k]) {
					return
				}
			}
		}))
		c, ok := s.Topic(message.TopicTrace)
		require.True(t, ok)
		return c.WriteQueueNums
	}
	require.EqualValues(t, 4, load(bare), "it is kept")
	require.EqualValues(t, 1, load(testConfig()), "until a setting makes it")
}

func TestRefusedCommandsChangeNothing(t *testing.T) {
	w := newWorld()
	long := string(bytes.Repeat([]byte("x"), 128))
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"put a system topic":      {AppendPutTopic(nil, topic("TBW102", 1), Upsert), ErrSystem},
		"put the cluster's topic": {AppendPutTopic(nil, topic("c1", 1), Upsert), ErrSystem},
		"put a reserved prefix":   {AppendPutTopic(nil, topic("rmq_sys_x", 1), IfAbsent), ErrSystem},
		"put a bad name":          {AppendPutTopic(nil, topic("a.b", 1), Upsert), ErrInvalid},
		"put a long name":         {AppendPutTopic(nil, topic(long, 1), Upsert), ErrInvalid},
		"put too many queues":     {AppendPutTopic(nil, topic("t", QueuesPerTopicMax+1), Upsert), ErrInvalid},
		"put in no mode":          {AppendPutTopic(nil, topic("t", 1), 7), ErrInvalid},
		"put large attributes": {AppendPutTopic(nil, &protocol.TopicConfig{
			TopicName: "t", Attributes: map[string]string{"a": string(make([]byte, topicValueMax))},
		}, Upsert), ErrInvalid},
		"delete a system topic": {AppendDeleteTopic(nil, "SCHEDULE_TOPIC_XXXX"), ErrSystem},
		"delete no name":        {AppendDeleteTopic(nil, ""), ErrInvalid},
		"delete a path":         {AppendDeleteTopic(nil, "../x"), ErrInvalid},
		"put a system group":    {AppendPutGroup(nil, DefaultGroup("TOOLS_CONSUMER"), Upsert), ErrSystem},
		"delete a system group": {AppendDeleteGroup(nil, "TOOLS_CONSUMER", true), ErrSystem},
		"put a bad group":       {AppendPutGroup(nil, DefaultGroup("a b"), Upsert), ErrInvalid},
		"lock as nobody":        {AppendLockQueues(nil, "g", "", nil), ErrInvalid},
		"lock for no group":     {AppendLockQueues(nil, "", "c", nil), ErrInvalid},
		"mature level 0":        {AppendMature(nil, 0, 0, 1), ErrInvalid},
		"mature backwards":      {AppendMature(nil, 1, 5, 5), ErrInvalid},
		"announce nobody":       {AppendAnnounce(nil, Member{}), ErrInvalid},
		"no secret":             {AppendSecret(nil, ""), ErrInvalid},
		"a long secret":         {AppendSecret(nil, string(make([]byte, secretMax+1))), ErrInvalid},
		"an unknown table":      {store.AppendCommand(nil, 0x7f01, []byte{1}), ErrUnknownOp},
		"an unknown verb":       {store.AppendCommand(nil, 0x01ff, []byte{1}), ErrUnknownOp},
		"a newer payload":       {store.AppendCommand(nil, OpPutTopic, []byte{2}), ErrFormat},
		"an empty payload":      {store.AppendCommand(nil, OpPutTopic, nil), ErrFormat},
		"bytes too many":        {store.AppendCommand(nil, OpDeleteTopic, []byte{1, 1, 'a', 'b'}), ErrFormat},
	} {
		err, _ := w.apply(t, 1, c.data).(error)
		require.ErrorIs(t, err, c.want, name)
	}
	require.Empty(t, w.Changes())
	require.Empty(t, w.deleted)
	require.Empty(t, w.published)
}

func TestTopics(t *testing.T) {
	w := newWorld()
	c := topic("T1", 4)
	c.Order, c.TopicSysFlag, c.Attributes = true, 3, map[string]string{"+message.type": "FIFO", "a": ""}
	require.Equal(t, c, w.apply(t, 100, AppendPutTopic(nil, c, IfAbsent)))
	require.Equal(t, protocol.DataVersion{Counter: 1, Timestamp: 100}, w.TopicsVersion())

	kept := w.apply(t, 200, AppendPutTopic(nil, topic("T1", 9), IfAbsent))
	require.Equal(t, c, kept, "the first one in the log decides")
	require.Equal(t, int64(1), w.TopicsVersion().Counter)

	w.apply(t, 300, AppendPutTopic(nil, topic("T1", 9), Upsert))
	got, ok := w.TopicBytes([]byte("T1"))
	require.True(t, ok)
	require.Equal(t, topic("T1", 9), got)
	require.Equal(t, protocol.DataVersion{Counter: 2, Timestamp: 300}, w.TopicsVersion())
	require.Equal(t, int32(4), c.ReadQueueNums, "what readers hold does not change")

	w.apply(t, 310, AppendCommitOffsets(nil, []OffsetCommit{{"g", "T1", 0, 5}, {"g", "T2", 0, 6}}))
	w.apply(t, 320, AppendLockQueues(nil, "g", "me", []protocol.MessageQueue{{Topic: "T1"}, {Topic: "T2"}}))
	require.Equal(t, true, w.apply(t, 330, AppendDeleteTopic(nil, "T1")))
	require.Equal(t, []string{"T1"}, w.deleted)
	_, ok = w.Offset("g", "T1", 0)
	require.False(t, ok)
	_, ok = w.LockOwner("g", "T1", 0, 331)
	require.False(t, ok)
	_, ok = w.LockOwner("g", "T2", 0, 331)
	require.True(t, ok)
	require.Equal(t, []string{"T2"}, w.GroupTopics("g"))
	require.Equal(t, protocol.DataVersion{Counter: 3, Timestamp: 330}, w.TopicsVersion())

	require.Equal(t, false, w.apply(t, 340, AppendDeleteTopic(nil, "T1")))
	require.Equal(t, int64(3), w.TopicsVersion().Counter, "nothing changed")
	require.Equal(t, []string{"T1", "T1"}, w.deleted, "queues without a config go too")
}

// What is left of a deleted topic goes; a topic that exists again by then stays.
func TestCleanSparesTopicsThatExist(t *testing.T) {
	w := newWorld()
	w.apply(t, 100, AppendPutTopic(nil, topic("T1", 4), IfAbsent))
	w.apply(t, 110, AppendCommitOffsets(nil, []OffsetCommit{{"g", "T1", 0, 5}, {"g", "T2", 0, 6}}))
	before := w.TopicsVersion()
	require.Equal(t, false, w.apply(t, 120, AppendCleanTopic(nil, "T1")))
	require.Equal(t, false, w.apply(t, 120, AppendCleanTopic(nil, "SCHEDULE_TOPIC_XXXX")))
	require.Equal(t, false, w.apply(t, 120, AppendCleanTopic(nil, message.TimerTopic(28_000_000))), "messages wait there")
	require.Equal(t, true, w.apply(t, 120, AppendCleanTopic(nil, "T2")))
	require.Equal(t, []string{"T2"}, w.deleted)
	require.Equal(t, []string{"T1"}, w.GroupTopics("g"))
	require.Equal(t, before, w.TopicsVersion(), "no topic changed")
	require.ErrorIs(t, w.apply(t, 130, AppendCleanTopic(nil, "../x")).(error), ErrInvalid)
}

func TestGroups(t *testing.T) {
	w := newWorld()
	c := DefaultGroup("g")
	c.RetryQueueNums, c.RetryMaxTimes, c.BrokerID, c.ConsumeEnable = -1, 3, 7, false
	require.Equal(t, c, w.apply(t, 1, AppendPutGroup(nil, c, IfAbsent)))
	require.Equal(t, c, w.apply(t, 2, AppendPutGroup(nil, DefaultGroup("g"), IfAbsent)))
	w.apply(t, 3, AppendPutGroup(nil, DefaultGroup("g"), Upsert))
	got, _ := w.Group("g")
	require.Equal(t, DefaultGroup("g"), got)
	require.Equal(t, protocol.DataVersion{Counter: 2, Timestamp: 3}, w.GroupsVersion())
	require.Len(t, w.Groups(), len(message.SystemGroups())+1)

	offsets := []OffsetCommit{{"g", "T", 0, 5}, {"h", "T", 1, 6}}
	w.apply(t, 4, AppendCommitOffsets(nil, offsets))
	require.Equal(t, true, w.apply(t, 5, AppendDeleteGroup(nil, "g", false)))
	require.Equal(t, []string{"g", "h"}, w.TopicGroups("T"), "offsets stay")
	require.Equal(t, false, w.apply(t, 6, AppendDeleteGroup(nil, "g", true)))
	require.Equal(t, []string{"h"}, w.TopicGroups("T"))
	require.False(t, w.SystemGroup("g"))
	require.True(t, w.SystemGroup("TOOLS_CONSUMER"))
}

func TestOffsets(t *testing.T) {
	w := newWorld()
	n := w.apply(t, 1, AppendCommitOffsets(nil, []OffsetCommit{
		{"g", "T", 3, 30}, {"g", "T", 0, 1 << 40}, {"h", "%RETRY%h", 0, 0}, {"g", "bad.name", 0, 1},
		{"g", "T", -1, 5}, {"g", "T", 0, -1},
	}))
	require.Equal(t, 3, n, "a bad item does not take the others with it")
	require.Equal(t, map[int32]int64{0: 1 << 40, 3: 30}, w.Offsets("g", "T"))
	require.Equal(t, map[string]map[int32]int64{"T@g": {0: 1 << 40, 3: 30}, "%RETRY%h@h": {0: 0}}, w.OffsetTable())
	require.Empty(t, w.Offsets("nobody", "T"))

	w.apply(t, 2, AppendCommitOffsets(nil, []OffsetCommit{{"g", "T", 0, 7}}))
	off, ok := w.Offset("g", "T", 0)
	require.True(t, ok)
	require.Equal(t, int64(7), off, "the last commit wins, also backwards")
	require.Equal(t, 3, w.offsets.cells)
}

func TestLocks(t *testing.T) {
	w := newWorld()
	q := func(ids ...int32) (out []protocol.MessageQueue) {
		for _, id := range ids {
			out = append(out, protocol.MessageQueue{Topic: "T", BrokerName: "broker-a", QueueID: id})
		}
		return out
	}
	lock := func(now int64, client string, ids ...int32) any {
		return w.apply(t, now, AppendLockQueues(nil, "g", client, q(ids...)))
	}
	require.Equal(t, q(0, 1), lock(0, "a", 0, 1))
	require.Equal(t, q(2), lock(10, "b", 1, 2), "only the free one")
	require.Equal(t, q(0), lock(50_000, "a", 0), "renewed")
	require.Empty(t, lock(60_000, "b", 1), "not expired at the last millisecond")
	require.Equal(t, q(1), lock(60_001, "b", 0, 1), "0 was renewed, 1 was not")
	owner, ok := w.LockOwner("g", "T", 0, 110_000)
	require.True(t, ok)
	require.Equal(t, "a", owner)
	_, ok = w.LockOwner("g", "T", 0, 110_001)
	require.False(t, ok)

	require.Equal(t, 0, w.apply(t, 60_002, AppendUnlockQueues(nil, "g", "a", q(1, 9))), "not its own")
	require.Equal(t, 1, w.apply(t, 60_003, AppendUnlockQueues(nil, "g", "b", q(1))))
	require.Equal(t, q(1), lock(60_004, "a", 1))
	require.Equal(t, q(5), w.apply(t, 60_005, AppendLockQueues(nil, "other", "z", q(5))), "groups do not meet")

	w.apply(t, 500_000, AppendLockQueues(nil, "other", "z", q(6)))
	require.Len(t, w.locks.groups, 1, "expired locks are swept")
	require.Len(t, w.locks.groups["other"], 1)
	w.apply(t, 500_001, AppendDeleteGroup(nil, "other", false))
	require.Empty(t, w.locks.groups)
}

func TestMatureAppliesOnlyFromItsProgress(t *testing.T) {
	w := newWorld()
	rec := func(body string) []byte {
		m := message.Message{Topic: "T", Body: []byte(body), BornHost: addr, StoreHost: addr}
		b, err := m.AppendStored(nil)
		require.NoError(t, err)
		return b
	}
	first := AppendMature(nil, 2, 0, 3, rec("a"), rec("b"))
	got := w.apply(t, 1, first).(Matured)
	require.True(t, got.Applied)
	require.Len(t, got.Results, 2)
	require.Equal(t, message.QueueOffset(3), w.DelayProgress(2))

	require.Equal(t, Matured{Progress: 3}, w.apply(t, 2, first), "the same command again")
	require.Equal(t, Matured{Progress: 3}, w.apply(t, 3, AppendMature(nil, 2, 1, 9, rec("c"))))
	require.Equal(t, message.QueueOffset(0), w.DelayProgress(1), "levels do not meet")
	require.True(t, w.apply(t, 4, AppendMature(nil, 2, 3, 100)).(Matured).Applied, "passing over without a message")
	require.Equal(t, [][]byte{rec("a"), rec("b")}, w.published)
}

func TestMembers(t *testing.T) {
	w := newWorld()
	_, ok := w.Leader()
	require.False(t, ok)
	a, b := Member{"n0", "10.0.0.1:10911", 3}, Member{"n1", "10.0.0.2:10911", 4}
	w.apply(t, 1, AppendAnnounce(nil, a))
	require.Equal(t, b, w.apply(t, 2, AppendAnnounce(nil, b)))
	leader, _ := w.Leader()
	require.Equal(t, b, leader)
	a.Term = 9
	w.apply(t, 3, AppendAnnounce(nil, a))
	leader, _ = w.Leader()
	require.Equal(t, a, leader)
	stale := a
	stale.Term = 5
	require.ErrorIs(t, w.apply(t, 4, AppendAnnounce(nil, stale)).(error), ErrInvalid)
	require.Equal(t, []Member{a, b}, w.Members())

	require.Empty(t, w.Secret())
	require.Equal(t, "one", w.apply(t, 1, AppendSecret(nil, "one")))
	require.Equal(t, "one", w.apply(t, 1, AppendSecret(nil, "two")), "the first one stays")
	w.checkpoint()
	require.Equal(t, "one", w.reload(t).Secret())
	got, ok := w.Member("n1")
	require.True(t, ok)
	require.Equal(t, b, got)
}

func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	for name, kv := range map[string]store.KV{
		"empty key":          {Key: []byte{}, Value: []byte{1}},
		"unknown table":      {Key: []byte{0x7f, 'x'}, Value: []byte{1}},
		"newer value":        {Key: []byte{tableTopics, 'x'}, Value: []byte{2}},
		"short value":        {Key: []byte{tableGroups, 'x'}, Value: []byte{1, 1}},
		"offsets of nothing": {Key: []byte{tableOffsets, 'x'}, Value: []byte{1, 0}},
		"queues disordered":  {Key: []byte{tableOffsets, 'g', 0, 't'}, Value: []byte{1, 2, 5, 0, 5, 0}},
		"short delay key":    {Key: []byte{tableDelay, 1}, Value: make([]byte, 9)},
	} {
		err := New(testConfig()).Load(func(yield func(k, v []byte) bool) { yield(kv.Key, kv.Value) })
		require.ErrorIs(t, err, ErrFormat, name)
	}
}

func TestLoadReplacesEverything(t *testing.T) {
	w := newWorld()
	everyCommand(t, w)
	require.NoError(t, w.Load(func(func(k, v []byte) bool) {}))
	require.Equal(t, observe(New(testConfig())), observe(w.State))
	require.Empty(t, w.Changes())
}

// everyCommand applies at least one of each kind and leaves each table filled.
func everyCommand(tb testing.TB, w *world) {
	tb.Helper()
	for _, data := range goldenCommands() {
		_, isErr := w.apply(tb, 1_700_000_000_000, data).(error)
		require.False(tb, isErr)
	}
}

// observed is all that can be read of a state.
type observed struct {
	Topics    []protocol.TopicConfig
	Groups    []protocol.SubscriptionGroupConfig
	Versions  [2]protocol.DataVersion
	Offsets   map[string]map[int32]int64
	Locks     map[string]map[queueKey]queueLock
	Delay     map[int32]message.QueueOffset
	Members   []Member
	Secret    string
	Swept     int64
	StoredLen [3]int
	Halves    []Half
	Ends      map[message.QueueOffset]ending
	Forget    [2][]numbered
	Once      []onceBucket
	Seqs      [2]uint64
	Timers    map[int64]timerSlot
	Settings  map[string]string
}

func observe(s *State) observed {
	o := observed{
		Versions: [2]protocol.DataVersion{s.TopicsVersion(), s.GroupsVersion()},
		Offsets:  s.OffsetTable(), Locks: map[string]map[queueKey]queueLock{}, Delay: maps.Clone(s.delay.progress),
		Members: s.Members(), Secret: s.Secret(), Settings: s.Settings(), Swept: s.locks.swept, StoredLen: [3]int{s.topics.stored, s.groups.stored, s.offsets.cells},
	}
	for _, c := range s.Topics() {
		o.Topics = append(o.Topics, *c)
	}
	for _, c := range s.Groups() {
		o.Groups = append(o.Groups, *c)
	}
	for g, locks := range s.locks.groups {
		o.Locks[g] = maps.Clone(locks)
	}
	o.Halves, _, _ = s.Halves(nil, 0, HalvesMax, func(*Half) bool { return true })
	o.Ends = maps.Clone(s.half.ends)
	for i, q := range []*endQueue{&s.half.ended, &s.half.givenUp} {
		for _, n := range q.queue {
			if s.half.stands(n) {
				o.Forget[i] = append(o.Forget[i], n)
			}
		}
	}
	for _, b := range s.once.buckets {
		c := *b
		c.hosts = slices.Clone(b.hosts)
		c.entries, c.batches, c.index = slices.Clone(b.entries), slices.Clone(b.batches), maps.Clone(b.index)
		o.Once = append(o.Once, c)
	}
	o.Seqs = [2]uint64{s.half.seq, s.once.seq}
	o.Timers = map[int64]timerSlot{}
	for slot, t := range s.timers.slots {
		o.Timers[slot] = timerSlot{slices.Clone(t.bits), t.count}
	}
	return o
}

// sortedKeys is for failure messages.
func sortedKeys(m map[string][]byte) []string { return slices.Sorted(maps.Keys(m)) }
