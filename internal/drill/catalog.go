package drill

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A fault does its damage, waits for the recovery and fills in the times. It
// returns with the cluster whole again.
type fault struct {
	name  string
	about string
	needs Needs
	run   func(ctx context.Context, t *trial) error
	// check adds to the verdict what only this drill promises; nil for nothing.
	check func(r *Trial) string
	// after is done when the load has ended and before the audit; nil for nothing.
	after func(ctx context.Context, t *trial) error
	// delayed adds delayed messages to the load.
	delayed bool
	// goesOn: Config.For says for how long.
	goesOn bool
}

// Needs is what a drill wants of a cluster beyond an ordinary local one. A drill
// that needs nothing also breaks a cluster that was there before.
type Needs struct {
	Network  bool // each process is a host of a network that can be cut; root
	Faults   bool // members follow a fault file
	Volume   int  // MiB of the small volume each member has for itself; root
	Namesrvs int  // name servers
	Nodes    int  // members, if not as many as asked for
	Settings map[string]string
}

// None reports whether any cluster will do.
func (n Needs) None() bool {
	return !n.Network && !n.Faults && n.Volume == 0 && n.Namesrvs == 0 && n.Nodes == 0 && len(n.Settings) == 0
}

// faults are the drills, in the order they are listed.
var faults = []fault{
	{name: "kill-leader", about: "SIGKILL the leader, wait for the next one, start the old one again", run: killLeader},
	{name: "kill-follower", about: "SIGKILL a follower, start it again; nobody must notice", run: killFollower, check: checkUnnoticed},
	{name: "kill-all", about: "SIGKILL all members at once, start them again", run: killAll},
	{name: "kill-loop", about: "SIGKILL a member at random every second or so, ten times or --for so long", run: killLoop, goesOn: true},
	{name: "pause-leader", about: "SIGSTOP the leader for 5 s while others, and direct probes of the old one, go on", run: pauseLeader, check: checkElection},
	{name: "pause-followers", about: "SIGSTOP one follower, then both; refused without a majority, then all goes on", run: pauseFollowers},
	{name: "isolate-leader", about: "pull the cable of the leader's host", needs: Needs{Network: true}, run: isolateLeader},
	{name: "isolate-minority", about: "the leader and the clients on the side of the minority; nothing is acknowledged falsely", needs: Needs{Network: true}, run: isolateMinority, check: checkElection},
	{name: "isolate-follower", about: "a follower's cable is out for 10 s; its return disturbs no term", needs: Needs{Network: true}, run: isolateFollower, check: checkSameTerm},
	{name: "one-way-partition", about: "the leader can send and not receive, then receive and not send", needs: Needs{Network: true}, run: oneWayPartition},
	{name: "ring-partition", about: "five members of which each sees two neighbours only", needs: Needs{Network: true, Nodes: 5}, run: ringPartition},
	{name: "bridge-partition", about: "of five members two pairs do not see each other, the fifth sees all", needs: Needs{Network: true, Nodes: 5}, run: bridgePartition},
	{name: "flapping-link", about: "the leader's cable is out and in, 200 ms each, for 6 s", needs: Needs{Network: true}, run: flappingLink},
	{name: "bad-network", about: "the leader's line, then a follower's: delay 50 ± 50 ms, 5 % of the packets lost, 5 % twice, many out of order", needs: Needs{Network: true}, run: badNetwork},
	{name: "slow-link", about: "a follower gets 1 Mbit/s for 10 s; the others set the pace", needs: Needs{Network: true}, run: slowLink, check: checkSameTerm},
	{name: "slow-fsync", about: "a follower's fsync, then the leader's, takes 500 ms longer, then the leader's never returns",
		needs: Needs{Faults: true, Settings: map[string]string{"diskWatchdogTimeout": "2000"}}, run: slowFsync, check: checkWatchdog},
	{name: "failing-disk", about: "the leader's fsync fails once, then another's writes", needs: Needs{Faults: true}, run: failingDisk},
	{name: "full-disk", about: "the leader's volume is full to the last byte, then a follower's", run: fullDisk, check: checkResumed,
		needs: Needs{Volume: 400, Settings: map[string]string{"mappedFileSizeCommitLog": "16777216", "cleanFileForciblyEnable": "false"}}},
	{name: "wipe-follower", about: "a follower loses its disk; afterwards it alone must have everything", run: wipeFollower, after: auditWiped,
		needs: Needs{Settings: map[string]string{"slaveReadEnable": "true"}}},
	{name: "restore-old-disk", about: "a follower comes back with a copy of its disk from before an election", run: restoreOldDisk, after: auditWiped,
		needs: Needs{Settings: map[string]string{"slaveReadEnable": "true"}}},
	{name: "crash-points", about: "a member kills itself right before the 1st, 2nd, 3rd … change of its disk, each in turn", needs: Needs{Faults: true}, run: crashPoints},
	{name: "rolling-restart", about: "SIGTERM and start each member in turn; no client sees an error", run: rollingRestart, check: checkNoErrors,
		needs: Needs{Settings: map[string]string{"shutdownDrainTime": "35000"}}},
	{name: "transfer-storm", about: "hand the leadership over 20 times without a pause, two takers killed meanwhile", run: transferStorm, check: checkStorm},
	{name: "kill-namesrv", about: "SIGKILL one name server, then all, start them again; clients that know the way go on", needs: Needs{Namesrvs: 2}, run: killNamesrv, check: checkNoErrors},
	{name: "clock-jump", about: "the leader's clock jumps by ±1 h, a member whose clock is an hour behind takes over; delayed messages come once and never early",
		needs: Needs{Faults: true}, run: clockJump, check: checkClock, delayed: true},
}

const (
	recoverTimeout = 30 * time.Second // for an election, or a member's return
	settle         = time.Second      // of load before the fault and after the recovery
	pauseElection  = 2 * time.Second  // within which a new leader must be there when the old one stands still
	// offsetsBound is the broker's consumerOffsetFlushInterval, for which a commit
	// waits for company, and as long again for being replicated.
	offsetsBound = 200 * time.Millisecond
)

// Names lists the drills with a sentence each.
func Names() [][2]string {
	var out [][2]string
	for _, f := range faults {
		out = append(out, [2]string{f.name, f.about})
	}
	return out
}

func find(name string) (fault, error) {
	var names []string
	for _, f := range faults {
		if f.name == name {
			return f, nil
		}
		names = append(names, f.name)
	}
	return fault{}, fmt.Errorf("no drill %q; there are: %s", name, strings.Join(names, ", "))
}

// GoesOn reports whether a drill goes on for as long as Config.For says.
func GoesOn(name string) bool {
	f, err := find(name)
	return err == nil && f.goesOn
}

// NeedsOf returns what a drill wants of its cluster.
func NeedsOf(name string) (Needs, error) {
	f, err := find(name)
	return f.needs, err
}
