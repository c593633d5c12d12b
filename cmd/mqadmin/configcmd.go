package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/deploy"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
)

// setting is one key as `config ls` and `config explain` print it.
type setting struct {
	Key     string `json:"key"`
	Server  string `json:"server"` // broker or namesrv
	Meaning string `json:"meaning,omitempty"`
	Allowed string `json:"allowed,omitempty"`
	Default string `json:"default"`
	Value   string `json:"value"`
	Source  string `json:"source"` // default, the environment, file:line, or the server that was asked
	Live    bool   `json:"live"`   // may be changed while the server runs
	Group   bool   `json:"group"`  // a change while running is the whole group's
	Env     string `json:"env,omitempty"`
	Aliases string `json:"alsoSpelt,omitempty"`
	// Inert is why a key of RocketMQ has no effect here.
	Inert string `json:"noEffect,omitempty"`
	// RocketMQ says whether RocketMQ has the key too.
	RocketMQ bool `json:"rocketmq"`
}

func (s setting) rowName() string { return s.Key }

// settings reads an example file, which has every key: comments, then key=value.
func settings(server, text string) []setting {
	var out []setting
	var comment []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch body, isComment := strings.CutPrefix(line, "#"); {
		case strings.HasPrefix(body, "- ") && isComment:
			key, reason, _ := strings.Cut(body[2:], ": ")
			out = append(out, setting{Key: key, Server: server, Inert: reason, RocketMQ: true})
		case isComment:
			comment = append(comment, strings.TrimPrefix(body, " "))
		case line == "":
			comment = nil
		default:
			key, value, _ := strings.Cut(line, "=")
			s := setting{Key: key, Server: server, Default: strings.ReplaceAll(value, `\\`, `\`), RocketMQ: !slices.Contains(ownKeys, key)}
			s.Value, s.Source = s.Default, "default"
			s.describe(comment)
			out, comment = append(out, s), nil
		}
	}
	return out
}

// describe takes a comment apart: what the key means, and the line of the
// generator about what is allowed.
func (s *setting) describe(comment []string) {
	for i, line := range comment {
		if !strings.HasPrefix(line, "Allowed: ") {
			continue
		}
		s.Meaning = strings.Join(comment[:i], "\n")
		for _, part := range strings.Split(strings.TrimSuffix(line, "."), ". ") {
			switch name, value, _ := strings.Cut(part, ": "); name {
			case "Allowed":
				s.Allowed = value
			case "Environment":
				s.Env = value
			case "Also spelt":
				s.Aliases = value
			case "Can be changed while running":
				s.Live = true
			case "Belongs to the whole group":
				s.Group = true
			}
		}
	}
}

// ownKeys are the settings that RocketMQ does not have, or not under this name.
var ownKeys = strings.Fields(`advertisedListeners clientExpiredTimeout consumerOffsetFlushInterval deduplicateEnable deduplicateEntriesMax
	deduplicateTopics deduplicateWindowMillis diskSpaceCleanForciblyRatio diskSpaceWarningLevelRatio diskWatchdogTimeout enableVipChannel
	forwardRequestsMax heldPullsMax internalNetworks leaderWaitTimeout raftElectionTimeout raftEntriesInFlight raftHeartbeatTimeout
	logDir logFileSizeMax logFilesMax logFormat logLevel metricsExporterDialect metricsSeriesMax pprofEnable raftInstallRate raftJoin raftLeaderLeaseTimeout serverMaxConnections serverMaxInFlightPerConnection shutdownDrainTime standInBrokers storeScrubRate`)

// allSettings are those of both servers.
func allSettings() []setting {
	return append(settings("broker", deploy.BrokerKeys), settings("namesrv", deploy.NamesrvKeys)...)
}

func configCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Settings of brokers and name servers: what they mean and where they were set"}
	cmd.AddCommand(configExplainCommand(o), configLsCommand(o), configResetCommand(o))
	return cmd
}

// configSource are the flags that say whose settings are meant.
type configSource struct {
	file, broker, namesrv string
	output                string
}

func (c *configSource) flags(cmd *cobra.Command, more ...string) {
	f := cmd.Flags()
	f.StringVarP(&c.file, "file", "f", "", "a broker.conf or namesrv.conf to look into")
	f.StringVarP(&c.broker, "brokerAddr", "b", "", "a running broker to ask")
	f.StringVar(&c.namesrv, "namesrv", "", "a running name server to ask")
	outputFlag(cmd, &c.output, more...)
}

// fill puts in what the environment, the file or the server says.
func (c *configSource) fill(ctx context.Context, o *options, all []setting) ([]string, error) {
	if c.broker != "" || c.namesrv != "" {
		return nil, c.ask(ctx, o, all)
	}
	given := map[string]place{}
	if c.file != "" {
		text, err := os.ReadFile(c.file)
		if err != nil {
			return nil, fmt.Errorf("read settings: %w", err)
		}
		if given, err = places(string(text), c.file); err != nil {
			return nil, err
		}
	}
	known := map[string]bool{}
	for i := range all {
		s := &all[i]
		for _, name := range append(strings.Split(s.Aliases, ","), s.Key) {
			name = strings.TrimSpace(name)
			known[name] = true
			if at, ok := given[name]; ok {
				s.Value, s.Source = at.value, at.where
			}
		}
		if v := os.Getenv(s.Env); s.Env != "" && v != "" {
			s.Value, s.Source = v, "environment, "+s.Env
		}
	}
	var warnings []string
	for key, at := range given {
		if !known[key] {
			warnings = append(warnings, at.where+": "+explain.UnknownKey(key, similarKeys(key, all)).Error())
		}
	}
	slices.Sort(warnings)
	return warnings, nil
}

func similarKeys(key string, all []setting) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Key
	}
	return explain.Similar(key, names)
}

// place is where a file sets a key.
type place struct{ value, where string }

// places finds the line of each key; the last one wins, as when the file is read.
func places(text, file string) (map[string]place, error) {
	values, err := config.ParseText([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string]place{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		key := strings.TrimLeft(line, " \t\f")
		if i := strings.IndexAny(key, "=: \t\r\n"); i >= 0 {
			key = key[:i]
		}
		if v, ok := values[key]; ok {
			out[key] = place{v, fmt.Sprintf("%s:%d", file, n)}
		}
	}
	return out, nil
}

// ask reads the values in force from a running server.
func (c *configSource) ask(ctx context.Context, o *options, all []setting) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	defer client.Close()
	server, addr, read := "broker", c.broker, client.BrokerSettings
	if c.broker == "" {
		server, addr, read = "namesrv", c.namesrv, client.NamesrvSettings
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	values, err := read(ctx, addr)
	if err != nil {
		return err
	}
	var group []string
	if c.broker != "" {
		if group, err = client.GroupSettings(ctx, addr); err != nil {
			return err
		}
	}
	for i := range all {
		if v, ok := values[all[i].Key]; ok && all[i].Server == server {
			all[i].Value, all[i].Source = v, addr
			if v == all[i].Default {
				all[i].Source += ", as by default"
			}
			if slices.Contains(group, all[i].Key) {
				all[i].Source = "the group, asked at " + addr
			}
		}
	}
	return nil
}

func completeKeys(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var keys []string
	for _, s := range allSettings() {
		keys = append(keys, s.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys), cobra.ShellCompDirectiveNoFileComp
}

func configExplainCommand(o *options) *cobra.Command {
	var c configSource
	cmd := &cobra.Command{
		Use: "explain KEY", Short: "Say what a setting means, what it is and where that was said", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all := allSettings()
		if _, err := c.fill(cmd.Context(), o, all); err != nil {
			return err
		}
		var found []setting
		for _, s := range all {
			if s.Key == args[0] || slices.Contains(strings.Split(strings.ReplaceAll(s.Aliases, " ", ""), ","), args[0]) {
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return explain.UnknownKey(args[0], similarKeys(args[0], all))
		}
		return printAs(cmd.OutOrStdout(), c.output, found, func(w io.Writer) error {
			var err error
			for i, s := range found {
				if i > 0 {
					_, err = fmt.Fprintln(w)
				}
				err = cmp.Or(err, s.print(w))
			}
			return err
		})
	}
	return cmd
}

func (s setting) print(w io.Writer) error {
	text := s.Key + " of " + map[string]string{"broker": "mqbroker", "namesrv": "mqnamesrv"}[s.Server] + "\n"
	if s.Meaning != "" {
		text += "  " + strings.ReplaceAll(s.Meaning, "\n", "\n  ") + "\n"
	}
	if s.Inert != "" {
		_, err := io.WriteString(w, text+"  A key of RocketMQ that is accepted and has no effect: "+s.Inert+".\n")
		return err
	}
	rows := [][]string{{"  value", quoted(s.Value), s.Source}, {"  default", quoted(s.Default), ""}, {"  allowed", s.Allowed, ""}}
	live := "no: set it in the file and restart"
	if s.Live {
		live = "yes: mqadmin updateBrokerConfig -b ADDR -k " + s.Key + " -v VALUE"
		if s.Server == "namesrv" {
			live = "yes: mqadmin updateNamesrvConfig -k " + s.Key + " -v VALUE"
		}
	}
	if s.Group {
		live += ", for the whole group"
	}
	rocketmq := "the same key"
	if !s.RocketMQ {
		rocketmq = "none; it is CometMQ's own"
	}
	rows = append(rows, []string{"  while running", live, ""}, []string{"  in RocketMQ", rocketmq, ""})
	if s.Env != "" {
		rows = append(rows, []string{"  environment", s.Env, ""})
	}
	if s.Aliases != "" {
		rows = append(rows, []string{"  also spelt", s.Aliases, ""})
	}
	for i := range rows {
		if rows[i][2] == "" {
			rows[i] = rows[i][:2]
		} else {
			rows[i] = []string{rows[i][0], rows[i][1] + "  (" + rows[i][2] + ")"}
		}
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return table(w, rows)
}

func quoted(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

func configLsCommand(o *options) *cobra.Command {
	var c configSource
	var changed bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List settings with their values and where these were said", Args: cobra.NoArgs,
	}
	c.flags(cmd, formatName)
	cmd.Flags().BoolVar(&changed, "changed", false, "only those that differ from the default")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if c.broker != "" && c.namesrv != "" || c.file != "" && c.broker+c.namesrv != "" {
			return errors.New("give one of --file, -b and --namesrv")
		}
		all := allSettings()
		warnings, err := c.fill(cmd.Context(), o, all)
		if err != nil {
			return err
		}
		rows := slices.DeleteFunc(all, func(s setting) bool {
			return s.Inert != "" || changed && s.Value == s.Default ||
				c.broker != "" && s.Server != "broker" || c.namesrv != "" && s.Server != "namesrv"
		})
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "mqadmin:", w)
		}
		return printRows(cmd.OutOrStdout(), c.output, rows, []string{"SERVER", "KEY", "VALUE", "SOURCE"}, func(s setting) []string {
			return []string{s.Server, s.Key, quoted(s.Value), s.Source}
		})
	}
	return cmd
}

func configResetCommand(o *options) *cobra.Command {
	var broker string
	cmd := &cobra.Command{
		Use: "reset KEY...", Short: "Take the group's value of settings back: each member goes by its own configuration again",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: completeGroupKeys,
	}
	cmd.Flags().StringVarP(&broker, "brokerAddr", "b", "", "any member of the group")
	_ = cmd.MarkFlagRequired("brokerAddr")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := o.client()
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		if err := client.ResetBrokerSettings(ctx, broker, args); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "reset %s\n", strings.Join(args, " "))
		return err
	}
	return cmd
}

func completeGroupKeys(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var keys []string
	for _, s := range allSettings() {
		if s.Group {
			keys = append(keys, s.Key)
		}
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}
