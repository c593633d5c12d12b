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
	profile string
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
	flags.StringVarP(&o.namesrv, "namesrvAddr", "n", "", "name servers, separated by ; (else --profile, NAMESRV_ADDR, the profile in use, the local cluster, 127.0.0.1:9876)")
	flags.StringVar(&o.profile, "profile", "", "the profile to take name servers from, instead of the one in use")
	must(root.RegisterFlagCompletionFunc("profile", completeProfiles))
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long one command may try")
	root.AddCommand(localCommand(o), drillCommand(), sendCommand(o), tailCommand(o), topicCommand(o), msgCommand(o))
	root.AddCommand(configCommand(o), doctorCommand(o), profileCommand(o), cheatCommand(), versionCommand())
	root.AddCommand(clusterCommand(o), newGroupCommand(o))
	root.AddCommand(healthCommand(o), storeCommand(o))
	addRocketMQ(root, o)
	return root
}

// defaultNamesrv is where a name server is that nobody has configured.
const defaultNamesrv = "127.0.0.1:9876"

// source says whom to ask and where that was said.
type source struct {
	servers []string
	from    string
	profile string // "" when none is in force
	prod    bool
	err     error // a profile that was asked for and cannot be had
}

// nameServers decides whom to ask.
func (o *options) nameServers() []string { return o.source().servers }

// source decides whom to ask: what is typed, then the environment, then what is
// kept, then what runs here.
func (o *options) source() source {
	if list := admin.ParseNameServers(o.namesrv); len(list) > 0 {
		return source{servers: list, from: "-n"}
	}
	kept, err := readProfiles()
	if o.profile != "" {
		if err == nil {
			var p profile
			if p, err = kept.get(o.profile); err == nil {
				return source{servers: admin.ParseNameServers(p.Namesrv), from: "--profile " + o.profile, profile: o.profile, prod: p.Prod}
			}
		}
		return source{err: err}
	}
	if list := admin.ParseNameServers(os.Getenv("NAMESRV_ADDR")); len(list) > 0 {
		return source{servers: list, from: "NAMESRV_ADDR"}
	}
	if err != nil {
		return source{err: err}
	}
	if p, ok := kept.Profiles[kept.Current]; ok {
		return source{servers: admin.ParseNameServers(p.Namesrv), from: "profile " + kept.Current, profile: kept.Current, prod: p.Prod}
	}
	if c, err := local.Open(local.DefaultDir); err == nil {
		defer c.Close()
		if alive, _ := c.Running(); alive > 0 {
			return source{servers: []string{c.Namesrv()}, from: "the local cluster in ./" + local.DefaultDir}
		}
	}
	return source{servers: []string{defaultNamesrv}, from: "the default"}
}

// client returns a client of the cluster that is meant.
func (o *options) client() (*admin.Client, error) {
	s := o.source()
	if s.err != nil {
		return nil, s.err
	}
	return admin.New(admin.Config{NameServers: s.servers})
}

// connect returns a client and the command's context with its time limit.
func (o *options) connect(cmd *cobra.Command) (*admin.Client, context.Context, context.CancelFunc, error) {
	client, err := o.client()
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), o.timeout, fmt.Errorf("not done within --timeout %s", o.timeout))
	return client, ctx, func() { cancel(); client.Close() }, nil
}
