package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// A group of brokers is taken out in steps, each of which is kept by its members'
// settings, so that a command that was interrupted goes on where it was:
//
//	serving   brokerPermission has the write bit
//	leaving   brokerPermission=4: routes send producers elsewhere, but who has an
//	          older route may still send, so that nobody sees an error
//	closed    startAcceptSendRequestTimeStamp is in the far future: no send is taken
//	drained   closed, and everything is consumed
const (
	stateServing = "serving"
	stateLeaving = "leaving"
	stateClosed  = "closed"
	stateDrained = "drained"
)

const (
	keyPermission = "brokerPermission"
	keyAccept     = "startAcceptSendRequestTimeStamp"
	// acceptNever is a time that does not come: the end of the year 9999, in ms.
	acceptNever = "253402300799000"

	drainPoll = time.Second
)

// errNotDrained says that a broker still holds something; what it is has been
// printed.
var errNotDrained = fmt.Errorf("not drained yet: %w", errUnhealthy)

func clusterCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "Look at brokers and their groups, add groups and take them out"}
	cmd.AddCommand(clusterLsCommand(o), clusterDescribeCommand(o), clusterTopCommand(o), clusterDrainCommand(o), clusterSpreadCommand(o))
	return cmd
}

// drainOptions are the flags of cluster drain.
type drainOptions struct {
	discard []string
	ordered bool
	undo    bool
	wait    bool
	within  time.Duration
	quiet   time.Duration
	output  string
}

func clusterDrainCommand(o *options) *cobra.Command {
	var d drainOptions
	cmd := &cobra.Command{
		Use:   "drain BROKERNAME",
		Short: "Take a broker group out of service without losing a message",
		Long: `Take a broker group out of service without losing a message.

Its write permission is taken away, which moves producers to the other groups as
they look up routes (every 30 s). When nothing has been stored for --quiet and
every group has consumed everything, the members stop to take sends at all, and
once more everything must be consumed. Then the group is drained: its processes
can be stopped and their data removed.

Without --wait it starts this, says what is left and ends with 10; repeat it to go
on. With --wait it ends with 0 when the group is drained. --undo puts it back.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.BoolVar(&d.wait, "wait", false, "stay until it is drained, and show progress")
	f.DurationVar(&d.within, "within", time.Hour, "with --wait: how long to stay")
	f.DurationVar(&d.quiet, "quiet", 35*time.Second, "how long nothing must have been stored; clients look routes up every 30 s")
	f.StringSliceVar(&d.discard, "discard", nil, "topics whose messages may be lost with the group (dead letters, or what nobody reads)")
	f.BoolVar(&d.ordered, "ordered", false, "drain it although it has topics with order=true, whose keys move to other queues")
	f.BoolVar(&d.undo, "undo", false, "put the group back into service")
	outputFlag(cmd, &d.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		// Each step has its own time limit; all of it has --within.
		client, err := admin.New(admin.Config{NameServers: o.nameServers()})
		if err != nil {
			return err
		}
		defer client.Close()
		limit := o.timeout
		if d.wait {
			limit = d.within
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), limit, fmt.Errorf("not done within %s", limit))
		defer cancel()
		return newDrainer(client, args[0], d, cmd.ErrOrStderr()).command(ctx, cmd.OutOrStdout())
	}
	return cmd
}

// drainer takes one group out.
type drainer struct {
	drainOptions
	client   *admin.Client
	broker   string
	progress io.Writer

	// What the name servers say, renewed by find.
	cluster string
	leader  string
	members []string // addresses of all registered members, the leader last
	others  []string // leaders of the cluster's other groups

	// When Written last changed, as far as we saw.
	written int64
	since   time.Time
	said    string // the last line of progress
}

func newDrainer(client *admin.Client, broker string, d drainOptions, progress io.Writer) *drainer {
	return &drainer{drainOptions: d, client: client, broker: broker, progress: progress, written: -1}
}

// drainReport is the result as -o json prints it.
type drainReport struct {
	Broker string     `json:"broker"`
	State  string     `json:"state"`
	Left   []leftover `json:"left"`
}

// leftover is why a broker is not empty.
type leftover struct {
	Topic    string `json:"topic,omitempty"`
	Group    string `json:"group,omitempty"`
	Messages int64  `json:"messages"`
	Why      string `json:"why"`
}

func (l leftover) String() string {
	where := l.Topic
	if l.Group != "" {
		where = l.Group + " in " + l.Topic
	}
	if where != "" {
		where += ": "
	}
	return fmt.Sprintf("%s%d %s", where, l.Messages, l.Why)
}

func (d *drainer) command(ctx context.Context, out io.Writer) error {
	if err := d.find(ctx); err != nil {
		return err
	}
	if d.undo {
		if err := d.set(ctx, map[string]string{keyAccept: "0", keyPermission: "6"}); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s is in service again: %d members take messages\n", d.broker, len(d.members))
		return err
	}
	rep, err := d.run(ctx)
	if rep == nil {
		return err
	}
	if perr := d.print(out, rep); perr != nil {
		return errors.Join(err, perr)
	}
	if err == nil && rep.State != stateDrained {
		err = errNotDrained
	}
	return err
}

func (d *drainer) print(out io.Writer, rep *drainReport) error {
	if d.output != formatTable {
		return printAs(out, d.output, rep, nil)
	}
	text := fmt.Sprintf("%s is %s\n", d.broker, rep.State)
	for _, l := range rep.Left {
		text += "  " + l.String() + "\n"
	}
	if rep.State == stateDrained {
		text += fmt.Sprintf("stop its members (%s), then remove their data; in a local cluster: mqadmin local remove-group %s\n", strings.Join(d.members, ", "), d.broker)
	} else {
		text += fmt.Sprintf("go on with: mqadmin cluster drain %s --wait; back into service with --undo\n", d.broker)
	}
	_, err := io.WriteString(out, text)
	return err
}

// run goes from step to step, as far as it can get without waiting, or to the
// end. A report comes with the error once draining has begun.
func (d *drainer) run(ctx context.Context) (*drainReport, error) {
	state, err := d.state(ctx)
	if err != nil {
		return nil, err
	}
	if state == stateServing {
		if err := d.refusals(ctx); err != nil {
			return nil, err
		}
		if err := d.set(ctx, map[string]string{keyPermission: "4"}); err != nil {
			return nil, err
		}
		state = stateLeaving
	}
	d.since = time.Now()
	var rep *drainReport
	for {
		next, err := d.step(ctx, state)
		if err == nil {
			rep, state = next, next.State
			d.say(rep)
			if state == stateDrained || !d.wait {
				return rep, nil
			}
		} else if !d.wait {
			return rep, err
		} else {
			// An election, or a name server that restarts: it goes on afterwards.
			d.sayLine(err.Error())
		}
		select {
		case <-ctx.Done():
			if rep == nil {
				rep = &drainReport{Broker: d.broker, State: state}
			}
			return rep, fmt.Errorf("%w; %s stays %s", context.Cause(ctx), d.broker, state)
		case <-time.After(drainPoll):
		}
	}
}

// step looks once, and goes on to the next state if it may.
func (d *drainer) step(ctx context.Context, state string) (*drainReport, error) {
	if err := d.find(ctx); err != nil {
		return nil, err
	}
	left, err := d.left(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case len(left) > 0:
	case state == stateLeaving && time.Since(d.since) >= d.quiet:
		if err := d.set(ctx, map[string]string{keyAccept: acceptNever}); err != nil {
			return nil, err
		}
		return d.step(ctx, stateClosed)
	case state == stateClosed:
		state = stateDrained
	}
	return &drainReport{Broker: d.broker, State: state, Left: left}, nil
}

// left asks what the group still has, and notes whether something was stored.
func (d *drainer) left(ctx context.Context) ([]leftover, error) {
	h, err := d.client.Holdings(ctx, d.leader, d.others)
	if err != nil {
		return nil, err
	}
	if h.Written != d.written {
		d.written, d.since = h.Written, time.Now()
	}
	return leftovers(h, d.discard), nil
}

// leftovers says why a broker is not empty; nothing if it is.
func leftovers(h *admin.Holdings, discard []string) []leftover {
	left := []leftover{}
	for _, t := range h.Topics {
		if slices.Contains(discard, t.Topic) {
			continue
		}
		if len(t.Readers) == 0 {
			why := "messages that no group reads; read them, or give up on them with --discard " + t.Topic
			if message.IsDLQTopic(t.Topic) {
				why = "dead letters; send them again, or give up on them with --discard " + t.Topic
			}
			left = append(left, leftover{Topic: t.Topic, Messages: t.Messages, Why: why})
		}
		for _, r := range t.Readers {
			if r.Behind > 0 && !r.Broadcast {
				left = append(left, leftover{Topic: t.Topic, Group: r.Group, Messages: r.Behind, Why: "not consumed"})
			}
		}
	}
	for _, p := range []struct{ key, why string }{
		{admin.RuntimeKeyDelayed, "messages with a delay level"},
		{admin.RuntimeKeyTimers, "messages with a delivery time"},
		{admin.RuntimeKeyTransactions, "transactions without an end"},
	} {
		if n := h.Pending[p.key]; n > 0 {
			left = append(left, leftover{Messages: n, Why: p.why})
		}
	}
	return left
}

// find looks the group up again: leaders change.
func (d *drainer) find(ctx context.Context) error {
	info, err := d.client.Cluster(ctx)
	if err != nil {
		return err
	}
	d.cluster, d.leader, d.members, d.others = "", "", nil, nil
	for cluster, names := range info.ClusterAddrTable {
		if slices.Contains(names, d.broker) {
			d.cluster = cluster
		}
	}
	if d.cluster == "" {
		return fmt.Errorf("the name server knows no broker %q; it knows %s", d.broker, strings.Join(slices.Sorted(maps.Keys(info.BrokerAddrTable)), ", "))
	}
	addrs := info.BrokerAddrTable[d.broker].BrokerAddrs
	if d.leader = addrs[protocol.MasterID]; d.leader == "" {
		return fmt.Errorf("broker %s: %w", d.broker, admin.ErrNoLeader)
	}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(addrs))) {
		d.members = append(d.members, addrs[id])
	}
	for _, name := range slices.Sorted(slices.Values(info.ClusterAddrTable[d.cluster])) {
		if addr := info.BrokerAddrTable[name].BrokerAddrs[protocol.MasterID]; name != d.broker && addr != "" {
			d.others = append(d.others, addr)
		}
	}
	return nil
}

// state tells how far the leader is.
func (d *drainer) state(ctx context.Context) (string, error) {
	settings, err := d.client.BrokerSettings(ctx, d.leader)
	if err != nil {
		return "", err
	}
	return stateOf(settings)
}

func stateOf(settings map[string]string) (string, error) {
	perm, err := strconv.Atoi(settings[keyPermission])
	if err != nil {
		return "", fmt.Errorf("the broker tells no %s: %w", keyPermission, err)
	}
	accept, _ := strconv.ParseInt(settings[keyAccept], 10, 64) // not a number: RocketMQ's 0
	switch {
	case perm&int(protocol.PermWrite) != 0:
		return stateServing, nil
	case accept <= time.Now().UnixMilli():
		return stateLeaving, nil
	}
	return stateClosed, nil
}

// set changes settings of the group. It asks every member, the leader last: what
// the first has replicated changes nothing more at the others, and members of an
// earlier version have these settings each for itself.
func (d *drainer) set(ctx context.Context, values map[string]string) error {
	for _, addr := range d.members {
		if err := d.client.ChangeBrokerSettings(ctx, addr, values); err != nil {
			return fmt.Errorf("member %s of %s: %w; repeat the command when it answers", addr, d.broker, err)
		}
	}
	return nil
}

// say shows a changed report.
func (d *drainer) say(rep *drainReport) {
	if !d.wait {
		return
	}
	parts := make([]string, 0, 4)
	for i, l := range rep.Left {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(rep.Left)-i))
			break
		}
		parts = append(parts, l.String())
	}
	line := rep.State
	switch {
	case len(parts) > 0:
		line += ": " + strings.Join(parts, "; ")
	case rep.State == stateLeaving:
		line += fmt.Sprintf(": everything is consumed, waiting until nothing was stored for %s", d.quiet)
	}
	d.sayLine(line)
}

func (d *drainer) sayLine(line string) {
	if line != d.said {
		d.said = line
		fmt.Fprintf(d.progress, "%s  %s  %s\n", time.Now().Format(time.TimeOnly), d.broker, line)
	}
}

// mustBeDrained returns an error unless a group's data can be removed.
func mustBeDrained(ctx context.Context, client *admin.Client, broker string, discard []string) error {
	d := newDrainer(client, broker, drainOptions{discard: discard}, io.Discard)
	remedy := fmt.Sprintf("; drain it first: mqadmin cluster drain %s --wait, or remove it with its messages: --force", broker)
	if err := d.find(ctx); err != nil {
		return fmt.Errorf("%w%s", err, remedy)
	}
	state, err := d.state(ctx)
	if err != nil {
		return err
	}
	if state != stateClosed {
		return fmt.Errorf("%s is %s%s", broker, state, remedy)
	}
	left, err := d.left(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s still has %s%s", broker, left[0], remedy)
	}
	return nil
}
