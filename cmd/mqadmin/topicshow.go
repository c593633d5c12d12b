package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// topicQueue is one queue of `topic describe`.
type topicQueue struct {
	Broker     string `json:"broker"`
	Queue      int32  `json:"queue"`
	MinOffset  int64  `json:"minOffset"`
	MaxOffset  int64  `json:"maxOffset"`
	LastUpdate int64  `json:"lastUpdate"` // unix ms, 0 for an empty queue
}

// topicOnBroker is a topic's configuration on one broker.
type topicOnBroker struct {
	Broker      string            `json:"broker"`
	ReadQueues  int32             `json:"readQueues"`
	WriteQueues int32             `json:"writeQueues"`
	Perm        string            `json:"perm"`
	Order       bool              `json:"order"`
	Attributes  map[string]string `json:"attributes,omitempty"`
}

// topicDescription is what `topic describe` prints.
type topicDescription struct {
	Topic    string          `json:"topic"`
	Cluster  string          `json:"cluster"`
	Messages int64           `json:"messages"` // that can be read
	Brokers  []topicOnBroker `json:"brokers"`
	Groups   []string        `json:"groups"`
	Queues   []topicQueue    `json:"queues"`
}

func topicDescribeCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "describe TOPIC", Short: "Show a topic: where it is, its settings, queues and consumer groups", Args: cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTopics,
	}
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		d, missing := describeTopic(ctx, client, args[0])
		if unanswered(missing) {
			return missing
		}
		err = printAs(cmd.OutOrStdout(), output, d, d.print)
		return cmp.Or(err, missing)
	}
	watchFlag(cmd)
	return cmd
}

// topicTargets returns one member of each broker that serves a topic.
func topicTargets(ctx context.Context, client *admin.Client, topic string) ([]target, *protocol.TopicRouteData, error) {
	route, err := client.RouteData(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	var targets []target
	for _, b := range route.BrokerDatas {
		ids := slices.Sorted(maps.Keys(b.BrokerAddrs))
		if len(ids) > 0 {
			targets = append(targets, target{b.Cluster, b.BrokerName, ids[0], b.BrokerAddrs[ids[0]]})
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.Broker, b.Broker) })
	return targets, route, nil
}

func describeTopic(ctx context.Context, client *admin.Client, topic string) (*topicDescription, error) {
	targets, route, err := topicTargets(ctx, client, topic)
	if err != nil {
		return nil, err
	}
	type answer struct {
		stats *protocol.TopicStatsTable
		cfg   *protocol.TopicConfig
	}
	answers, missing := askAll(ctx, targets, func(ctx context.Context, t target) (a answer, err error) {
		if a.cfg, err = client.TopicConfig(ctx, t.Addr, topic); admin.IsStatus(err, protocol.StatusRequestCodeNotSupported) {
			err = nil // a broker of RocketMQ 4; the route has most of it
		}
		if err == nil {
			a.stats, err = client.TopicStats(ctx, t.Addr, topic)
		}
		return a, err
	})
	if unanswered(missing) {
		return nil, missing
	}
	d := &topicDescription{Topic: topic, Groups: []string{}, Queues: []topicQueue{}}
	configs := map[string]*protocol.TopicConfig{}
	for _, a := range answers {
		for q, at := range a.stats.Offsets {
			d.Messages += at.MaxOffset - at.MinOffset
			d.Queues = append(d.Queues, topicQueue{q.BrokerName, q.QueueID, at.MinOffset, at.MaxOffset, at.LastUpdateTimestamp})
			if a.cfg != nil {
				configs[q.BrokerName] = a.cfg
			}
		}
	}
	for _, q := range route.QueueDatas {
		b := topicOnBroker{Broker: q.BrokerName, ReadQueues: q.ReadQueueNums, WriteQueues: q.WriteQueueNums, Perm: permText(q.Perm)}
		if cfg := configs[q.BrokerName]; cfg != nil {
			b.Order, b.Attributes = cfg.Order, cfg.Attributes
		}
		d.Brokers = append(d.Brokers, b)
	}
	slices.SortFunc(d.Brokers, func(a, b topicOnBroker) int { return strings.Compare(a.Broker, b.Broker) })
	slices.SortFunc(d.Queues, func(a, b topicQueue) int {
		return cmp.Or(strings.Compare(a.Broker, b.Broker), cmp.Compare(a.Queue, b.Queue))
	})
	cluster, groups, err := client.TopicConsumers(ctx, topic)
	if err != nil && missing == nil && !admin.IsStatus(err, protocol.StatusRequestCodeNotSupported) {
		return nil, err
	}
	d.Cluster, d.Groups = cluster, append(d.Groups, slices.Compact(groups)...)
	return d, missing
}

func (d *topicDescription) print(w io.Writer) error {
	groups := cmp.Or(strings.Join(d.Groups, ", "), "none")
	rows := [][]string{{"topic", d.Topic}, {"cluster", d.Cluster}, {"messages", strconv.FormatInt(d.Messages, 10)}, {"groups", groups}}
	for _, b := range d.Brokers {
		text := fmt.Sprintf("%s  %d read and %d write queues  %s", b.Broker, b.ReadQueues, b.WriteQueues, b.Perm)
		if b.Order {
			text += "  ordered"
		}
		for _, key := range slices.Sorted(maps.Keys(b.Attributes)) {
			text += "  " + key + "=" + b.Attributes[key]
		}
		rows = append(rows, []string{"broker", text})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	lines := [][]string{{"BROKER", "QUEUE", "MIN", "MAX", "LAST MESSAGE"}}
	for _, q := range d.Queues {
		lines = append(lines, []string{q.Broker, strconv.Itoa(int(q.Queue)), strconv.FormatInt(q.MinOffset, 10), strconv.FormatInt(q.MaxOffset, 10), orDash(timeText(q.LastUpdate))})
	}
	return table(w, lines)
}

// alterOptions are the flags of `topic alter`.
type alterOptions struct {
	queues, read, write int32
	perm                string
	attributes          []string
}

func topicAlterCommand(o *options) *cobra.Command {
	var a alterOptions
	cmd := &cobra.Command{
		Use: "alter TOPIC", Short: "Change a topic: queues, permission, attributes; what is not given stays", Args: cobra.ExactArgs(1),
		Long: `Change a topic on all brokers that have it; what is not given stays as it is.

Fewer queues take messages out of reach: lower --write-queues first, and
--read-queues when the other queues are consumed.`,
		ValidArgsFunction: o.completeTopics,
	}
	f := cmd.Flags()
	f.Int32VarP(&a.queues, "queues", "q", 0, "number of queues, to read and to write")
	f.Int32Var(&a.read, "read-queues", 0, "number of queues to read")
	f.Int32Var(&a.write, "write-queues", 0, "number of queues to write")
	f.StringVarP(&a.perm, "perm", "p", "", "rw, r (no new messages), w or none")
	f.StringSliceVarP(&a.attributes, "attribute", "a", nil, "key=value sets an attribute, key- removes it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.run(o, cmd, args[0]) }
	return cmd
}

func (a *alterOptions) run(o *options, cmd *cobra.Command, topic string) error {
	perm, changes, err := a.parse()
	if err != nil {
		return err
	}
	client, ctx, done, err := o.connect(cmd)
	if err != nil {
		return err
	}
	defer done()
	targets, route, err := topicTargets(ctx, client, topic)
	if err != nil {
		return err
	}
	for _, t := range targets {
		cfg, err := client.TopicConfig(ctx, t.Addr, topic)
		if admin.IsStatus(err, protocol.StatusRequestCodeNotSupported) {
			cfg, err = configOfRoute(route, t.Broker, topic), nil
		}
		if err != nil {
			return err
		}
		cfg.ReadQueueNums = cmp.Or(a.read, a.queues, cfg.ReadQueueNums)
		cfg.WriteQueueNums = cmp.Or(a.write, a.queues, cfg.WriteQueueNums)
		if perm >= 0 {
			cfg.Perm = perm
		}
		cfg.Attributes = changes
		if err := client.PutTopic(ctx, t.Addr, *cfg); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "topic %s on %s: %d read and %d write queues, %s\n", topic, t.Broker,
			cfg.ReadQueueNums, cfg.WriteQueueNums, permText(cfg.Perm)); err != nil {
			return err
		}
	}
	return nil
}

// parse checks the flags; perm is -1 when it shall stay.
func (a *alterOptions) parse() (perm int32, changes map[string]string, err error) {
	perms := map[string]int32{"": -1, "rw": 6, "wr": 6, "r": 4, "w": 2, "none": 0}
	perm, ok := perms[strings.ToLower(a.perm)]
	if !ok {
		return 0, nil, fmt.Errorf("--perm %s is not known: rw, r, w or none", a.perm)
	}
	if a.queues < 0 || a.read < 0 || a.write < 0 {
		return 0, nil, errors.New("a topic needs at least one queue")
	}
	changes = map[string]string{}
	for _, text := range a.attributes {
		key, value, set := strings.Cut(text, "=")
		switch {
		case set && key != "":
			changes["+"+key] = value
		case strings.HasSuffix(key, "-") && len(key) > 1:
			changes["-"+strings.TrimSuffix(key, "-")] = ""
		default:
			return 0, nil, fmt.Errorf("--attribute %s is not allowed: key=value, or key- to remove it", text)
		}
	}
	if perm < 0 && a.queues == 0 && a.read == 0 && a.write == 0 && len(changes) == 0 {
		return 0, nil, errors.New("nothing to change: give --queues, --read-queues, --write-queues, --perm or --attribute")
	}
	return perm, changes, nil
}

// configOfRoute makes a topic's configuration of what the name server knows.
func configOfRoute(route *protocol.TopicRouteData, broker, topic string) *protocol.TopicConfig {
	cfg := &protocol.TopicConfig{TopicName: topic}
	for _, q := range route.QueueDatas {
		if q.BrokerName == broker {
			cfg.ReadQueueNums, cfg.WriteQueueNums, cfg.Perm, cfg.TopicSysFlag = q.ReadQueueNums, q.WriteQueueNums, q.Perm, q.TopicSysFlag
		}
	}
	return cfg
}
