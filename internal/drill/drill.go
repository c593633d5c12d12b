package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// Cluster is what a drill needs of the cluster it breaks: *local.Cluster, or the
// containers of a compose project. Members are named by their dLegerSelfId.
type Cluster interface {
	// Namesrv lists the name servers, separated by ";".
	Namesrv() string
	// Flush is the flush mode, for the report.
	Flush() string
	Members() []string
	// Leader waits until a member other than the given ones says that it leads;
	// registered asks for the name server to know it too.
	Leader(ctx context.Context, registered bool, except ...string) (local.Broker, error)
	// Joined waits until a member is leader or follower of a group with a leader.
	Joined(ctx context.Context, id string) error
	// Kill ends a member at once and returns when it is gone; Start starts it
	// again without waiting for it to answer.
	Kill(id string) error
	Start(id string) error
	Signal(id string, sig syscall.Signal) error
	// Ended returns members that should run and do not.
	Ended() []string
}

// Config says which drill to run on which cluster.
type Config struct {
	Drill       string // a name of Names
	Cluster     Cluster
	Trials      int
	Outstanding int       // senders with one message each under way
	Progress    io.Writer // a line per step, for people; nil for none
}

const (
	topicQueues = 4
	bodySize    = 128
	// attemptTimeout is how long a sender waits for one answer. Only a member
	// that hangs makes it wait so long: a dead one closes its connections.
	attemptTimeout = time.Second
	// stopGrace is how long outstanding sends may take when the load ends.
	stopGrace = 10 * time.Second
)

// Names lists the drills with a sentence each.
func Names() [][2]string {
	var out [][2]string
	for _, f := range faults {
		out = append(out, [2]string{f.name, f.about})
	}
	return out
}

// trial is one trial under way.
type trial struct {
	cluster Cluster
	load    *Load
	out     *Trial
	old     local.Broker // who led before the fault
	fault   time.Time    // when the damage was done
	resumed time.Time    // when a paused leader was woken up
}

// Run runs the drill's trials one after the other and reports on all of them.
// The error is about trials that could not be carried out; a broken promise is
// in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	f, err := find(cfg.Drill)
	if err != nil {
		return nil, err
	}
	rep := &Report{Drill: f.name, Nodes: len(cfg.Cluster.Members()), Flush: cfg.Cluster.Flush(), Outstanding: cfg.Outstanding}
	defer rep.summarize()
	for n := 1; n <= cfg.Trials; n++ {
		t, err := runTrial(ctx, cfg, f, n)
		if err != nil {
			return rep, fmt.Errorf("trial %d: %w", n, err)
		}
		rep.Trials = append(rep.Trials, *t)
		say(cfg.Progress, "trial %d: %s  %s → %s  election %d ms, gap %d ms, acked %d, lost %d\n",
			n, verdictWord(t.Pass), t.Node, t.Leader, t.ElectionMs, t.GapMs, t.Acked, t.Lost)
	}
	return rep, nil
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

func say(w io.Writer, format string, args ...any) {
	if w != nil {
		fmt.Fprintf(w, format, args...)
	}
}

func runTrial(ctx context.Context, cfg Config, f fault, n int) (*Trial, error) {
	client, err := admin.New(admin.Config{NameServers: admin.ParseNameServers(cfg.Cluster.Namesrv()), Timeout: attemptTimeout, RefusalsMax: -1})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	topic := "drill-" + run
	if err := createTopic(ctx, cfg.Cluster, client, topic); err != nil {
		return nil, err
	}

	t := &trial{cluster: cfg.Cluster, out: &Trial{Trial: n}}
	t.load = newLoad(ctx, loadConfig{client: client, run: run, topic: topic, queues: topicQueues, size: bodySize})
	began := time.Now()
	t.load.start(cfg.Outstanding, "")
	commits := startCommits(ctx, client, local.BrokerName, "drill-"+run, topic, topicQueues)
	err = t.load.ackAfter(ctx, began)
	if err == nil {
		wait(ctx, settle)
		say(cfg.Progress, "trial %d: %d acknowledged, now %s\n", n, t.load.acked.Load(), f.name)
		err = f.run(ctx, t)
	}
	commits.stop()
	history := t.load.stop(stopGrace)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return t.out, t.audit(ctx, f, client, run, topic, history, commits)
}

// audit reads everything back and fills in the verdict.
func (t *trial) audit(ctx context.Context, f fault, client *admin.Client, run, topic string, h History, commits *committer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	queues, err := readBack(ctx, client, topic, local.BrokerName, topicQueues)
	if err != nil {
		return err
	}
	r := t.out
	r.Verdict = Check(run, h, queues)
	r.GapMs = longestGap(h.Acks, t.fault).Milliseconds()
	behind, age, err := commits.behind(ctx, t.fault)
	if err != nil {
		return err
	}
	r.OffsetsBehind, r.OffsetsBehindMs = behind, age.Milliseconds()
	for _, a := range h.Acks {
		switch {
		case t.resumed.IsZero() || a.From != t.old.Addr || !a.At.After(t.resumed):
		case a.By == t.old.Addr:
			r.OldLeaderAcks++
		default:
			r.OldLeaderForwarded++
		}
	}
	r.Pass = r.Verdict.Pass()
	if !r.Pass {
		r.Reason = "the audit found what must not be"
	}
	if f.check != nil {
		if reason := f.check(r); reason != "" {
			r.Pass, r.Reason = false, reason
		}
	}
	if r.Died = t.cluster.Ended(); len(r.Died) > 0 {
		r.Pass, r.Reason = false, "ended by itself: "+strings.Join(r.Died, ", ")
	}
	return nil
}

func createTopic(ctx context.Context, cluster Cluster, client *admin.Client, topic string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, recoverTimeout, errors.New("the topic of the drill did not appear"))
	defer cancel()
	leader, err := cluster.Leader(ctx, true)
	if err != nil {
		return err
	}
	if err := client.CreateTopic(ctx, leader.Addr, topic, topicQueues); err != nil {
		return err
	}
	for {
		if _, err = client.RouteData(ctx, topic); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
