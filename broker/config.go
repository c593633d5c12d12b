package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/delay"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/message"
)

// Config holds every key of broker.conf that this broker acts on. The names
// are RocketMQ's wherever the meaning is the same; keys that RocketMQ has and
// this broker accepts without effect are listed in inertKeys, each with its
// reason. A key in neither list is reported as unknown.
//
// Keys with the tag group decide what is replicated or what clients see, whichever
// member serves them: a change of one goes through the log to all members. Keys
// without belong to one machine: its addresses, paths, disk, memory, log.
type Config struct {
	// ClusterName and BrokerName place the replica group among others. All
	// members of one group carry the same BrokerName; empty means dLegerGroup
	// when that is set and else the host's name.
	ClusterName string `cfg:"brokerClusterName" important:"true"`
	BrokerName  string `cfg:"brokerName" important:"true"`

	// IP1 is the address clients are told to dial and that message ids carry.
	// Empty or "auto" means the first IPv4 address that is not loopback. A host
	// name is resolved once at start, because ids need the literal address. A
	// change while running is told to others; ids keep the address of the start.
	IP1 string `cfg:"brokerIP1" important:"true" live:"true"`
	// AdvertisedListeners gives this broker two addresses, for clients in its own
	// network and for all others: "internal://broker-a:10911,external://127.0.0.1:10911".
	// internal replaces brokerIP1; external takes effect on name servers that have
	// internalNetworks set. A name server tells each client the one it can reach.
	AdvertisedListeners string `cfg:"advertisedListeners" important:"true"`

	// ListenPort is the port for clients. Port ListenPort-2 serves the same
	// requests except pulls (RocketMQ's VIP channel) while VIPChannel is true. A
	// change while running changes what clients are told, and where the broker
	// listens after its next start.
	ListenPort int    `cfg:"listenPort" important:"true" live:"true" min:"0" max:"65535"`
	BindIP     string `cfg:"bindAddress"`
	VIPChannel bool   `cfg:"enableVipChannel"`

	// NamesrvAddr lists the name servers, separated by ";". Empty is allowed:
	// the broker then serves clients that know its address.
	NamesrvAddr string `cfg:"namesrvAddr" env:"NAMESRV_ADDR" important:"true" live:"true"`

	AddressConfig

	// RegisterPeriod is the time between registrations; values outside 10 to
	// 60 s are clamped, as in RocketMQ. RegisterTimeout bounds one of them.
	RegisterPeriod     time.Duration `cfg:"registerNameServerPeriod" unit:"ms" live:"true" min:"0"`
	RegisterTimeout    time.Duration `cfg:"registerBrokerTimeoutMills" unit:"ms" live:"true" min:"100" max:"60000"`
	CompressedRegister bool          `cfg:"compressedRegister" live:"true"`

	// StoreRoot is the directory of everything the broker keeps.
	StoreRoot string `cfg:"storePathRootDir" important:"true"`

	// SegmentSize is the size of a commit log file in bytes.
	SegmentSize int64 `cfg:"mappedFileSizeCommitLog" alias:"mapedFileSizeCommitLog" min:"1048576" max:"17179869184"`

	// DiskLimit is the used share of the volume, in percent, above which sends
	// are refused: a log that fails to grow costs the leadership again and again.
	// Consumers go on.
	DiskLimit int `cfg:"diskSpaceWarningLevelRatio" live:"true" min:"10" max:"100"`

	RetentionConfig

	TimerConfig

	// FlushDisk says what an acknowledgement means. SYNC_FLUSH, our default:
	// a majority has the message fsynced. ASYNC_FLUSH: a majority has it in the
	// page cache and syncs at least every FlushInterval.
	FlushDisk     string        `cfg:"flushDiskType" enum:"ASYNC_FLUSH,SYNC_FLUSH" important:"true"`
	FlushInterval time.Duration `cfg:"flushIntervalCommitLog" unit:"ms" min:"1" max:"60000"`

	// DLedger switches replication on. Off, the broker is a group of one and
	// the dLeger keys are not read; its log is a Raft log all the same, so more
	// members can join later.
	DLedger bool `cfg:"enableDLegerCommitLog" important:"true"`
	// DLedgerGroup names the Raft group (empty: BrokerName), DLedgerPeers lists
	// its members as "n0-host:port;n1-host:port", and DLedgerSelfID is one of
	// them.
	DLedgerGroup  string `cfg:"dLegerGroup" important:"true"`
	DLedgerPeers  string `cfg:"dLegerPeers" important:"true"`
	DLedgerSelfID string `cfg:"dLegerSelfId" important:"true"`
	// RaftJoin says that the group exists: with an empty store this member waits
	// until it is added (mqadmin group add) and never founds a group together with
	// others of dLegerPeers. With data in the store it has no effect.
	RaftJoin bool `cfg:"raftJoin"`

	// The Raft timers. An election costs clients about 1.5 to 3 times
	// raftHeartbeatTimeout; smaller values elect needlessly on a busy machine.
	RaftHeartbeatTimeout   time.Duration `cfg:"raftHeartbeatTimeout" unit:"ms" min:"5" max:"60000"`
	RaftElectionTimeout    time.Duration `cfg:"raftElectionTimeout" unit:"ms" min:"5" max:"60000"`
	RaftLeaderLeaseTimeout time.Duration `cfg:"raftLeaderLeaseTimeout" unit:"ms" min:"5" max:"60000"`
	// RaftEntriesInFlight is the number of entries on their way to a majority
	// while the next one collects; 0 chooses by FlushDisk.
	RaftEntriesInFlight int `cfg:"raftEntriesInFlight" min:"0" max:"64"`
	// RaftInstallRate is how many bytes per second the leader sends to a member
	// that is brought up from its log; 0: as fast as it goes.
	RaftInstallRate int `cfg:"raftInstallRate" min:"0" max:"1073741824"`
	// DiskWatchdog ends the process when one write or sync takes longer.
	DiskWatchdog time.Duration `cfg:"diskWatchdogTimeout" unit:"ms" min:"100" max:"600000"`

	// AutoCreateTopic and AutoCreateGroup let sends create topics from their
	// template and consumers create their groups.
	AutoCreateTopic bool `cfg:"autoCreateTopicEnable" important:"true" live:"true" group:"true"`
	AutoCreateGroup bool `cfg:"autoCreateSubscriptionGroup" important:"true" live:"true" group:"true"`
	// DefaultQueues is the number of queues of the template TBW102.
	DefaultQueues int `cfg:"defaultTopicQueueNums" min:"1" max:"65535"`

	// MaxMessageSize bounds a message body, and the sum of a batch, in bytes.
	MaxMessageSize int `cfg:"maxMessageSize" live:"true" group:"true" min:"1" max:"8388608"`
	// StartAccept is when sends begin to be taken, in ms since 1970; before it they
	// are refused. 0: always.
	StartAccept int64 `cfg:"startAcceptSendRequestTimeStamp" live:"true" group:"true" min:"0"`
	// Permission is 6, or 4 to keep producers of ordered topics away, or 2 to
	// keep consumers away. It also caps every topic's registered permission.
	Permission int32 `cfg:"brokerPermission" live:"true" group:"true" min:"0" max:"7"`

	// LongPolling lets pulls that find nothing wait for their own timeout;
	// off, they wait ShortPolling at most.
	LongPolling  bool          `cfg:"longPollingEnable" live:"true" group:"true"`
	ShortPolling time.Duration `cfg:"shortPollingTimeMills" unit:"ms" live:"true" group:"true" min:"1" max:"60000"`
	// HeldPullsMax bounds the pulls that wait; beyond it a pull is answered at
	// once as if nothing had arrived.
	HeldPullsMax int `cfg:"heldPullsMax" live:"true" min:"1"`

	// MessageIndex keeps an index of messages by unique id and keys, for queries
	// by them. Switched off it is removed, switched on it is built from the log.
	MessageIndex bool `cfg:"messageIndexEnable"`

	// PropertyFilter lets consumers choose messages by SQL92 over properties; off,
	// such subscriptions are refused. FilterRetry applies a group's expressions
	// to its retried messages too.
	PropertyFilter bool `cfg:"enablePropertyFilter" live:"true" group:"true"`
	FilterRetry    bool `cfg:"filterSupportRetry" live:"true" group:"true"`

	// TransferBytes and TransferCount bound what one pull returns.
	TransferBytes int `cfg:"maxTransferBytesOnMessageInMemory" live:"true" group:"true" min:"1024" max:"16777216"`
	TransferCount int `cfg:"maxTransferCountOnMessageInMemory" live:"true" group:"true" min:"1" max:"10240"`

	// MemoryRatio is the share of the memory, in percent, that RocketMQ takes the
	// newest part of the log to be in. A group that never committed begins at the
	// first message of a queue only while that one is in there, and where it asks
	// to begin otherwise.
	MemoryRatio int `cfg:"accessMessageInMemoryMaxRatio" live:"true" min:"1" max:"100"`

	// ReadQueueMax is the number of requests that wait for a reading goroutine
	// before further ones are refused with SYSTEM_BUSY.
	ReadQueueMax int `cfg:"pullThreadPoolQueueCapacity" live:"true" min:"16"`

	// DelayLevels maps delay levels 1, 2, 3 … to times.
	DelayLevels string `cfg:"messageDelayLevel"`

	// OffsetFlushInterval is how long committed consumer offsets wait for
	// company before they are replicated, unless somebody asks for them; a crash of
	// the leader loses that much of the progress clients sent one-way and nobody was
	// shown, and what came while it was written.
	OffsetFlushInterval time.Duration `cfg:"consumerOffsetFlushInterval" unit:"ms" min:"1" max:"60000"`

	// ForwardWait is how long a request waits for a leader to be known.
	ForwardWait time.Duration `cfg:"leaderWaitTimeout" unit:"ms" live:"true" min:"0" max:"30000"`
	// ForwardMax bounds the requests that wait for a leader or for its answer.
	ForwardMax int `cfg:"forwardRequestsMax" live:"true" min:"1"`
	// Drain is how long a member of a group that stops keeps forwarding requests
	// to the others, so that clients have time to learn of it: they look routes up
	// every 30 s. It stops sooner when no client is connected, or none that may
	// still take it for the leader. A second SIGTERM ends the wait, 0 does without.
	// Whatever stops the process must allow for it.
	Drain time.Duration `cfg:"shutdownDrainTime" unit:"ms" live:"true" min:"0" max:"600000"`

	// StandIns is the number of stand-in broker names in the routes of this
	// group's topics: broker-a@1, broker-a@2 and so on, with the topic's number of
	// write queues, none to read, and the addresses of followers, which send on
	// to the leader. Producers, who try a failed send again on another broker
	// name, then find a live member at once when the leader dies; without, they
	// fail until they look the route up, up to 30 s later. The price is that with
	// n of them n of n+1 sends take the way through a follower. Topics with
	// order=true have none. It needs our name server; other ones ignore it.
	StandIns int `cfg:"standInBrokers" live:"true" group:"true" min:"0" max:"8"`

	// RegionID is told to producers with every answer.
	RegionID string `cfg:"regionId" live:"true" group:"true"`
	// TraceOn tells producers that message trace is wanted.
	TraceOn bool `cfg:"traceOn" live:"true" group:"true"`
	// TraceTopic creates the topic of message traces, which has RocketMQ's name
	// unless TraceTopicName is another.
	TraceTopic     bool   `cfg:"traceTopicEnable"`
	TraceTopicName string `cfg:"msgTraceTopicName"`
	// ClusterTopic and BrokerTopic let clients use the cluster's and the
	// broker's name as template topics, as they may use TBW102.
	ClusterTopic bool `cfg:"clusterTopicEnable"`
	BrokerTopic  bool `cfg:"brokerTopicEnable"`

	// SlaveRead lets members read for clients from what they have, which is
	// committed, while the group has no leader. With a leader they forward.
	SlaveRead bool `cfg:"slaveReadEnable" live:"true" group:"true"`

	// DisableSlow switches consumer groups off that are connected and more than
	// SlowBytes of the log behind in a topic: what they read comes from the disk,
	// and slows the others. updateSubGroup switches them on again.
	DisableSlow bool  `cfg:"disableConsumeIfConsumerReadSlowly" live:"true" group:"true"`
	SlowBytes   int64 `cfg:"consumerFallbehindThreshold" live:"true" group:"true" min:"1"`

	// NotifyConsumers pushes membership changes to consumers.
	NotifyConsumers bool `cfg:"notifyConsumerIdsChangedEnable" live:"true" group:"true"`

	// Transactions, request-reply, de-duplication: config_delivery.go.
	DeliveryConfig

	// Metrics, probes and the log: config_server.go.
	MetricsConfig
	LogConfig

	// ConnectionsMax bounds client connections per port, InFlightMax requests
	// of one connection that wait for their answer. InFlightMax should be
	// larger than forwardRequestsMax: members forward over one connection.
	ConnectionsMax int           `cfg:"serverMaxConnections" min:"1"`
	InFlightMax    int           `cfg:"serverMaxInFlightPerConnection" min:"1"`
	ChannelIdle    time.Duration `cfg:"serverChannelMaxIdleTimeSeconds" unit:"s" min:"1" max:"86400"`
	// ClientExpiry removes clients that sent no heartbeat for so long.
	ClientExpiry time.Duration `cfg:"clientExpiredTimeout" unit:"ms" min:"1000"`
}

// DefaultConfig returns the configuration of a broker that was told nothing:
// a group of one on RocketMQ's ports.
func DefaultConfig() Config {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return Config{
		ClusterName:            "DefaultCluster",
		ListenPort:             10911,
		VIPChannel:             true,
		RegisterPeriod:         30 * time.Second,
		RegisterTimeout:        6 * time.Second,
		StoreRoot:              filepath.Join(home, "store"),
		SegmentSize:            1 << 30,
		DiskLimit:              90,
		FlushDisk:              flushSync,
		FlushInterval:          500 * time.Millisecond,
		RaftHeartbeatTimeout:   dledger.DefaultHeartbeatTimeout,
		RaftElectionTimeout:    dledger.DefaultElectionTimeout,
		RaftLeaderLeaseTimeout: dledger.DefaultLeaderLeaseTimeout,
		RaftInstallRate:        dledger.DefaultInstallRate,
		DiskWatchdog:           dledger.DefaultWatchdogTimeout,
		AutoCreateTopic:        true,
		AutoCreateGroup:        true,
		DefaultQueues:          8,
		MaxMessageSize:         4 << 20,
		Permission:             6,
		LongPolling:            true,
		ShortPolling:           time.Second,
		HeldPullsMax:           100_000,
		TransferBytes:          256 << 10,
		TransferCount:          32,
		MemoryRatio:            40,
		ReadQueueMax:           10_000,
		MessageIndex:           true,
		DelayLevels:            delay.DefaultLevels,
		OffsetFlushInterval:    100 * time.Millisecond,
		ForwardWait:            3 * time.Second,
		ForwardMax:             10_000,
		Drain:                  35 * time.Second,
		RegionID:               "DefaultRegion",
		TraceOn:                true,
		TraceTopicName:         message.TopicTrace,
		ClusterTopic:           true,
		BrokerTopic:            true,
		SlowBytes:              16 << 30,
		NotifyConsumers:        true,
		RetentionConfig:        defaultRetention(),
		TimerConfig:            defaultTimer(),
		DeliveryConfig:         defaultDelivery(),
		MetricsConfig:          defaultMetrics(),
		LogConfig:              defaultLog(),
		AddressConfig:          AddressConfig{AddressGroup: "nsaddr"},
		ConnectionsMax:         20_000,
		InFlightMax:            16_384,
		ChannelIdle:            120 * time.Second,
		ClientExpiry:           120 * time.Second,
	}
}

const (
	flushSync  = "SYNC_FLUSH"
	flushAsync = "ASYNC_FLUSH"

	// defaultSelfID and defaultRaftShift make the member list of a broker
	// without one: n0 on loopback, on the port that RocketMQ's broker replicates
	// on (10912 beside 10911), so that two such brokers on one machine differ.
	// 40911, as in RocketMQ's DLedger samples, lies where the kernel takes ports
	// for outgoing connections, and now and then one of those would hold it.
	defaultSelfID    = "n0"
	defaultRaftShift = 1
)

// inertKeys are keys of RocketMQ 4.9.4 that operators have in their files and
// that mean nothing here.
var inertKeys = map[string][]string{
	"roles and ids follow from the Raft group": {
		"brokerId", "brokerRole", "preferredLeaderId", "brokerIP2", "haListenPort", "haMasterAddress", "slaveTimeout",
		"haSendHeartbeatInterval", "haHousekeepingInterval", "haTransferBatchSize", "haSlaveFallbehindMax"},
	"everything is kept below storePathRootDir": {
		"storePathCommitLog", "storePathDLedgerCommitLog", "storePathConsumeQueue", "storePathIndex", "storeCheckpoint",
		"abortFile", "readOnlyCommitLogStorePaths"},
	"old files are removed one after the other, and readers keep what they read": {
		"destroyMapedFileIntervalForcibly", "deleteCommitLogFilesInterval", "deleteConsumeQueueFilesInterval", "redeleteHangedFileInterval"},
	"requests run without thread pools": {
		"sendMessageThreadPoolNums", "pullMessageThreadPoolNums", "queryMessageThreadPoolNums", "adminBrokerThreadPoolNums",
		"clientManageThreadPoolNums", "consumerManageThreadPoolNums", "heartbeatThreadPoolNums", "endTransactionThreadPoolNums",
		"processReplyMessageThreadPoolNums", "putMessageFutureThreadPoolNums", "sendThreadPoolQueueCapacity",
		"queryThreadPoolQueueCapacity", "clientManagerThreadPoolQueueCapacity", "consumerManagerThreadPoolQueueCapacity",
		"heartbeatThreadPoolQueueCapacity", "endTransactionPoolQueueCapacity", "replyThreadPoolQueueCapacity",
		"waitTimeMillsInSendQueue", "waitTimeMillsInPullQueue", "waitTimeMillsInHeartbeatQueue", "waitTimeMillsInTransactionQueue",
		"brokerFastFailureEnable", "osPageCacheBusyTimeOutMills", "serverWorkerThreads", "serverSelectorThreads",
		"serverCallbackExecutorThreads", "serverOnewaySemaphoreValue", "serverAsyncSemaphoreValue", "useEpollNativeSelector",
		"serverSocketSndBufSize", "serverSocketRcvBufSize", "serverPooledByteBufAllocatorEnable"},
	"the key index grows with the log": {"maxHashSlotNum", "maxIndexNum"},
	"files are read and written, not mapped": {
		"mappedFileSizeConsumeQueue", "mapedFileSizeConsumeQueue", "useReentrantLockWhenPutMessage", "transientStorePoolEnable",
		"transientStorePoolSize", "warmMapedFileEnable", "maxTransferBytesOnMessageInDisk",
		"maxTransferCountOnMessageInDisk", "flushCommitLogLeastPages", "flushCommitLogTimed", "commitIntervalCommitLog",
		"flushConsumeQueueLeastPages", "flushIntervalConsumeQueue", "offHeapMemoryEnable", "enableBatchPush"},
	"offsets and delay progress are replicated, not flushed by a timer": {
		"flushConsumerOffsetInterval", "flushDelayOffsetInterval", "flushConsumerOffsetHistoryInterval"},
	"the members elect their leader among themselves":                        {"enableControllerMode", "controllerAddr", "brokerHeartbeatInterval"},
	"there is one kind of store, and an acknowledgement waits for the group": {"storeType", "syncFlushTimeout"},
	"not built yet": {
		"authenticationEnabled", "authorizationEnabled", "recallMessageEnable", "aclEnable", "enableCalcFilterBitMap", "enableConsumeQueueExt",
		"messageIndexSafe",
		"enableScheduleAsyncDeliver", "offsetCheckInSlave", "forceRegister", "rocketmqHome", "duplicationEnable",
		"highSpeedMode", "commercialEnable", "debugLockEnable"},
}

// NewSettings returns a settable copy of the defaults that knows the inert
// keys too.
func NewSettings() (*config.Set[Config], error) {
	set, err := config.New(DefaultConfig())
	if err != nil {
		return nil, err
	}
	for reason, keys := range inertKeys {
		set.Inert(reason, keys...)
	}
	return set, nil
}

// ErrUnknownSelf says that dLegerSelfId is not a member in dLegerPeers.
var ErrUnknownSelf = errors.New("this member is not in the peer list")

// Validate reports every problem between keys; config.Set has checked each key
// alone. It does not resolve names: that happens once, at start.
func (c Config) Validate() error {
	var errs []error
	name := c.brokerName()
	if err := message.ValidTopic(name); err != nil {
		errs = append(errs, fmt.Errorf("brokerName=%q is not allowed: it names a topic too: %w", name, err))
	}
	if err := message.ValidTopic(c.ClusterName); err != nil {
		errs = append(errs, fmt.Errorf("brokerClusterName=%q is not allowed: it names a topic too: %w", c.ClusterName, err))
	}
	if err := message.ValidTopic(c.TraceTopicName); err != nil {
		errs = append(errs, fmt.Errorf("msgTraceTopicName=%q is not allowed: %w", c.TraceTopicName, err))
	}
	if c.StoreRoot == "" {
		errs = append(errs, errors.New(`storePathRootDir="" is not allowed: name a directory`))
	}
	for _, addr := range c.nameServers() {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("namesrvAddr=%q is not allowed: %q is not host:port", c.NamesrvAddr, addr))
		}
	}
	if err := c.AddressConfig.validate(); err != nil {
		errs = append(errs, err)
	}
	if _, err := delay.ParseLevels(c.DelayLevels); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.policy(); err != nil {
		errs = append(errs, err)
	}
	if err := c.LogConfig.check(); err != nil {
		errs = append(errs, err)
	}
	if host, _, _, err := listenersOf(c.AdvertisedListeners); err != nil {
		errs = append(errs, err)
	} else if host != "" && c.IP1 != "" && c.IP1 != "auto" && c.IP1 != host {
		errs = append(errs, fmt.Errorf("brokerIP1=%q is not allowed: advertisedListeners says internal://%s; leave one of them out", c.IP1, host))
	}
	if peers, err := c.peers(); err != nil {
		errs = append(errs, err)
	} else if err := c.checkSelf(peers); err != nil {
		errs = append(errs, err)
	}
	if c.RaftLeaderLeaseTimeout > c.RaftHeartbeatTimeout {
		errs = append(errs, fmt.Errorf("raftLeaderLeaseTimeout=%q is not allowed: at most raftHeartbeatTimeout, which is %v",
			c.RaftLeaderLeaseTimeout, c.RaftHeartbeatTimeout))
	}
	if c.RaftElectionTimeout < c.RaftHeartbeatTimeout {
		errs = append(errs, fmt.Errorf("raftElectionTimeout=%q is not allowed: at least raftHeartbeatTimeout, which is %v",
			c.RaftElectionTimeout, c.RaftHeartbeatTimeout))
	}
	return errors.Join(errs...)
}

// brokerName is the configured name, the group's, or the host's. Letters that
// a topic name may not have (the dots of a full host name) become dashes,
// because the broker's name is a topic as well.
func (c Config) brokerName() string {
	if c.BrokerName != "" {
		return c.BrokerName
	}
	if c.DLedger && c.DLedgerGroup != "" {
		return c.DLedgerGroup
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "DEFAULT_BROKER"
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, host)
}

// group is the name of the Raft group.
func (c Config) group() string {
	if c.DLedger && c.DLedgerGroup != "" {
		return c.DLedgerGroup
	}
	return c.brokerName()
}

// selfID is this member's id in the Raft group.
func (c Config) selfID() string {
	if c.DLedger {
		return c.DLedgerSelfID
	}
	return defaultSelfID
}

// peers parses dLegerPeers. Without replication it is the group of one.
func (c Config) peers() ([]dledger.Peer, error) {
	if !c.DLedger {
		port := c.ListenPort + defaultRaftShift
		if port > 65535 {
			port = c.ListenPort - defaultRaftShift // listenPort - 2 is the VIP port
		}
		return []dledger.Peer{{ID: defaultSelfID, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}}, nil
	}
	var peers []dledger.Peer
	for _, part := range strings.Split(c.DLedgerPeers, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		id, addr, ok := strings.Cut(part, "-")
		if _, _, err := net.SplitHostPort(addr); !ok || id == "" || err != nil {
			return nil, fmt.Errorf("dLegerPeers=%q is not allowed: %q is not id-host:port", c.DLedgerPeers, part)
		}
		peers = append(peers, dledger.Peer{ID: id, Addr: addr})
	}
	if len(peers) == 0 {
		return nil, fmt.Errorf("dLegerPeers=%q is not allowed: list the members as n0-host:port;n1-host:port", c.DLedgerPeers)
	}
	return peers, nil
}

// raftBind is where the Raft port listens when not at the port of this member's
// entry in dLegerPeers: a group of one keeps it off the network.
func (c Config) raftBind() string {
	if c.DLedger {
		return ""
	}
	peers, err := c.peers()
	if err != nil {
		return ""
	}
	return peers[0].Addr
}

func (c Config) checkSelf(peers []dledger.Peer) error {
	ids := make([]string, len(peers))
	for i, p := range peers {
		if p.ID == c.selfID() {
			return nil
		}
		ids[i] = p.ID
	}
	return explain.UnknownSelf(ErrUnknownSelf, c.selfID(), strings.Join(ids, ","))
}

// followerID is the broker id a member registers with while it follows: the
// number in its name plus one, as RocketMQ's DLedger mode does, or its place in
// the peer list plus one when the name has no number.
func (c Config) followerID(peers []dledger.Peer) int64 {
	self := c.selfID()
	if len(self) > 1 {
		if n, err := strconv.ParseInt(self[1:], 10, 32); err == nil && n >= 0 {
			return n + 1
		}
	}
	for i, p := range peers {
		if p.ID == self {
			return int64(i) + 1
		}
	}
	return 1
}

// nameServers splits namesrvAddr.
func (c Config) nameServers() []string {
	var out []string
	for _, a := range strings.FieldsFunc(c.NamesrvAddr, func(r rune) bool { return r == ';' || r == ',' }) {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// registerPeriod is the clamped period between registrations.
func (c Config) registerPeriod() time.Duration {
	return min(max(c.RegisterPeriod, 10*time.Second), 60*time.Second)
}

// advertisedIP resolves brokerIP1 to the literal address that clients dial and
// message ids carry. IPv4 is preferred: some clients cannot read IPv6 ids.
func (c Config) advertisedIP() (netip.Addr, error) {
	if host, _, _, err := listenersOf(c.AdvertisedListeners); err != nil {
		return netip.Addr{}, err
	} else if host != "" {
		c.IP1 = host
	}
	if c.IP1 == "" || c.IP1 == "auto" {
		return firstAddress(), nil
	}
	if ip, err := netip.ParseAddr(c.IP1); err == nil {
		return ip.Unmap(), nil
	}
	ips, err := net.LookupIP(c.IP1)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("brokerIP1=%q is not allowed: it is no address and does not resolve: %w", c.IP1, err)
	}
	for _, ip := range ips {
		if v4 := ip.To4(); v4 != nil {
			return netip.AddrFrom4([4]byte(v4)), nil
		}
	}
	ip, ok := netip.AddrFromSlice(ips[0])
	if !ok {
		return netip.Addr{}, fmt.Errorf("brokerIP1=%q resolves to %v, which is no address", c.IP1, ips[0])
	}
	return ip, nil
}

// firstAddress is the first IPv4 address of this machine that others could
// reach, or 127.0.0.1 when there is none.
func firstAddress() netip.Addr {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return loopback
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(ipnet.IP)
		if ip = ip.Unmap(); ok && ip.Is4() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return loopback
}
