package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// options are the flags that most commands share.
type options struct {
	namesrv string
	timeout time.Duration
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "mqadmin",
		Short:         "Look after CometMQ and RocketMQ brokers",
		Version:       version,
		SilenceUsage:  true, // an error says what to do; the usage would hide it
		SilenceErrors: true, // printed once, in run
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&o.namesrv, "namesrvAddr", "n", "", "name servers, separated by ; (else NAMESRV_ADDR, the local cluster, 127.0.0.1:9876)")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long one command may try")
	root.AddCommand(localCommand(o), drillCommand(), sendCommand(o), tailCommand(o), topicCommand(o))
	root.AddCommand(topicListCommand(o), updateTopicCommand(o), deleteTopicCommand(o), topicRouteCommand(o), topicStatusCommand(o))
	root.AddCommand(clusterListCommand(o), brokerStatusCommand(o), healthCommand(o), storeCommand())
	root.AddCommand(clusterCommand(o), newGroupCommand(o))
	return root
}

// defaultNamesrv is where a name server is that nobody has configured.
const defaultNamesrv = "127.0.0.1:9876"

// nameServers decides whom to ask.
func (o *options) nameServers() []string {
	if list := admin.ParseNameServers(o.namesrv); len(list) > 0 {
		return list
	}
	if list := admin.ParseNameServers(os.Getenv("NAMESRV_ADDR")); len(list) > 0 {
		return list
	}
	if c, err := local.Open(local.DefaultDir); err == nil {
		defer c.Close()
		if alive, _ := c.Running(); alive > 0 {
			return []string{c.Namesrv()}
		}
	}
	return []string{defaultNamesrv}
}

// connect returns a client and the command's context with its time limit.
func (o *options) connect(cmd *cobra.Command) (*admin.Client, context.Context, context.CancelFunc, error) {
	client, err := admin.New(admin.Config{NameServers: o.nameServers()})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), o.timeout, fmt.Errorf("not done within --timeout %s", o.timeout))
	return client, ctx, func() { cancel(); client.Close() }, nil
}
