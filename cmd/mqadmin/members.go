package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

const (
	// memberTimeout bounds one request about members; a step waits for members to
	// catch up and for a majority.
	memberTimeout = 12 * time.Second
	// memberPoll is the pause between two looks while waiting, memberReport
	// between two lines about it.
	memberPoll   = 200 * time.Millisecond
	memberReport = 2 * time.Second
)

// memberOptions are the flags of the commands about the members of a group.
type memberOptions struct {
	*options
	broker, name, output string
	wait                 time.Duration
}

// addMemberCommands adds the commands about members to those about groups.
func addMemberCommands(parent *cobra.Command, o *options) {
	parent.AddCommand(
		groupMembersCommand(o), groupAddCommand(o), groupPromoteCommand(o), groupRemoveCommand(o),
		groupTransferCommand(o), groupReplaceCommand(o),
	)
}

// flags adds what all of them have; waits says that the command may wait for a
// member to catch up.
func (m *memberOptions) flags(cmd *cobra.Command, waits bool) *cobra.Command {
	f := cmd.Flags()
	f.StringVarP(&m.broker, "brokerAddr", "b", "", "ask this member, by its address for clients; any one will do")
	f.StringVar(&m.name, "brokerName", "", "the group's broker name, if the name servers know several")
	if waits {
		f.DurationVar(&m.wait, "wait", 30*time.Minute, "how long a member may take to catch up")
	}
	outputFlag(cmd, &m.output)
	return cmd
}

// group is a connection to a replica group.
type group struct {
	client *admin.Client
	addrs  []string
}

// open finds the group.
func (m *memberOptions) open(ctx context.Context) (*group, error) {
	client, err := admin.New(admin.Config{NameServers: m.nameServers(), Timeout: memberTimeout})
	if err != nil {
		return nil, err
	}
	g := &group{client: client, addrs: []string{m.broker}}
	if m.broker == "" {
		if g.addrs, err = client.GroupAddrs(ctx, m.name); err != nil {
			client.Close()
			return nil, err
		}
	}
	return g, nil
}

// members asks the members of the group, one after the other until one answers.
func (g *group) members(ctx context.Context) (*protocol.GroupMembers, error) {
	var errs []error
	for _, addr := range g.addrs {
		list, err := g.client.GroupMembers(ctx, addr)
		if err == nil {
			return list, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// step takes one step. Another member is asked only when it is certain that
// nothing was done.
func (g *group) step(ctx context.Context, h protocol.ChangeMembersHeader) (*protocol.MemberStep, error) {
	var errs []error
	for _, addr := range g.addrs {
		s, err := g.client.ChangeMembers(ctx, addr, h)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		var status *admin.StatusError
		if !errors.As(err, &status) || status.Code != protocol.StatusServiceNotAvailable {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// run is the body of a command that makes steps.
func (m *memberOptions) run(cmd *cobra.Command, steps func(ctx context.Context, g *group, w *memberReporter) error) error {
	ctx := cmd.Context()
	if m.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, m.wait+memberTimeout, fmt.Errorf("not done within --wait %s; giving the same command again goes on from here", m.wait))
		defer cancel()
	}
	g, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer g.client.Close()
	w := &memberReporter{out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(), format: m.output}
	err = steps(ctx, g, w)
	return errors.Join(err, w.finish())
}

// memberReporter prints what was done: a line each, or all of it for programs.
type memberReporter struct {
	out, progress io.Writer
	format        string // of -o
	steps         []*protocol.MemberStep
	reported      time.Time
}

func (w *memberReporter) done(s *protocol.MemberStep) {
	w.steps = append(w.steps, s)
	if !isData(w.format) {
		fmt.Fprintln(w.out, s.Text)
	}
}

func (w *memberReporter) finish() error {
	if !isData(w.format) {
		return nil
	}
	if w.steps == nil {
		w.steps = []*protocol.MemberStep{}
	}
	return printData(w.out, w.format, map[string]any{"steps": w.steps})
}

func (w *memberReporter) waiting(m *protocol.GroupMember) {
	if time.Since(w.reported) < memberReport {
		return
	}
	w.reported = time.Now()
	fmt.Fprintf(w.progress, "%s: %s\n", m.ID, progressText(m))
}

// progressText says how far a member has come.
func progressText(m *protocol.GroupMember) string {
	switch m.State {
	case protocol.MemberOK:
		return "has everything"
	case protocol.MemberBehind, protocol.MemberReceiving:
		text := fmt.Sprintf("%s, %s of %s", m.State, bytesText(m.Bytes), bytesText(m.TotalBytes))
		if m.State == protocol.MemberBehind {
			text += fmt.Sprintf(", %d entries to go", m.Behind)
		}
		if m.Rate > 0 {
			text += fmt.Sprintf(", %s/s", bytesText(m.Rate))
		}
		if m.EtaMs >= 0 {
			text += fmt.Sprintf(", %s left", (time.Duration(m.EtaMs) * time.Millisecond).Round(100*time.Millisecond))
		}
		return text
	case protocol.MemberUnreachable:
		if m.ContactMs < 0 {
			return "unreachable"
		}
		return fmt.Sprintf("unreachable for %s", (time.Duration(m.ContactMs) * time.Millisecond).Round(100*time.Millisecond))
	default:
		return m.State
	}
}

func bytesText(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 10<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}

// caughtUp waits until a member has everything, or is a voter already.
func (g *group) caughtUp(ctx context.Context, id string, w *memberReporter) error {
	for {
		list, err := g.members(ctx)
		if err == nil {
			m := list.Member(id)
			switch {
			case m == nil && list.Leader != "":
				return fmt.Errorf("%s is no member of the group any more", id)
			case m == nil:
			case m.Voter, m.State == protocol.MemberOK:
				return nil
			default:
				w.waiting(m)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has not caught up: %w", id, context.Cause(ctx))
		case <-time.After(memberPoll):
		}
	}
}

// promote waits for a member and makes it a voter.
func (g *group) promote(ctx context.Context, id string, w *memberReporter) error {
	for {
		if err := g.caughtUp(ctx, id, w); err != nil {
			return err
		}
		list, err := g.members(ctx)
		if err == nil && list.Member(id) != nil && list.Member(id).Voter {
			w.done(&protocol.MemberStep{Step: protocol.StepPromote, ID: id, Leader: list.Leader, Term: list.Term, Text: id + " votes"})
			return nil // one that had lost its disk asks for that itself
		}
		s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepPromote, ID: id})
		if err == nil {
			w.done(s)
			return nil
		}
		// It fell behind again, or the leader changed: the look above decides.
		fmt.Fprintf(w.progress, "%s: not promoted yet: %v\n", id, err)
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(memberReport):
		}
	}
}

func groupMembersCommand(o *options) *cobra.Command {
	m := &memberOptions{options: o}
	cmd := &cobra.Command{
		Use: "members", Short: "List the members of a replica group and how far each has come", Args: cobra.NoArgs,
		Long: `List the members of a replica group, as the leader sees them, or, while there is
none, as the member sees them that was asked.

State is ok (it has all that is committed), behind (it is being sent entries),
receiving (it is being sent the whole log), unreachable, or unknown (only the
leader knows). A member that is behind has bytes, rate and time left.`,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		g, err := m.open(ctx)
		if err != nil {
			return err
		}
		defer g.client.Close()
		list, err := g.members(ctx)
		if err != nil {
			return err
		}
		if isData(m.output) {
			return printData(cmd.OutOrStdout(), m.output, list)
		}
		return printMembers(cmd.OutOrStdout(), list)
	}
	return m.flags(cmd, false)
}

func printMembers(w io.Writer, list *protocol.GroupMembers) error {
	leader := list.Leader
	if leader == "" {
		leader = "none"
	}
	if _, err := fmt.Fprintf(w, "%s: leader %s, term %d, %d entries committed; told by %s\n", list.BrokerName, leader, list.Term, list.CommitIndex, list.From); err != nil {
		return err
	}
	if list.Note != "" {
		if _, err := fmt.Fprintln(w, list.Note); err != nil {
			return err
		}
	}
	rows := [][]string{{"ID", "ROLE", "VOTES", "RAFT ADDRESS", "CLIENT ADDRESS", "STATE"}}
	for i := range list.Members {
		m := &list.Members[i]
		votes := "yes"
		if !m.Voter {
			votes = "no"
		}
		rows = append(rows, []string{m.ID, m.Role, votes, m.RaftAddr, orDash(m.Addr), progressText(m)})
	}
	return table(w, rows)
}

func groupAddCommand(o *options) *cobra.Command {
	m := &memberOptions{options: o}
	var promote bool
	cmd := &cobra.Command{
		Use: "add ID HOST:PORT", Short: "Let a member in: it receives the log and does not vote yet", Args: cobra.ExactArgs(2),
		Long: `Let a member in. HOST:PORT is the address of its Raft port. Its broker must run
already, with an empty store, the cluster and group of the others,
dLegerSelfId=ID, raftJoin=true, and dLegerPeers naming the group's members and
itself.

It receives the log first and does not vote; promote makes it a voter.
--promote waits until it has caught up and does that.`,
		Example: "  mqadmin group add n3 10.0.0.4:40911 --promote",
	}
	cmd.Flags().BoolVar(&promote, "promote", false, "wait until it has caught up, and make it a voter")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return m.run(cmd, func(ctx context.Context, g *group, w *memberReporter) error {
			list, err := g.members(ctx)
			if err != nil {
				return err
			}
			// With --promote, an addition that was interrupted goes on.
			if there := list.Member(args[0]); !promote || there == nil || there.RaftAddr != args[1] {
				s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepAdd, ID: args[0], Addr: args[1]})
				if err != nil {
					return err
				}
				w.done(s)
			}
			if !promote {
				return nil
			}
			return g.promote(ctx, args[0], w)
		})
	}
	return m.flags(cmd, true)
}

// oneStep is a command that takes one step.
func oneStep(o *options, step string, cmd *cobra.Command) *cobra.Command {
	m := &memberOptions{options: o}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		h := protocol.ChangeMembersHeader{Step: step}
		if len(args) > 0 {
			h.ID = args[0]
		}
		return m.run(cmd, func(ctx context.Context, g *group, w *memberReporter) error {
			s, err := g.step(ctx, h)
			if err != nil {
				return err
			}
			w.done(s)
			return nil
		})
	}
	return m.flags(cmd, false)
}

func groupPromoteCommand(o *options) *cobra.Command {
	return oneStep(o, protocol.StepPromote, &cobra.Command{
		Use: "promote ID", Short: "Make a member that has caught up a voter", Args: cobra.ExactArgs(1),
	})
}

func groupRemoveCommand(o *options) *cobra.Command {
	return oneStep(o, protocol.StepRemove, &cobra.Command{
		Use: "remove ID", Short: "Take a member out of the group", Args: cobra.ExactArgs(1),
		Long: `Take a member out of the group; a leader hands over first. Refused if the voters
that stay could not go on: a majority of them must answer and be up to date.

The removed broker leaves the name servers, still sends requests of its clients
on, and waits to be stopped.`,
	})
}

func groupTransferCommand(o *options) *cobra.Command {
	return oneStep(o, protocol.StepTransfer, &cobra.Command{
		Use: "transfer-leader [ID]", Short: "Make a member leader, or any other one than now", Args: cobra.MaximumNArgs(1),
		Long: "Make a member leader. Refused unless it is a voter that has everything. Requests\nwait meanwhile, about 25 ms, and none fails.",
	})
}

func groupReplaceCommand(o *options) *cobra.Command {
	m := &memberOptions{options: o}
	cmd := &cobra.Command{
		Use: "replace OLD [NEW] [HOST:PORT]", Short: "Put a member with an empty disk in the place of one whose disk is gone", Args: cobra.RangeArgs(1, 3),
		Long: `Put a member with an empty disk in the place of one whose disk is gone, and wait
until it votes.

  replace n1                  n1 has an empty store at the address it had
  replace n1 HOST:PORT        n1 has an empty store, and its Raft port is there
  replace n1 n3 HOST:PORT     n3 comes in, then n1 is removed

The broker of the new member must run already, with raftJoin=true if it has a new
id or address. Without this command, a member that comes back with an empty store
under its old id and address is taken off the voters and put back by its leader
alone. Given again, an interrupted command goes on.`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return m.run(cmd, func(ctx context.Context, g *group, w *memberReporter) error {
			switch len(args) {
			case 1:
				return g.replaceDisk(ctx, args[0], "", w)
			case 2:
				return g.replaceDisk(ctx, args[0], args[1], w)
			default:
				return g.replaceMember(ctx, args[0], args[1], args[2], w)
			}
		})
	}
	return m.flags(cmd, true)
}

// replaceDisk takes a member off the voters and puts it back when it has caught
// up.
func (g *group) replaceDisk(ctx context.Context, id, addr string, w *memberReporter) error {
	list, err := g.members(ctx)
	if err != nil {
		return err
	}
	there := list.Member(id)
	if there == nil {
		return fmt.Errorf("%s is no member of the group; see: mqadmin group members", id)
	}
	if there.Voter || addr != "" && there.RaftAddr != addr {
		s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepDemote, ID: id, Addr: addr})
		if err != nil {
			return err
		}
		w.done(s)
	}
	return g.promote(ctx, id, w)
}

// replaceMember lets one member in and then takes another one out: in this order
// the group never has fewer voters that work than before.
func (g *group) replaceMember(ctx context.Context, old, id, addr string, w *memberReporter) error {
	list, err := g.members(ctx)
	if err != nil {
		return err
	}
	switch there := list.Member(id); {
	case list.Member(old) == nil && (there == nil || !there.Voter):
		return fmt.Errorf("%s is no member of the group; see: mqadmin group members", old)
	case there == nil:
		s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepAdd, ID: id, Addr: addr})
		if err != nil {
			return err
		}
		w.done(s)
	case there.RaftAddr != addr:
		return fmt.Errorf("%s is a member already, at %s", id, there.RaftAddr)
	}
	if err := g.promote(ctx, id, w); err != nil {
		return err
	}
	if list.Member(old) == nil {
		return nil
	}
	s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepRemove, ID: old})
	if err != nil {
		return err
	}
	w.done(s)
	return nil
}
