package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

func groupCreateCommand(o *options) *cobra.Command {
	var cluster string
	var retries int32
	var disabled bool
	cmd := &cobra.Command{
		Use: "create GROUP", Short: "Create a consumer group on all brokers, or change it", Args: cobra.ExactArgs(1),
		Long: `Create a consumer group on all brokers, or change it. It is needed only where
autoCreateSubscriptionGroup is false, or before the group's first consumer.`,
	}
	f := cmd.Flags()
	f.StringVarP(&cluster, "cluster", "c", "", "cluster whose brokers shall have it (default: all brokers)")
	f.Int32Var(&retries, "retries", 16, "how often a message is tried again before it becomes a dead letter")
	f.BoolVar(&disabled, "disable", false, "its members get no messages")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := message.ValidGroup(args[0]); err != nil {
			return err
		}
		if retries < 0 {
			return errors.New("--retries must be at least 0")
		}
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		targets, err := groupTargets(ctx, client, cluster)
		if err != nil {
			return err
		}
		g := protocol.NewSubscriptionGroupConfig(args[0])
		g.RetryMaxTimes, g.ConsumeEnable = retries, !disabled
		for _, t := range targets {
			if err := client.PutGroup(ctx, t.Addr, g); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "created group %s on %s\n", args[0], t.Broker); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
