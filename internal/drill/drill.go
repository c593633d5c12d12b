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
	"github.com/cometmq/cometmq/internal/netns"
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
	Drill   string // a name of Names
	Cluster Cluster
	// Local is the same cluster where it is one of child processes, and Net the
	// network it is in, if any; drills that need them are refused without.
	Local       *local.Cluster
	Net         *netns.Network
	Settings    map[string]string // the cluster was started with, for the report
	PortsHeld   bool              // so are they, for the report; see local.Spec
	Trials      int
	For         time.Duration // how long a drill that goes on and on does so, see GoesOn; 0: it has a number
	Outstanding int           // senders with one message each under way
	Clients     []Stock       // stock clients that are load too
	Progress    io.Writer     // a line per step, for people; nil for none
}

const (
	topicQueues = 4
	bodySize    = 128
	// attemptTimeout is how long a sender waits for one answer, which is what
	// RocketMQ's clients wait. A dead member closes its connections, and that a
	// silent one is deposed the leader watch sees; so only a machine that has no
	// time for anybody makes a sender wait so long.
	attemptTimeout = 3 * time.Second
	// stopGrace is how long outstanding sends may take when the load ends.
	stopGrace = 10 * time.Second
	auditTime = 3 * time.Minute
)

// trial is one trial under way.
type trial struct {
	cfg     Config
	cluster Cluster
	local   *local.Cluster // nil in containers
	net     *netns.Network
	client  *admin.Client
	run     string // names it in all bodies
	topic   string

	load    *Load
	stock   []*stockClient
	delayed *delayedLoad
	commits *committer
	journal journal

	out     *Trial
	old     local.Broker // who led before the fault
	began   time.Time
	ended   time.Time // of the load of the eager client
	fault   time.Time // when the damage was done
	resumed time.Time // when a deposed leader was let go on
}

// Run runs the drill's trials one after the other and reports on all of them.
// The error is about trials that could not be carried out; a broken promise is
// in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	f, err := find(cfg.Drill)
	if err != nil {
		return nil, err
	}
	if f.needs.Network && cfg.Net == nil || !f.needs.None() && cfg.Local == nil {
		return nil, fmt.Errorf("drill %s needs a local cluster that it starts itself", f.name)
	}
	rep := &Report{Drill: f.name, Nodes: len(cfg.Cluster.Members()), Flush: cfg.Cluster.Flush(), Outstanding: cfg.Outstanding, Settings: cfg.Settings, PortsHeld: cfg.PortsHeld}
	defer func() {
		rep.Machine = thisMachine()
		rep.summarize()
	}()
	client, err := admin.New(admin.Config{NameServers: admin.ParseNameServers(cfg.Cluster.Namesrv()), Timeout: attemptTimeout, RefusalsMax: -1})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	stock, err := startStockClients(ctx, cfg, client)
	defer func() {
		for _, c := range stock {
			c.kill()
		}
	}()
	if err != nil {
		return rep, err
	}
	for n := 1; n <= cfg.Trials; n++ {
		t, err := runTrial(ctx, cfg, f, client, stock, n)
		if err != nil {
			return rep, fmt.Errorf("trial %d: %w", n, err)
		}
		rep.Trials = append(rep.Trials, *t)
		say(cfg.Progress, "trial %d: %s  %s → %s  election %d ms, first ack %d ms, gap %d ms, acked %d, lost %d  %s\n",
			n, verdictWord(t.Pass), t.Node, t.Leader, t.ElectionMs, t.FirstAckMs, t.GapMs, t.Acked, t.Lost, t.Reason)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, auditTime, fmt.Errorf("the audit of the stock clients was not done within %s", auditTime))
	defer cancel()
	for _, c := range stock {
		a, err := c.audit(ctx, client)
		if err != nil {
			return rep, err
		}
		rep.Clients = append(rep.Clients, a)
	}
	return rep, nil
}

// startStockClients starts the load programs, and returns those that it started
// even if it fails.
func startStockClients(ctx context.Context, cfg Config, client *admin.Client) ([]*stockClient, error) {
	var out []*stockClient
	run := newRun()
	for _, s := range cfg.Clients {
		topic := "drill-" + run + "-" + s.Name
		if err := createTopic(ctx, cfg.Cluster, client, topic, topicQueues); err != nil {
			return out, err
		}
		c, err := startStock(s, cfg.Cluster.Namesrv(), topic, run, client)
		if err != nil {
			return out, err
		}
		out = append(out, c)
	}
	for _, c := range out {
		if err := c.ready(ctx); err != nil {
			return out, err
		}
	}
	return out, nil
}

// newRun names what no other run's messages are named.
func newRun() string { return strconv.FormatInt(time.Now().UnixNano(), 36) }

func say(w io.Writer, format string, args ...any) {
	if w != nil {
		fmt.Fprintf(w, format, args...)
	}
}

func runTrial(ctx context.Context, cfg Config, f fault, client *admin.Client, stock []*stockClient, n int) (*Trial, error) {
	run := newRun()
	t := &trial{cfg: cfg, cluster: cfg.Cluster, local: cfg.Local, net: cfg.Net, client: client, stock: stock, began: time.Now(),
		run: run, topic: "drill-" + run, out: &Trial{Trial: n, Pass: true}}
	if err := createTopic(ctx, t.cluster, t.client, t.topic, topicQueues); err != nil {
		return nil, err
	}
	err := t.startLoad(ctx, f)
	if err != nil {
		return nil, err
	}
	say(cfg.Progress, "trial %d: %d acknowledged, now %s\n", n, t.load.acked.Load(), f.name)
	err = f.run(ctx, t)
	if err == nil {
		err = t.awaitStock(ctx)
	}
	t.commits.stop()
	t.ended = time.Now()
	history := t.load.stop(stopGrace)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if f.after != nil {
		if err := f.after(ctx, t); err != nil {
			return nil, err
		}
	}
	return t.out, t.audit(ctx, f, history)
}

// startLoad starts everything that sends and consumes, and returns when it runs.
func (t *trial) startLoad(ctx context.Context, f fault) error {
	t.load = newLoad(ctx, loadConfig{client: t.client, run: t.run, topic: t.topic, queues: topicQueues, size: bodySize})
	began := time.Now()
	t.load.start(t.cfg.Outstanding, "")
	t.commits = startCommits(ctx, t.client, local.BrokerName, "drill-"+t.run, t.topic, topicQueues)
	if err := t.load.ackAfter(ctx, began); err != nil {
		return err
	}
	if f.delayed {
		topic := t.topic + "-delayed"
		if err := createTopic(ctx, t.cluster, t.client, topic, 1); err != nil {
			return err
		}
		t.delayed = startDelayed(ctx, t.client, t.run, topic)
	}
	wait(ctx, settle)
	return ctx.Err()
}

// stockPatience is how long a stock client may take to be acknowledged again:
// it looks for the leader every 30 s.
const stockPatience = 60 * time.Second

// awaitStock waits until each stock client is acknowledged again. One that never
// is, is no trial that cannot be carried out but a broken promise.
func (t *trial) awaitStock(ctx context.Context) error {
	for _, c := range t.stock {
		patient, cancel := context.WithTimeout(ctx, stockPatience)
		err := c.ackAfter(patient, time.Now())
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			t.out.fail(fmt.Sprintf("the %s client was not acknowledged again within %s", c.name, stockPatience))
		}
	}
	if len(t.stock) > 0 {
		wait(ctx, settle)
	}
	return ctx.Err()
}

func createTopic(ctx context.Context, cluster Cluster, client *admin.Client, topic string, queues int32) error {
	ctx, cancel := context.WithTimeoutCause(ctx, recoverTimeout, errors.New("the topic of the drill did not appear"))
	defer cancel()
	for {
		// The last trial's fault may still cost a leader its place.
		leader, err := cluster.Leader(ctx, true)
		if err != nil {
			return err
		}
		if err = client.CreateTopic(ctx, leader.Addr, topic, queues); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	for {
		_, err := client.RouteData(ctx, topic)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// audit reads everything back and fills in the verdict.
func (t *trial) audit(ctx context.Context, f fault, h History) error {
	ctx, cancel := context.WithTimeoutCause(ctx, auditTime, fmt.Errorf("the audit was not done within %s", auditTime))
	defer cancel()
	queues, err := readBack(ctx, t.client, t.topic, local.BrokerName, topicQueues)
	if err != nil {
		return err
	}
	r := t.out
	r.Verdict = Check(t.run, h, queues)
	if !r.Verdict.Pass() {
		r.fail("the audit found what must not be")
	}
	r.GapMs = longestGap(h.Acks, t.fault).Milliseconds()
	r.FirstAckMs = firstAck(h.Acks, t.fault).Milliseconds()
	if len(r.Steps) == 0 && r.ElectionMs > r.FirstAckMs && r.TermAfter > r.TermBefore {
		// Who acknowledges leads: on a busy machine the question came late.
		r.ElectionMs = max(r.FirstAckMs, 1)
	}
	r.Errors, r.FirstError = t.load.failures()
	behind, age, err := t.commits.behind(ctx, t.fault)
	if err != nil {
		return err
	}
	r.OffsetsBehind, r.OffsetsBehindMs = behind, age.Milliseconds()
	t.countOldLeader(h)
	acks := map[string][]Ack{"eager": h.Acks}
	names := []string{"eager"}
	for _, c := range t.stock {
		seen, seenAcks := c.trial(t.began, t.fault, t.ended)
		r.Clients = append(r.Clients, seen)
		names, acks[c.name] = append(names, c.name), seenAcks
	}
	if t.delayed != nil {
		d := t.delayed.finish(ctx)
		r.Delayed = &d
		if !d.Pass() {
			r.fail("delayed messages: " + strings.Join(d.Examples, "; "))
		}
	}
	if r.Apart, err = t.apart(ctx); err != nil {
		return err
	}
	if len(r.Apart) > 0 {
		r.fail("members do not have the leader's log: " + strings.Join(r.Apart, ", "))
	}
	for _, check := range []func(*Trial) string{checkOffsets, f.check} {
		if check == nil {
			continue
		}
		if reason := check(r); reason != "" {
			r.fail(reason)
		}
	}
	if r.Died = t.cluster.Ended(); len(r.Died) > 0 {
		r.fail("ended by itself: " + strings.Join(r.Died, ", "))
	}
	if times := ackTimes(h.Acks); len(times) > 0 {
		r.Timeline = t.journal.timeline(times[0], names, acks)
	}
	return nil
}

// countOldLeader tells what a deposed leader acknowledged itself from what it
// sent on.
func (t *trial) countOldLeader(h History) {
	for _, a := range h.Acks {
		switch {
		case t.resumed.IsZero() || a.From != t.old.Addr || !a.At.After(t.resumed):
		case a.By == t.old.Addr:
			t.out.OldLeaderAcks++
		default:
			t.out.OldLeaderForwarded++
		}
	}
}
