package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

func localAddGroupCommand() *cobra.Command {
	var dir string
	var settings map[string]string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "add-group",
		Short: "Start one more replica group in the running cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := local.Open(dir)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("nothing after --wait %s", wait))
			defer cancel()
			began := time.Now()
			name, err := c.AddGroup(ctx, settings)
			if err != nil {
				return err
			}
			if err := printCluster(cmd.OutOrStdout(), c, c.Status(ctx), time.Since(began)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "  %s has no queues of existing topics yet; give it some with: mqadmin cluster spread %s -n %s\n", name, name, c.Namesrv())
			return err
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringToStringVar(&settings, "set", nil, "a key of broker.conf for the new members")
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the leader")
	return cmd
}

func localRemoveGroupCommand(o *options) *cobra.Command {
	var dir string
	var force bool
	var discard []string
	cmd := &cobra.Command{
		Use:   "remove-group BROKERNAME",
		Short: "Stop a drained replica group and remove its data",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := local.Open(dir)
			if err != nil {
				return err
			}
			defer c.Close()
			if !force {
				client, err := admin.New(admin.Config{NameServers: []string{c.Namesrv()}})
				if err != nil {
					return err
				}
				defer client.Close()
				ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
				defer cancel()
				if err := mustBeDrained(ctx, client, args[0], discard); err != nil {
					return err
				}
			}
			members := c.MembersOf(args[0])
			if err := c.RemoveGroup(args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "stopped %d members of %s and removed their data\n", len(members), args[0])
			return err
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringSliceVar(&discard, "discard", nil, "topics whose messages may be lost, as for cluster drain")
	cmd.Flags().BoolVar(&force, "force", false, "even if it is not drained: its messages are lost")
	return cmd
}
