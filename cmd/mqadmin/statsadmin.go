package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// statsCommands are RocketMQ's sub-commands that count and watch.
func statsCommands(o *options) []*cobra.Command {
	return []*cobra.Command{statsAllCommand(o), queryCqCommand(o), startMonitoringCommand(o)}
}

const statsColumns columns = "%-64.64v  %-64.64v %12v %11v %11v %14v %14v"

func statsAllCommand(o *options) *cobra.Command {
	var active bool
	var topic string
	cmd := rocketmq("statsAll", "Show what goes into topics and out to consumer groups")
	cmd.Flags().BoolVarP(&active, "activeTopic", "a", false, "only topics with traffic today")
	text(cmd, &topic, "topic", "t", "one topic")
	return o.run(cmd, lengthy, func(s *session) error {
		names, err := s.client.Topics(s.ctx)
		if err != nil {
			return err
		}
		if topic != "" && !slices.Contains(names, topic) {
			return fmt.Errorf("%w: %s is on no broker that the name server knows", admin.ErrNoTopic, topic)
		}
		s.row(statsColumns, "#Topic", "#Consumer Group", "#Accumulation", "#InTPS", "#OutTPS", "#InMsg24Hour", "#OutMsg24Hour")
		var failures []error
		for _, name := range names {
			if message.IsRetryTopic(name) || message.IsDLQTopic(name) || topic != "" && name != topic {
				continue
			}
			if err := topicStats(s, name, active); err != nil {
				failures = append(failures, fmt.Errorf("topic %s: %w", name, err))
			}
		}
		return errors.Join(failures...)
	})
}

// topicStats prints a topic's line for each group that consumes it.
func topicStats(s *session, topic string, active bool) error {
	data, err := s.client.RouteData(s.ctx, topic)
	if err != nil {
		return err
	}
	in, err := sumStats(s, data, admin.StatsTopicPut, topic)
	if err != nil {
		return err
	}
	_, groups, err := s.client.TopicConsumers(s.ctx, topic)
	if err != nil {
		return err
	}
	tps := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	if len(groups) == 0 && (!active || in.day > 0) {
		s.row(statsColumns, topic, "", 0, tps(in.tps), "", in.day, "NO_CONSUMER")
	}
	for _, group := range slices.Compact(groups) {
		out, err := sumStats(s, data, admin.StatsGroupGet, topic+"@"+group)
		if err != nil {
			return err
		}
		behind := int64(0)
		if stats, err := s.client.GroupStats(s.ctx, group, topic); err == nil { // a group may have no retry topic yet
			for _, at := range stats.Offsets {
				behind += at.BrokerOffset - at.ConsumerOffset
			}
		}
		if !active || in.day > 0 || out.day > 0 {
			s.row(statsColumns, topic, group, max(behind, 0), tps(in.tps), tps(out.tps), in.day, out.day)
		}
	}
	return nil
}

// traffic is what passed: each second of the last minute, and in a day.
type traffic struct {
	tps float64
	day int64
}

// sumStats adds up what the leaders of a topic have counted.
func sumStats(s *session, data *protocol.TopicRouteData, name, key string) (traffic, error) {
	sum, seen := traffic{}, map[string]bool{}
	for _, b := range data.BrokerDatas {
		addr := b.BrokerAddrs[protocol.MasterID]
		if addr == "" || seen[addr] {
			continue
		}
		seen[addr] = true
		counted, err := brokerTraffic(s, addr, name, key)
		if err != nil {
			return sum, err
		}
		sum.tps, sum.day = sum.tps+counted.tps, sum.day+counted.day
	}
	return sum, nil
}

// brokerTraffic is what one broker has counted; nothing is 0.
func brokerTraffic(s *session, addr, name, key string) (traffic, error) {
	data, err := s.client.Stats(s.ctx, addr, name, key)
	if admin.IsStatus(err, protocol.StatusSystemError) {
		return traffic{}, nil // it has counted nothing
	}
	if err != nil {
		return traffic{}, err
	}
	// The longer windows are empty until they have passed once.
	for _, sum := range []int64{data.Day.Sum, data.Hour.Sum, data.Minute.Sum} {
		if sum != 0 {
			return traffic{data.Minute.Tps, sum}, nil
		}
	}
	return traffic{tps: data.Minute.Tps}, nil
}

func queryCqCommand(o *options) *cobra.Command {
	var q queueFlags
	var index int64
	var group string
	count := int32(10)
	cmd := rocketmq("queryCq", "Show entries of a consume queue, and whether a group's subscription would match them")
	needText(cmd, &q.topic, "topic", "t", "topic")
	needQueue(cmd, &q.id, "queue", "q")
	cmd.Flags().Int64VarP(&index, "index", "i", 0, "first entry")
	must(cmd.MarkFlagRequired("index"))
	cmd.Flags().Int32VarP(&count, "count", "c", count, "how many entries")
	text(cmd, &q.broker, "broker", "b", "address of the broker; else the first of the topic")
	text(cmd, &group, "consumer", "g", "consumer group")
	return o.run(cmd, ordinary, func(s *session) error {
		addr := q.broker
		if addr == "" {
			route, err := s.client.Route(s.ctx, q.topic)
			if err != nil {
				return err
			}
			if len(route.Readable) == 0 {
				return fmt.Errorf("topic %s: %w", q.topic, admin.ErrNoLeader)
			}
			if addr, err = route.Any(route.Readable[0].Broker); err != nil {
				return err
			}
		}
		r, err := s.client.ConsumeQueue(s.ctx, addr, q.topic, q.id, index, count, group)
		if err != nil {
			return err
		}
		const rule = "======================================\n"
		if r.Subscription != nil {
			s.printf("Subscription data: \n%s\n"+rule, prettyJSON(protocol.Encode(r.Subscription)))
		}
		if r.FilterData != "" {
			s.printf("Filter data: \n%s\n"+rule, r.FilterData)
		}
		s.printf("Queue data: \nmax: %d, min: %d\n"+rule, r.MaxQueueIndex, r.MinQueueIndex)
		orNull := func(text string) string {
			if text == "" {
				text = "null"
			}
			return "'" + text + "'" // Java quotes what is not there, too
		}
		for i, e := range r.QueueData {
			s.printf("idx: %d\nConsumeQueueData{physicOffset=%d, physicSize=%d, tagsCode=%d, extendDataJson=%s, bitMap=%s, eval=%t, msg=%s}\n"+rule,
				index+int64(i), e.PhysicOffset, e.PhysicSize, e.TagsCode, orNull(e.ExtendData), orNull(e.BitMap), e.Eval, orNull(e.Msg))
		}
		return nil
	})
}

func startMonitoringCommand(o *options) *cobra.Command {
	var once bool
	every := time.Minute
	cmd := rocketmq("startMonitoring", "Report again and again which groups are behind, and which members are stuck")
	cmd.Flags().DurationVar(&every, "interval", every, "time between rounds")
	cmd.Flags().BoolVar(&once, "once", false, "one round only")
	return o.run(cmd, forever, func(s *session) error {
		for {
			if err := monitorRound(s); err != nil && once {
				return err
			} else if err != nil {
				s.warn("%v", err) // the next round may do better
			}
			if once {
				return nil
			}
			if err := s.pause(every); err != nil {
				return err
			}
		}
	})
}

// monitorRound reports on all groups. RocketMQ writes these lines to a log file
// of its client; here they go to standard output.
func monitorRound(s *session) error {
	const prefix, notify = "[MONITOR] ", "[MONITOR]  [NOTIFY] "
	s.print(prefix + "=========================================beginRound\n")
	names, err := s.client.Topics(s.ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, name := range names {
		group, ok := strings.CutPrefix(name, message.RetryPrefix)
		if !ok {
			continue
		}
		members, err := s.client.OnlineMembers(s.ctx, group)
		if err != nil {
			continue // nobody consumes
		}
		undone, err := undoneMessages(s.ctx, s.client, group)
		if err != nil {
			return err
		}
		for _, topic := range sorted(undone) {
			u := undone[topic]
			s.printf(prefix+"reportUndoneMsgs: UndoneMsgs [consumerGroup=%s, topic=%s, undoneMsgsTotal=%d, undoneMsgsSingleMQ=%d, undoneMsgsDelayTimeMills=%d]\n",
				group, topic, u.total, u.queueMax, u.delay)
		}
		infos := map[string]*protocol.ConsumerRunningInfo{}
		for _, m := range members.Connections {
			if info, err := s.client.RunningInfo(s.ctx, group, m.ClientID, false); err == nil {
				infos[m.ClientID] = info
			}
		}
		if len(infos) == 0 {
			continue
		}
		if !sameSubscriptions(infos, now) {
			s.printf(notify+"reportConsumerRunningInfo: ConsumerGroup: %s, Subscription different\n", group)
		}
		for _, id := range sorted(infos) {
			if stuck := stuckQueues(id, infos[id], now); stuck != "" {
				s.printf(notify+"reportConsumerRunningInfo: ConsumerGroup: %s, ClientId: %s, %s", group, id, stuck)
			}
		}
	}
	s.print(prefix + "=========================================endRound\n")
	return nil
}

// undone is what a group has left to do in a topic.
type undone struct {
	total, queueMax int64
	delay           int64 // ms between the newest message and the last that was consumed
}

func undoneMessages(ctx context.Context, client *admin.Client, group string) (map[string]undone, error) {
	stats, err := client.GroupStats(ctx, group, "")
	if err != nil {
		return nil, err
	}
	byTopic := map[string]undone{}
	for q, at := range stats.Offsets {
		u := byTopic[q.Topic]
		diff := at.Lag()
		u.total += diff
		u.queueMax = max(u.queueMax, diff)
		if at.LastTimestamp > 0 && diff > 0 {
			route, err := client.Route(ctx, q.Topic)
			if err != nil {
				return nil, err
			}
			addr, err := route.Any(q.BrokerName)
			if err != nil {
				return nil, err
			}
			p, err := client.Pull(ctx, addr, "", q.Topic, q.QueueID, at.BrokerOffset-1, 1, protocol.SubscribeAll)
			if err != nil {
				return nil, err
			}
			if len(p.Messages) > 0 {
				u.delay = max(u.delay, p.Messages[0].StoreTimestamp()-at.LastTimestamp)
			}
		}
		byTopic[q.Topic] = u
	}
	return byTopic, nil
}
