package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func consumerStatusCommand(o *options) *cobra.Command {
	var group, client, broker string
	var jstack bool
	cmd := rocketmq("consumerStatus", "Ask the members of a consumer group what they are doing")
	needText(cmd, &group, "consumerGroup", "g", "consumer group")
	text(cmd, &client, "clientId", "i", "one member, printed; else all, in files")
	text(cmd, &broker, "brokerAddr", "b", "broker to ask for the members")
	cmd.Flags().BoolVarP(&jstack, "jstack", "s", false, "with stack traces")
	return o.run(cmd, lengthy, func(s *session) error {
		if client != "" {
			info, err := s.client.RunningInfo(s.ctx, group, client, jstack)
			if err != nil {
				return err
			}
			s.print(runningText(info))
			return nil
		}
		members, err := groupMembers(s, group, broker)
		if err != nil {
			return err
		}
		return reportMembers(s, group, members, jstack, time.Now())
	})
}

// reportMembers writes what each member says to a file of its own, and whether
// they fit together.
func reportMembers(s *session, group string, members *protocol.ConsumerConnection, jstack bool, now time.Time) error {
	const line columns = "%-10v %-40v %-20v %v"
	s.row(line, "#Index", "#ClientId", "#Version", "#ConsumerRunningInfoFile")
	infos := map[string]*protocol.ConsumerRunningInfo{}
	var failed error
	for _, m := range members.Connections {
		info, err := s.client.RunningInfo(s.ctx, group, m.ClientID, jstack)
		if err != nil {
			s.warn("%v", err)
			failed = fmt.Errorf("member %s did not answer", m.ClientID)
			continue
		}
		infos[m.ClientID] = info
		dir := strconv.FormatInt(now.UnixMilli(), 10)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// The id comes from the client and must not lead out of the folder.
		file := filepath.Join(dir, strings.Map(func(r rune) rune {
			if r == '/' || r == os.PathSeparator || r == 0 {
				return '_'
			}
			return r
		}, m.ClientID))
		if err := os.WriteFile(file, []byte(runningText(info)), 0o644); err != nil {
			return err
		}
		s.row(line, len(infos), m.ClientID, protocol.VersionDesc(m.Version), file)
	}
	if len(infos) == 0 {
		return failed
	}
	if !sameSubscriptions(infos, now) {
		s.print("\n\nWARN: Different subscription in the same group of consumer!!!\n")
		return failed
	}
	s.print("\n\nSame subscription in the same group of consumer\n\nRebalance OK\n")
	for _, id := range sorted(infos) {
		s.print(stuckQueues(id, infos[id], now))
	}
	return failed
}

func pushes(info *protocol.ConsumerRunningInfo) bool {
	return info.Properties[protocol.PropConsumeType] == protocol.ConsumePassively
}

// settled is how long a group may take after its start before different
// subscriptions are called a mistake: members are replaced one after the other.
const settled = 2 * time.Minute

// sameSubscriptions reports whether all members of a group want the same.
func sameSubscriptions(infos map[string]*protocol.ConsumerRunningInfo, now time.Time) bool {
	ids := sorted(infos)
	first := infos[ids[0]]
	started, _ := strconv.ParseInt(first.Properties[protocol.PropStartTimestamp], 10, 64)
	if !pushes(first) || now.Sub(time.UnixMilli(started)) <= settled {
		return true
	}
	want := subscriptions(first)
	for _, id := range ids {
		if !maps.Equal(want, subscriptions(infos[id])) {
			return false
		}
	}
	return len(want) > 0
}

// subscriptions are a member's topics with what it wants of them, whenever it
// said so.
func subscriptions(info *protocol.ConsumerRunningInfo) map[string]string {
	subs := map[string]string{}
	for _, sub := range info.Subscriptions {
		tags := slices.Clone(sub.TagsSet)
		slices.Sort(tags)
		subs[sub.Topic] = sub.ExpressionType + " " + sub.SubString + " " + strings.Join(tags, "|")
	}
	return subs
}

// stalled is how long a member may hold messages of a queue without processing
// any.
const stalled = time.Minute

// stuckQueues names the queues in which a member makes no progress.
func stuckQueues(id string, info *protocol.ConsumerRunningInfo, now time.Time) string {
	var out strings.Builder
	for _, q := range sortedQueues(info.Queues) {
		p := info.Queues[q]
		since := func(ms int64) int64 { return now.UnixMilli() - ms }
		switch {
		case !pushes(info):
		case info.Properties[protocol.PropConsumeOrderly] == "true" && !p.Locked:
			fmt.Fprintf(&out, "%s %s can't lock for a while, %dms\n", id, queueText(q), since(p.LastLockTimestamp))
		case info.Properties[protocol.PropConsumeOrderly] == "true":
			if p.Droped && p.TryUnlockTimes > 0 {
				fmt.Fprintf(&out, "%s %s unlock %d times, still failed\n", id, queueText(q), p.TryUnlockTimes)
			}
		case since(p.LastConsumeTimestamp) > stalled.Milliseconds() && p.CachedMsgCount > 0:
			fmt.Fprintf(&out, "%s %s can't consume for a while, maybe blocked, %dms\n", id, queueText(q), since(p.LastConsumeTimestamp))
		}
	}
	return out.String()
}

// runningText is what a member says of itself, for people.
func runningText(info *protocol.ConsumerRunningInfo) string {
	var out strings.Builder
	out.WriteString("#Consumer Properties#\n")
	for _, key := range sorted(info.Properties) {
		fmt.Fprintf(&out, "%-40s: %s\n", key, info.Properties[key])
	}
	out.WriteString("\n\n#Consumer Subscription#\n")
	for i, sub := range info.Subscriptions {
		fmt.Fprintf(&out, "%03d Topic: %-40s ClassFilter: %-8t SubExpression: %s\n", i+1, sub.Topic, sub.ClassFilterMode, sub.SubString)
	}
	out.WriteString("\n\n#Consumer Offset#\n")
	fmt.Fprintf(&out, "%-64s  %-32s  %-4s  %-20s\n", "#Topic", "#Broker Name", "#QID", "#Consumer Offset")
	for _, q := range sortedQueues(info.Queues) {
		fmt.Fprintf(&out, "%-32s  %-32s  %-4d  %-20d\n", q.Topic, q.BrokerName, q.QueueID, info.Queues[q].CommitOffset)
	}
	out.WriteString("\n\n#Consumer MQ Detail#\n")
	fmt.Fprintf(&out, "%-64s  %-32s  %-4s  %-20s\n", "#Topic", "#Broker Name", "#QID", "#ProcessQueueInfo")
	for _, q := range sortedQueues(info.Queues) {
		fmt.Fprintf(&out, "%-64s  %-32s  %-4d  %s\n", q.Topic, q.BrokerName, q.QueueID, processQueueText(info.Queues[q]))
	}
	out.WriteString("\n\n#Consumer RT&TPS#\n")
	fmt.Fprintf(&out, "%-64s  %14s %14s %14s %14s %18s %25s\n",
		"#Topic", "#Pull RT", "#Pull TPS", "#Consume RT", "#ConsumeOK TPS", "#ConsumeFailed TPS", "#ConsumeFailedMsgsInHour")
	for _, topic := range sorted(info.Status) {
		st := info.Status[topic]
		fmt.Fprintf(&out, "%-32s  %14.2f %14.2f %14.2f %14.2f %18.2f %25d\n",
			topic, st.PullRT, st.PullTPS, st.ConsumeRT, st.ConsumeOKTPS, st.ConsumeFailedTPS, st.ConsumeFailedMsgs)
	}
	if info.Jstack != "" {
		out.WriteString("\n\n#Consumer jstack#\n" + info.Jstack)
	}
	return out.String()
}

func processQueueText(p protocol.ProcessQueueInfo) string {
	return fmt.Sprintf("ProcessQueueInfo [commitOffset=%d, cachedMsgMinOffset=%d, cachedMsgMaxOffset=%d, cachedMsgCount=%d, cachedMsgSizeInMiB=%d, "+
		"transactionMsgMinOffset=%d, transactionMsgMaxOffset=%d, transactionMsgCount=%d, locked=%t, tryUnlockTimes=%d, "+
		"lastLockTimestamp=%s, droped=%t, lastPullTimestamp=%s, lastConsumeTimestamp=%s]",
		p.CommitOffset, p.CachedMsgMinOffset, p.CachedMsgMaxOffset, p.CachedMsgCount, p.CachedMsgSizeInMiB,
		p.TransactionMsgMinOffset, p.TransactionMsgMaxOffset, p.TransactionMsgCount, p.Locked, p.TryUnlockTimes,
		digitsText(p.LastLockTimestamp), p.Droped, digitsText(p.LastPullTimestamp), digitsText(p.LastConsumeTimestamp))
}

// digitsText is a time as digits: 20240131235959999.
func digitsText(ms int64) string {
	return strings.ReplaceAll(time.UnixMilli(ms).Format("20060102150405.000"), ".", "")
}
