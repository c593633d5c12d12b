package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/local"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// localGroup opens a local cluster and the group in it.
func localGroup(ctx context.Context, dir, name string) (*local.Cluster, *group, error) {
	c, err := local.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	m := &memberOptions{options: &options{namesrv: c.Namesrv()}, name: name}
	g, err := m.open(ctx)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, g, nil
}

func localAddMemberCommand() *cobra.Command {
	var dir, name string
	var startOnly bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "add-member", Short: "Start one more broker and make it a member of the group", Args: cobra.NoArgs,
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&name, "group", local.BrokerName, "its broker name")
	cmd.Flags().BoolVar(&startOnly, "start-only", false, "only start it; add it with: mqadmin group add")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long that may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("not done within --wait %s", wait))
		defer cancel()
		c, g, err := localGroup(ctx, dir, name)
		if err != nil {
			return err
		}
		defer c.Close()
		defer g.client.Close()
		b, err := c.AddNode(ctx, name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s runs at %s, its Raft port is %s\n", b.ID, b.Addr, b.RaftAddr); err != nil || startOnly {
			return err
		}
		w := &memberReporter{out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr()}
		s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepAdd, ID: b.ID, Addr: b.RaftAddr})
		if err != nil {
			return err
		}
		w.done(s)
		return g.promote(ctx, b.ID, w)
	}
	return cmd
}

func localRemoveMemberCommand() *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{
		Use: "remove-member ID", Short: "Take a member out of the group, stop its broker and remove its data", Args: cobra.ExactArgs(1),
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&name, "group", local.BrokerName, "its broker name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
		defer cancel()
		c, g, err := localGroup(ctx, dir, name)
		if err != nil {
			return err
		}
		defer c.Close()
		defer g.client.Close()
		list, err := g.members(ctx)
		if err != nil {
			return err
		}
		if list.Member(args[0]) != nil {
			s, err := g.step(ctx, protocol.ChangeMembersHeader{Step: protocol.StepRemove, ID: args[0]})
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), s.Text); err != nil {
				return err
			}
		} else if list.Leader == "" {
			return errors.New("the group has no leader: nobody can be removed")
		}
		return c.DropNode(args[0])
	}
	return cmd
}
