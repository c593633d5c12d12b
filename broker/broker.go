package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/broker/delay"
	"github.com/cometmq/cometmq/broker/group"
	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/broker/stats"
	"github.com/cometmq/cometmq/broker/transaction"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// Reasons for which a broker refuses to start, beside ErrUnknownSelf and the
// *vfs.LockedError of a store in use.
var (
	// ErrPortInUse says that a port of the broker is taken. The text names it.
	ErrPortInUse = errors.New("port in use")
	// ErrOtherStore says that the store directory belongs to another cluster or
	// group.
	ErrOtherStore = store.ErrIdentity
)

// LogInDoubtError says that the store's log is damaged; the member must not run.
type LogInDoubtError = store.InDoubtError

// ErrLogReplaced, given to Options.Exit, says that this member has received a new
// log from its leader and must start again to read it.
var ErrLogReplaced = dledger.ErrReplaced

// Options are what a broker needs besides its settings.
type Options struct {
	// Settings holds the validated configuration. Required.
	Settings *config.Set[Config]
	// Logger may be nil.
	Logger hclog.Logger
	// FS holds the store; nil is the real disk.
	FS vfs.FS
	// OpenKV replaces the store's metadata file, for tests on a memory disk.
	OpenKV func(path string) (store.KVFile, error)
	// ConfigFile is the file that the settings came from, where changed ones are
	// kept; "" is SettingsFile of the store.
	ConfigFile string
	// Listener replaces listenPort: one that somebody else keeps open, or that of a
	// test. On another port than listenPort it has no VIP port beside it.
	// RaftListener replaces the port in dLegerPeers, for tests only: see RaftPort.
	Listener     net.Listener
	RaftListener net.Listener
	// Exit ends the process when this member can no longer be trusted: its disk
	// hangs or failed. It is called from a goroutine of its own. Required.
	Exit func(error)
}

// Broker is one member of a replica group.
type Broker struct {
	settings *config.Set[Config]
	opts     Options
	log      hclog.Logger
	fs       vfs.FS

	brokerName string
	selfID     string
	followerID int64
	peers      []dledger.Peer
	levels     delay.Levels
	memory     atomic.Int64                   // bytes of the machine, see memoryBytes
	ip         netip.Addr                     // brokerIP1
	addr       netip.AddrPort                 // brokerIP1:listenPort as it was at the start; in message ids
	advertised atomic.Pointer[netip.AddrPort] // what clients dial
	external   string                         // what clients outside of the network dial, or ""

	routes       map[int32]*route
	stats        *stats.Stats
	counters     *counters
	waitingSends waitGauge
	sendOps      sync.Pool // of *sendOp
	meta         *metadata.State
	store        *store.Store
	opened       time.Duration // how long opening the store took
	node         *dledger.Node
	clients      *group.Clients
	offsets      *group.Offsets
	reporters    *group.Reporters
	earlier      *logging.Limited // about offsets that go back
	unlit        *logging.Limited // about light queues that a message does not get into
	delay        *delay.Scheduler
	timers       *delay.Timers
	checker      *transaction.Checker

	readers    *workers
	held       *holdTable
	moved      movedLimit
	forward    *forwarder
	relays     *relays
	register   *registrar
	server     *remoting.Server
	vip        *remoting.Server
	nsClient   *remoting.Client // to name servers
	peerClient *remoting.Client // to the leader
	pullClient *remoting.Client // to the leader, for pulls, whose answers take long

	// leading and term are what requests look at; roleMu guards the newest news
	// for the goroutine of runRoles.
	leading  atomic.Bool
	term     atomic.Uint64
	roleMu   sync.Mutex
	role     dledger.RoleChange
	roleWake chan struct{}
	lastLed  atomic.Int64 // when this member last stopped to lead, see elapsed; 0: never

	// diskFull is the remark for sends while the disk is nearly full.
	diskFull atomic.Pointer[string]
	diskOnce sync.Once

	// configMu lets one update of this member's own settings happen at a time.
	configMu      sync.Mutex
	versionMu     sync.Mutex
	configVersion protocol.DataVersion
	// settingsWake tells watchSettings that group-wide settings changed.
	settingsWake chan struct{}

	// askForNameServers says that the address server is asked; askAgain does so
	// before it is time.
	askForNameServers bool
	askAgain          chan struct{}

	peerRates peerRates
	repairs   int64 // how often the store was set aside, of the last ones
	firstTime earliestTime

	waitMu  sync.Mutex
	waiting int
	closing bool
	waiters sync.WaitGroup // requests that wait for the group

	ctx        context.Context // the broker's life
	cancel     context.CancelFunc
	background sync.WaitGroup // runRoles, registrar, housekeeping, watchDisk, keepMessages
	started    atomic.Bool    // everything above is there
	leaving    atomic.Bool    // the name servers are not told of us any more
	refusing   atomic.Bool    // new requests are refused
	hurry      chan struct{}  // closed by Hurry
	hurryOnce  sync.Once
	closeOnce  sync.Once
	closeErr   error
}

// New checks the settings and makes what needs no file and no port.
func New(opts Options) (*Broker, error) {
	if opts.Settings == nil || opts.Exit == nil {
		return nil, errors.New("broker: Options.Settings and Options.Exit are required")
	}
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	if opts.FS == nil {
		opts.FS = vfs.OS
	}
	cfg := opts.Settings.Current()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		settings: opts.Settings, opts: opts, log: opts.Logger.Named("broker"), fs: opts.FS,
		brokerName: cfg.brokerName(), selfID: cfg.selfID(),
		routes: routes(), roleWake: make(chan struct{}, 1), hurry: make(chan struct{}), settingsWake: make(chan struct{}, 1), askAgain: make(chan struct{}),
	}
	b.stats = stats.New(stats.Config{Cluster: cfg.ClusterName})
	b.counters = newCounters(func(code int32) bool { return b.routes[code] != nil })
	b.configVersion.Timestamp = b.stats.Start().UnixMilli()
	var err error
	if b.peers, err = cfg.peers(); err != nil {
		return nil, err
	}
	b.followerID = cfg.followerID(b.peers)
	if b.levels, err = delay.ParseLevels(cfg.DelayLevels); err != nil {
		return nil, err
	}
	if b.ip, err = cfg.advertisedIP(); err != nil {
		return nil, err
	}
	b.meta = metadata.New(metadata.Config{
		Cluster: cfg.ClusterName, BrokerName: b.brokerName,
		// Always: the group may switch it on, and topicTable hides it while it is off.
		AutoCreateTopic: true, ClusterTopic: cfg.ClusterTopic, BrokerTopic: cfg.BrokerTopic,
		TraceTopic:         cfg.TraceTopic && cfg.TraceTopicName == message.TopicTrace,
		DefaultTopicQueues: int32(cfg.DefaultQueues), DelayLevels: int32(len(b.levels)), OnSettings: b.groupSettings, Logger: b.log,
	})
	b.clients = group.NewClients(group.ClientsConfig{ExpireAfter: cfg.ClientExpiry, Notify: b.notifyConsumers, Logger: b.log})
	b.memory.Store(memoryBytes())
	b.held = newHoldTable(b.wakePull)
	b.relays = newRelays()
	return b, nil
}

// cfg is the configuration at this moment.
func (b *Broker) cfg() *Config { return b.settings.Current() }

// name is what this member calls itself to people: broker-a/n0.
func (b *Broker) name() string { return b.brokerName + "/" + b.selfID }

// Addr is the address clients are told, valid after Start.
func (b *Broker) Addr() netip.AddrPort {
	if a := b.advertised.Load(); a != nil {
		return *a
	}
	return b.addr
}

// Name is the broker's name in routes.
func (b *Broker) Name() string { return b.brokerName }

// Start opens ports and store and joins the group. It returns when this member
// serves, which may be before the group has a leader; see WaitReady. A failed
// Start leaves nothing open.
func (b *Broker) Start(ctx context.Context) (err error) {
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			b.teardown()
		}
	}()
	cfg := b.cfg()
	// Ports first: the commonest mistake is a second broker on one machine, and
	// it must not touch the first one's store.
	main, vip, err := b.listen(cfg)
	if err != nil {
		return err
	}
	if err := b.openStore(ctx, cfg); err != nil {
		closeAll(main, vip)
		return err
	}
	if err := b.assemble(cfg, main, vip); err != nil {
		return err
	}
	if err := b.node.Start(ctx); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return explain.PortInUse(fmt.Errorf("%w: %w", ErrPortInUse, err), raftListen(cfg), "dLegerPeers")
		}
		return b.startFailed(err)
	}
	if err := b.offsets.Start(b.ctx); err != nil {
		return err
	}
	b.findNameServers(ctx)
	b.background.Go(func() { b.runRoles(b.ctx) })
	if b.askForNameServers {
		b.background.Go(func() { b.watchNameServers(b.ctx) })
	}
	b.background.Go(func() { b.register.run(b.ctx) })
	b.background.Go(func() { b.forward.greet(b.ctx) })
	b.background.Go(func() { b.keepHouse(b.ctx) })
	b.background.Go(func() { b.watchDisk(b.ctx) })
	b.background.Go(func() { b.keepMessages(b.ctx) })
	b.background.Go(func() { b.watchSettings(b.ctx) })
	if err := b.server.Start(); err != nil {
		return err
	}
	if b.vip != nil {
		if err := b.vip.Start(); err != nil {
			return err
		}
	}
	b.started.Store(true)
	b.register.kick()
	return nil
}

func closeAll(listeners ...net.Listener) {
	for _, l := range listeners {
		if l != nil {
			_ = l.Close()
		}
	}
}

// listen opens the ports for clients.
func (b *Broker) listen(cfg *Config) (main, vip net.Listener, err error) {
	if main = b.opts.Listener; main == nil {
		if main, err = listenOn(cfg.BindIP, cfg.ListenPort, "listenPort"); err != nil {
			return nil, nil, err
		}
	}
	opened := main.Addr().(*net.TCPAddr).Port
	if cfg.VIPChannel && cfg.ListenPort > 2 && opened == cfg.ListenPort {
		if vip, err = listenOn(cfg.BindIP, cfg.ListenPort-2, "the VIP port, listenPort minus 2; enableVipChannel=false does without"); err != nil {
			closeAll(main)
			return nil, nil, err
		}
	}
	_, port, external, err := listenersOf(cfg.AdvertisedListeners)
	if err != nil {
		closeAll(main, vip)
		return nil, nil, err
	}
	if port == 0 {
		port = opened
	}
	b.addr, b.external = netip.AddrPortFrom(b.ip, uint16(port)), external
	return main, vip, nil
}

func listenOn(ip string, port int, key string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, explain.PortInUse(ErrPortInUse, net.JoinHostPort(ip, strconv.Itoa(port)), key)
	}
	if err != nil {
		return nil, fmt.Errorf("open port %d (%s): %w", port, key, err)
	}
	return l, nil
}

// raftListen is where this member's Raft port is.
func raftListen(cfg *Config) string {
	if bind := cfg.raftBind(); bind != "" {
		return bind
	}
	peers, _ := cfg.peers() // they were read before
	for _, p := range peers {
		if p.ID == cfg.selfID() {
			return p.Addr
		}
	}
	return cfg.DLedgerPeers
}

// RaftPort is the port by which the other members reach this one, 0 if the
// settings do not say it in figures. Nobody may keep it open while this process is
// dead: that it refuses is how the others learn of a leader's death at once and not
// by their timers (dledger/early.go).
func (c *Config) RaftPort() int {
	_, text, _ := net.SplitHostPort(raftListen(c))
	port, _ := strconv.Atoi(text)
	return port
}

// openStore opens the store and makes the node over it.
func (b *Broker) openStore(ctx context.Context, cfg *Config) error {
	sync := cfg.FlushDisk == flushSync
	// Raft's own small file is kept by bbolt, which knows the real disk only.
	raftDir := filepath.Join(cfg.StoreRoot, "raft")
	nc := dledger.Config{
		Cluster: cfg.ClusterName, Group: cfg.group(), SelfID: b.selfID, Peers: b.peers, Join: cfg.DLedger && cfg.RaftJoin,
		Bind: cfg.raftBind(), Listen: b.opts.RaftListener, Dir: raftDir,
		HeartbeatTimeout: cfg.RaftHeartbeatTimeout, ElectionTimeout: cfg.RaftElectionTimeout, LeaderLeaseTimeout: cfg.RaftLeaderLeaseTimeout,
		Sync: sync, EntriesInFlight: cfg.RaftEntriesInFlight, ProposalSizeMax: proposalMax(cfg.SegmentSize),
		InstallRate: installRate(cfg.RaftInstallRate), CompareRate: int64(cfg.CompareRate), WatchdogTimeout: cfg.DiskWatchdog, Logger: b.opts.Logger, Exit: b.exit,
	}
	sc := store.Config{
		FS: b.fs, Dir: cfg.StoreRoot, Cluster: cfg.ClusterName, Group: cfg.group(), OpenKV: b.opts.OpenKV,
		SegmentSize: cfg.SegmentSize, Sync: sync, FlushInterval: cfg.FlushInterval, Logger: b.opts.Logger.Named("store"),
		KeyIndex: cfg.MessageIndex, Machine: b.meta, DelayTime: b.levels.Millis, OnArrival: b.arrived, OnFailure: b.exit,
		ScrubRate: int64(cfg.ScrubRate),
	}
	// Damage that is found while the node is not there yet is found again.
	ready := make(chan struct{})
	sc.OnDamage = func(err error) {
		select {
		case <-ready:
			b.damaged(err)
		case <-b.ctx.Done():
		}
	}
	if err := os.MkdirAll(raftDir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the raft state: %w", err)
	}
	began := time.Now()
	var err error
	b.store, err = b.openRepaired(ctx, sc, nc)
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return explain.StoreLocked(err, cfg.StoreRoot, locked.PID)
	case errors.Is(err, ErrOtherStore):
		return explain.OtherStore(err)
	case err != nil:
		return err
	}
	b.opened = time.Since(began)
	nc.Store, b.repairs = b.store, int64(len(store.Repairs(sc)))
	if b.node, err = dledger.New(nc); err != nil {
		return err
	}
	close(ready)
	return nil
}

// installRate translates "as fast as it goes".
func installRate(setting int) int64 {
	if setting == 0 {
		return -1
	}
	return int64(setting)
}

// proposalMax is the largest proposal: a whole entry must fit a segment.
func proposalMax(segment int64) int {
	return int(min(int64(dledger.DefaultProposalSizeMax), segment/2))
}

// assemble makes everything between the ports and the node. Nothing runs yet but
// the reading workers.
func (b *Broker) assemble(cfg *Config, main, vip net.Listener) error {
	var err error
	if b.server, err = remoting.NewServer(b.serverConfig(cfg, main, b.handle)); err != nil {
		closeAll(main, vip)
		return err
	}
	if vip != nil {
		if b.vip, err = remoting.NewServer(b.serverConfig(cfg, vip, b.handleVIP)); err != nil {
			closeAll(main, vip)
			return err
		}
	}
	b.reporters = group.NewReporters(lateWindow, nil)
	b.earlier = logging.NewLimited(b.log, earlierEvery)
	b.unlit = logging.NewLimited(b.log, earlierEvery)
	b.offsets, err = group.NewOffsets(group.OffsetsConfig{
		Proposer: offsetProposer{b.node}, FlushInterval: cfg.OffsetFlushInterval, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.delay, err = delay.New(delay.Config{
		Log: newDelayLog(b, len(b.levels)), Levels: b.levels, StoreHost: b.addr, Deliverable: b.deliverable, Properties: b.lightLater, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.timers, err = delay.NewTimers(delay.TimersConfig{
		Log: &timerLog{b: b}, StoreHost: b.addr, Deliverable: b.deliverable, Properties: b.lightLater, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.checker, err = transaction.New(transaction.Config{
		Log: halfLog{b}, Producers: producers{b}, Settings: func() transaction.Settings { return b.cfg().checks() }, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.nsClient = remoting.NewClient(remoting.ClientConfig{Logger: b.log, OnClose: func(addr string, _ *remoting.Conn) { b.register.lost(addr) }})
	b.peerClient = remoting.NewClient(remoting.ClientConfig{
		Logger: b.log, DialTimeout: time.Second, InvokeTimeout: forwardTimeout, Handler: b.relay, OnClose: b.peerLost,
	})
	b.pullClient = remoting.NewClient(remoting.ClientConfig{Logger: b.log, DialTimeout: time.Second, InvokeTimeout: holdMax + forwardTimeout})
	b.register = newRegistrar(b, b.nsClient)
	b.forward = newForwarder(b, b.peerClient, b.pullClient)
	b.readers = newWorkers(4 + 4*runtime.GOMAXPROCS(0))
	b.node.OnRole(b.roleChanged)
	b.node.OnMember(b.membersChanged)
	return nil
}

func (b *Broker) serverConfig(cfg *Config, l net.Listener, h remoting.Handler) remoting.ServerConfig {
	return remoting.ServerConfig{
		Listener: l, Name: "mqbroker " + b.name(), Handler: h, OnClose: b.connClosed, Answered: b.counters.calls.Observe, Logger: b.log,
		MaxConns: cfg.ConnectionsMax, MaxInFlight: cfg.InFlightMax, IdleTimeout: cfg.ChannelIdle,
	}
}

// connClosed forgets everything that was bound to a connection.
func (b *Broker) connClosed(c *remoting.Conn) {
	b.held.dropConn(c.ID())
	b.clients.ConnClosed(c)
	b.forward.clientGone(c)
	for _, p := range b.relays.closed(c) {
		b.memberGone(p)
	}
}

// relay and peerLost are for connections to the leader.
func (b *Broker) relay(call remoting.Call, req *protocol.Command) { b.forward.relay(call, req) }

func (b *Broker) peerLost(addr string, _ *remoting.Conn) {
	if leader, ok := b.leaderAddr(); ok && leader == addr {
		b.forward.changed(true)
	}
}

// keepHouse does what is done every ten seconds.
func (b *Broker) keepHouse(ctx context.Context) {
	tick := time.NewTicker(stats.Interval)
	defer tick.Stop()
	slow := time.NewTicker(slowInterval)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
			b.disableSlow(ctx)
		case <-tick.C:
			b.stats.Sample()
			b.peerRates.sample(b.peerPositions(), time.Now())
			b.forgetOnce()
			for _, c := range b.clients.Expire() {
				if conn, ok := c.(*remoting.Conn); ok {
					conn.Close()
				}
			}
		}
	}
}

// readyPoll is how often WaitReady looks.
const readyPoll = 5 * time.Millisecond

// WaitReady returns when the group has a leader that this member knows how to
// reach (or is) and the name servers were told, whether they could be reached
// or not.
func (b *Broker) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		_, known := b.leaderAddr()
		if b.leading.Load() || known {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for a leader of group %s: %w", b.cfg().group(), ctx.Err())
		}
	}
	b.register.waitRound(ctx)
	return ctx.Err()
}

// Status describes this member's place in its group.
func (b *Broker) Status() dledger.Status { return b.node.Status() }

func (b *Broker) haAddr() string {
	addr := b.Addr()
	return netip.AddrPortFrom(addr.Addr(), addr.Port()+1).String()
}
