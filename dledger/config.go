package dledger

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/store"
)

// Peer is one member of the group: RocketMQ's "n0-host:port" split at the dash.
type Peer struct {
	// ID is the member's name, unique in the group, for example "n0".
	ID string
	// Addr is the advertised host:port of the member's Raft listener. Other
	// members dial it; the member itself may listen elsewhere (Config.Bind).
	Addr string
}

// Config says who the node is, who its peers are, and what bounds it keeps.
// Zero values take the defaults named beside each field.
type Config struct {
	// Cluster and Group name the group. Both are sent in the greeting of each
	// Raft connection, so that two groups that were given each other's address
	// by mistake refuse to talk instead of mixing their logs. Group is
	// required, Cluster may be empty. At most 127 bytes each.
	Cluster string
	Group   string

	// SelfID is this member's ID. It must be one of Peers.
	SelfID string

	// Peers lists all voters, this one included. It is read when the group
	// starts for the first time; later the configuration in the log counts, and
	// a difference between the two is reported and not acted on. A member with an
	// empty disk asks those in it for the group.
	Peers []Peer

	// Join says that the group exists: with an empty disk, this member waits to be
	// added to it and never founds one together with others of its list.
	Join bool

	// Bind is the host:port to listen on. Empty means 0.0.0.0 and the port of
	// this member's Addr, because the advertised address may belong to a
	// gateway and not to this machine.
	Bind string

	// Listen is an open listener to use instead of Bind. The node closes it.
	Listen net.Listener

	// Dir holds stable.db, Raft's term and vote.
	Dir string

	// Store is the opened store. The node closes neither it nor its log; it
	// must outlive the node.
	Store *store.Store

	// HeartbeatTimeout is how long a follower waits for its leader before it
	// stands for election (default 300 ms). An election costs clients about
	// 1.5 to 3 times this. ElectionTimeout (default 300 ms, or HeartbeatTimeout
	// if that is longer) is how long a candidate waits for votes.
	// LeaderLeaseTimeout (default HeartbeatTimeout) is how long a leader
	// without a majority keeps the role; it must be between a quarter of
	// HeartbeatTimeout and all of it. Such a leader acknowledges
	// nothing anyway, so a short lease gains little, and it is the first to
	// break when a machine stalls: with 100 ms and a load of 8 on two cores,
	// leaders gave up after pauses of 110 to 140 ms; with 200 ms in all three
	// and a load of 21 there were still two needless elections in a minute.
	HeartbeatTimeout   time.Duration
	ElectionTimeout    time.Duration
	LeaderLeaseTimeout time.Duration

	// ElectionStagger is by how much the members stand one after the other when
	// the process of the leader is gone (default 50 ms, negative: never stand
	// before HeartbeatTimeout). The one with the longest log stands at once. It
	// should be longer than the best takes to begin: two that stand together may
	// split the votes and leave the election to the timers.
	ElectionStagger time.Duration

	// Sync says whether the store fsyncs each append. It only chooses the
	// default of EntriesInFlight here; the store does the syncing.
	Sync bool

	// EntriesInFlight is the number of entries between the collector and their
	// commit (0: 1 with Sync, 4 without). While that many are on their way, the
	// next one collects. With fsync 1 gives the biggest groups and measured the
	// least CPU per message; without it 2, 4 and 8 measured alike.
	EntriesInFlight int

	// EntryBytesMax is the size up to which proposals are joined into one
	// entry (default 256 KiB). One bigger proposal goes alone.
	EntryBytesMax int

	// ProposalSizeMax bounds a single proposal (default 16 MiB). It must stay
	// below the segment size of the store. Bigger ones end with ErrTooLarge.
	ProposalSizeMax int

	// ProposalsMax and ProposalBytesMax bound what waits in the collector and
	// is in flight together (defaults 65536 proposals and 64 MiB). Beyond
	// either, a proposal ends with ErrBusy. A lone proposal above
	// ProposalBytesMax is still taken when nothing else waits.
	ProposalsMax     int
	ProposalBytesMax int64

	// InstallRate is how many bytes a second are sent to a member that is brought
	// up from the live log (default 16 MiB; negative: as fast as it goes). With all
	// members on two cores and one disk the 99th percentile of senders was 1.24 times
	// that without a transfer during one of 5 GB at 16 MiB/s, and 3 to 4 times during
	// short ones at 32 MiB/s or without a bound. `make refill` measures it.
	InstallRate int64

	// CompareRate is how many bytes a second of the members' logs are compared with
	// each other while this member leads. 0: only when somebody asks.
	CompareRate int64

	// WatchdogTimeout is how long one write, sync or truncation of the log may
	// take (default 10 s) before the node calls Exit. A leader whose disk hangs
	// would otherwise keep its followers quiet with heartbeats for ever.
	WatchdogTimeout time.Duration

	// CheckpointInterval is how often a changed state is checkpointed (default
	// 5 s); CheckpointBytes triggers one earlier after that much new log
	// (default 64 MiB). Both bound the log that is replayed at a start.
	CheckpointInterval time.Duration
	CheckpointBytes    int64

	// CloseTransferTimeout is how long Close tries to hand leadership over
	// (default 2 s, negative: do not try).
	CloseTransferTimeout time.Duration

	// Logger may be nil.
	Logger hclog.Logger

	// Exit is called at most once, with a sentence for the operator, when this
	// process can no longer be trusted to be a replica: its disk hung or failed
	// and what is on it is unknown. It should end the process without running
	// shutdown code. With ErrReplaced, everything is well and the process should
	// start again at once. It is called from a goroutine of its own. Required.
	Exit func(error)
}

// Defaults of Config.
const (
	DefaultHeartbeatTimeout   = 300 * time.Millisecond
	DefaultElectionTimeout    = 300 * time.Millisecond
	DefaultLeaderLeaseTimeout = 300 * time.Millisecond
	DefaultElectionStagger    = 50 * time.Millisecond
	DefaultEntryBytesMax      = 256 << 10
	DefaultProposalSizeMax    = 16 << 20
	DefaultProposalsMax       = 64 << 10
	DefaultProposalBytesMax   = 64 << 20
	DefaultInstallRate        = 16 << 20
	DefaultWatchdogTimeout    = 10 * time.Second
	DefaultCheckpointInterval = 5 * time.Second
	DefaultCheckpointBytes    = 64 << 20
	DefaultTransferTimeout    = 2 * time.Second
)

const nameBytesMax = 127 // of cluster, group and member names in the greeting

// withDefaults returns c with every zero field filled in.
func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	def(&c.ElectionTimeout, max(DefaultElectionTimeout, c.HeartbeatTimeout))
	def(&c.LeaderLeaseTimeout, c.HeartbeatTimeout)
	def(&c.ElectionStagger, DefaultElectionStagger)
	def(&c.WatchdogTimeout, DefaultWatchdogTimeout)
	def(&c.CheckpointInterval, DefaultCheckpointInterval)
	def(&c.CloseTransferTimeout, DefaultTransferTimeout)
	if c.EntriesInFlight == 0 {
		c.EntriesInFlight = 4
		if c.Sync {
			c.EntriesInFlight = 1
		}
	}
	if c.EntryBytesMax == 0 {
		c.EntryBytesMax = DefaultEntryBytesMax
	}
	if c.ProposalSizeMax == 0 {
		c.ProposalSizeMax = DefaultProposalSizeMax
	}
	if c.ProposalsMax == 0 {
		c.ProposalsMax = DefaultProposalsMax
	}
	if c.ProposalBytesMax == 0 {
		c.ProposalBytesMax = DefaultProposalBytesMax
	}
	if c.InstallRate == 0 {
		c.InstallRate = DefaultInstallRate
	}
	if c.CheckpointBytes == 0 {
		c.CheckpointBytes = DefaultCheckpointBytes
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Validate reports every problem of the configuration at once. Zero values
// that have a default are not problems.
func (c Config) Validate() error {
	d := c.withDefaults()
	var errs []error
	bad := func(key string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("dledger: %s is %v: allowed is %s", key, value, allowed))
	}
	if d.Group == "" || len(d.Group) > nameBytesMax {
		bad("Group", strconv.Quote(d.Group), fmt.Sprintf("a name of 1 to %d bytes", nameBytesMax))
	}
	if len(d.Cluster) > nameBytesMax {
		bad("Cluster", strconv.Quote(d.Cluster), fmt.Sprintf("a name of at most %d bytes", nameBytesMax))
	}
	if d.Dir == "" {
		bad("Dir", `""`, "the folder that keeps Raft's term and vote")
	}
	if d.Store == nil {
		bad("Store", "nil", "an opened store")
	}
	if d.Exit == nil {
		bad("Exit", "nil", "a function that ends the process")
	}
	errs = append(errs, validatePeers(d)...)
	for _, t := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		{"HeartbeatTimeout", d.HeartbeatTimeout, 5 * time.Millisecond},
		{"ElectionTimeout", d.ElectionTimeout, 5 * time.Millisecond},
		{"LeaderLeaseTimeout", d.LeaderLeaseTimeout, 5 * time.Millisecond},
		{"WatchdogTimeout", d.WatchdogTimeout, time.Millisecond},
		{"CheckpointInterval", d.CheckpointInterval, time.Millisecond},
	} {
		if t.value < t.least {
			bad(t.key, t.value, "at least "+t.least.String())
		}
	}
	if d.LeaderLeaseTimeout > d.HeartbeatTimeout {
		bad("LeaderLeaseTimeout", d.LeaderLeaseTimeout, "at most HeartbeatTimeout, which is "+d.HeartbeatTimeout.String())
	}
	if least := d.HeartbeatTimeout / 4; d.LeaderLeaseTimeout < least {
		// Heartbeats come every tenth to every fifth of HeartbeatTimeout; a lease
		// that two of them can miss ends under the first load.
		bad("LeaderLeaseTimeout", d.LeaderLeaseTimeout, "at least a quarter of HeartbeatTimeout, which is "+least.String())
	}
	if d.ElectionTimeout < d.HeartbeatTimeout {
		bad("ElectionTimeout", d.ElectionTimeout, "at least HeartbeatTimeout, which is "+d.HeartbeatTimeout.String())
	}
	for _, n := range []struct {
		key         string
		value       int64
		least, most int64
	}{
		{"EntriesInFlight", int64(d.EntriesInFlight), 1, 64},
		{"EntryBytesMax", int64(d.EntryBytesMax), 1 << 10, 4 << 20},
		{"ProposalSizeMax", int64(d.ProposalSizeMax), 1 << 10, 1 << 30},
		{"ProposalsMax", int64(d.ProposalsMax), 1, 1 << 24},
		{"ProposalBytesMax", d.ProposalBytesMax, 1, 1 << 40},
		{"CheckpointBytes", d.CheckpointBytes, 1, 1 << 40},
	} {
		if n.value < n.least || n.value > n.most {
			bad(n.key, n.value, fmt.Sprintf("%d to %d", n.least, n.most))
		}
	}
	return errors.Join(errs...)
}

// validatePeers checks the member list: someone must dial each address, and
// two members must never be the same one.
func validatePeers(c Config) []error {
	var errs []error
	ids, addrs := map[string]bool{}, map[string]string{}
	for _, p := range c.Peers {
		if p.ID == "" || len(p.ID) > nameBytesMax {
			errs = append(errs, fmt.Errorf("dledger: Peers has the member id %q: allowed is a name of 1 to %d bytes", p.ID, nameBytesMax))
		}
		if ids[p.ID] {
			errs = append(errs, fmt.Errorf("dledger: Peers names the member %q twice: allowed is once", p.ID))
		}
		ids[p.ID] = true
		host, port, err := net.SplitHostPort(p.Addr)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || host == "" || n == 0 {
			errs = append(errs, fmt.Errorf("dledger: Peers gives %q the address %q: allowed is host:port with a port of 1 to 65535", p.ID, p.Addr))
		} else if other, dup := addrs[p.Addr]; dup {
			errs = append(errs, fmt.Errorf("dledger: Peers gives %q and %q the same address %s: allowed is one address each", other, p.ID, p.Addr))
		}
		addrs[p.Addr] = p.ID
	}
	if !ids[c.SelfID] {
		errs = append(errs, fmt.Errorf("dledger: SelfID is %q: allowed is one of the members in Peers, which are %s", c.SelfID, peersText(c.Peers)))
	}
	return errs
}

// self is this member's own entry of Peers; Validate made sure it is there.
func (c Config) self() Peer {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.ID == c.SelfID })
	return c.Peers[i]
}

// peersText writes peers the way the configuration key dLegerPeers does.
func peersText(peers []Peer) string {
	if len(peers) == 0 {
		return "none"
	}
	parts := make([]string, len(peers))
	for i, p := range peers {
		parts[i] = p.ID + "-" + p.Addr
	}
	return strings.Join(parts, ";")
}
