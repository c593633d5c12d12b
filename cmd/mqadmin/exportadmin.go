package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// exportCommands are RocketMQ's sub-commands that write JSON files about a
// cluster.
func exportCommands(o *options) []*cobra.Command {
	return []*cobra.Command{exportMetadataCommand(o), exportConfigsCommand(o), exportMetricsCommand(o)}
}

// exportDir is where RocketMQ's tools write to.
func exportDir() string { return filepath.Join(os.TempDir(), "rocketmq", "export") }

// export writes a file and says so.
func export(s *session, dir, name string, doc any) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := compactJSON(doc)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(prettyJSON(text)), 0o644); err != nil {
		return err
	}
	s.printf("export %s success\n", path)
	return nil
}

// raw is JSON that is written already.
type raw []byte

// MarshalJSON returns the text.
func (r raw) MarshalJSON() ([]byte, error) { return r, nil }

func exportMetadataCommand(o *options) *cobra.Command {
	var at scope
	var topics, groups, special bool
	dir := exportDir()
	cmd := rocketmq("exportMetadata", "Write topics and consumer groups to a file")
	at.flags(cmd)
	text(cmd, &dir, "filePath", "f", "folder for the file")
	f := cmd.Flags()
	f.BoolVarP(&topics, "topic", "t", false, "only topics")
	f.BoolVarP(&groups, "subscriptionGroup", "g", false, "only consumer groups")
	f.BoolVarP(&special, "specialTopic", "s", false, "retry and dead-letter topics too")
	return o.run(cmd, lengthy, func(s *session) error {
		if at.broker != "" {
			switch {
			case topics:
				table, err := exportedTopics(s, at.broker, special)
				if err != nil {
					return err
				}
				return export(s, dir, "topic.json", raw(protocol.Encode(table)))
			case groups:
				table, err := exportedGroups(s, at.broker)
				if err != nil {
					return err
				}
				return export(s, dir, "subscriptionGroup.json", raw(protocol.Encode(table)))
			}
			return errors.New("of one broker (-b) give -t for its topics or -g for its consumer groups")
		}
		return exportCluster(s, at, dir, topics, groups, special)
	})
}

// exportCluster writes what all leaders of a cluster have together: the queues
// of a topic that several have are added up.
func exportCluster(s *session, at scope, dir string, onlyTopics, onlyGroups, special bool) error {
	addrs, err := at.leaders(s)
	if err != nil {
		return err
	}
	topics, groups := map[string]*protocol.TopicConfig{}, map[string]*protocol.SubscriptionGroupConfig{}
	for _, addr := range addrs {
		t, err := exportedTopics(s, addr, special)
		if err != nil {
			return err
		}
		for name, cfg := range t.TopicConfigTable {
			if other := topics[name]; other != nil {
				cfg.ReadQueueNums += other.ReadQueueNums
				cfg.WriteQueueNums += other.WriteQueueNums
			}
			topics[name] = cfg
		}
		g, err := exportedGroups(s, addr)
		if err != nil {
			return err
		}
		for name, cfg := range g.SubscriptionGroupTable {
			if other := groups[name]; other != nil {
				cfg.RetryQueueNums += other.RetryQueueNums
			}
			groups[name] = cfg
		}
	}
	doc := map[string]any{"exportTime": time.Now().UnixMilli()}
	if !onlyGroups {
		table := map[string]raw{}
		for name, cfg := range topics {
			table[name] = protocol.Encode(cfg)
		}
		doc["topicConfigTable"] = table
	}
	if !onlyTopics {
		table := map[string]raw{}
		for name, cfg := range groups {
			table[name] = protocol.Encode(cfg)
		}
		doc["subscriptionGroupTable"] = table
	}
	name := "metadata.json"
	if onlyTopics {
		name = "topic.json"
	} else if onlyGroups {
		name = "subscriptionGroup.json"
	}
	return export(s, dir, name, doc)
}

// exportedTopics returns a broker's topics without those of the system.
func exportedTopics(s *session, addr string, special bool) (*protocol.TopicConfigSerializeWrapper, error) {
	table, system, err := s.client.BrokerTopics(s.ctx, addr)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(table.TopicConfigTable, func(name string, _ *protocol.TopicConfig) bool {
		return slices.Contains(system, name) || !special && (message.IsRetryTopic(name) || message.IsDLQTopic(name))
	})
	return table, nil
}

// systemGroups are groups of RocketMQ's own that are not exported.
var systemGroups = []string{
	"DEFAULT_CONSUMER", "DEFAULT_PRODUCER", "TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "__MONITOR_CONSUMER", "CLIENT_INNER_PRODUCER",
	"SELF_TEST_P_GROUP", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_ONSAPI_PULL",
}

// exportedGroups returns a broker's consumer groups without those of the system.
func exportedGroups(s *session, addr string) (*protocol.SubscriptionGroupWrapper, error) {
	table, err := s.client.BrokerGroups(s.ctx, addr)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(table.SubscriptionGroupTable, func(name string, _ *protocol.SubscriptionGroupConfig) bool {
		return strings.HasPrefix(name, "CID_RMQ_SYS_") || slices.Contains(systemGroups, name)
	})
	return table, nil
}

// exportedSettings are the settings of a broker that exportConfigs writes.
var exportedSettings = []string{
	"brokerClusterName", "brokerId", "brokerName", "brokerRole", "fileReservedTime", "filterServerNums", "flushDiskType", "maxMessageSize",
	"messageDelayLevel", "msgTraceTopicName", "slaveReadEnable", "traceOn", "traceTopicEnable", "useTLS", "autoCreateTopicEnable", "autoCreateSubscriptionGroup",
}

func exportConfigsCommand(o *options) *cobra.Command {
	var cluster string
	dir := exportDir()
	cmd := rocketmq("exportConfigs", "Write the size of a cluster and its brokers' main settings to a file")
	needText(cmd, &cluster, "clusterName", "c", "cluster")
	text(cmd, &dir, "filePath", "f", "folder for the file")
	return o.run(cmd, ordinary, func(s *session) error {
		brokers, err := s.client.Brokers(s.ctx, cluster)
		if err != nil {
			return err
		}
		configs := map[string]map[string]string{}
		leaders := 0
		for _, b := range brokers {
			if b.ID != protocol.MasterID {
				continue
			}
			leaders++
			settings, err := s.client.BrokerSettings(s.ctx, b.Addr)
			if err != nil {
				return err
			}
			maps.DeleteFunc(settings, func(key, _ string) bool { return !slices.Contains(exportedSettings, key) })
			configs[b.Name] = settings
		}
		return export(s, dir, "configs.json", map[string]any{
			"brokerConfigs": configs,
			"clusterScale":  map[string]int{"namesrvSize": len(s.client.NameServers()), "masterBrokerSize": leaders, "slaveBrokerSize": len(brokers) - leaders},
		})
	})
}

func exportMetricsCommand(o *options) *cobra.Command {
	var cluster string
	dir := exportDir()
	cmd := rocketmq("exportMetrics", "Write what the brokers of a cluster do and hold to a file")
	needText(cmd, &cluster, "clusterName", "c", "cluster")
	text(cmd, &dir, "filePath", "f", "folder for the file")
	return o.run(cmd, lengthy, func(s *session) error {
		brokers, err := s.client.Brokers(s.ctx, cluster)
		if err != nil {
			return err
		}
		report := map[string]any{}
		var total quota
		for _, b := range brokers {
			if b.ID != protocol.MasterID {
				continue
			}
			q, info, err := brokerMetrics(s, b.Addr)
			if err != nil {
				return err
			}
			total.add(q)
			report[b.Name] = info
		}
		return export(s, dir, "metrics.json", map[string]any{
			"evaluateReport": report,
			"totalData": map[string]any{
				"totalTps": map[string]javaFloat{"totalNormalInTps": total.in.tps, "totalNormalOutTps": total.out.tps,
					"totalTransInTps": total.trans.tps, "totalScheduleInTps": total.schedule.tps},
				"totalOneDayNum": total.days(),
			},
		})
	})
}

// javaFloat is a float that is written with a point, as Java does: 0.0.
type javaFloat float64

// MarshalJSON writes the number.
func (n javaFloat) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(n), 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

// kind is the traffic of one kind.
type kind struct {
	tps javaFloat
	day int64
}

// quota is the traffic of a broker or of a cluster, by kind.
type quota struct{ in, out, trans, schedule kind }

func (q *quota) add(o quota) {
	q.in.tps, q.in.day = q.in.tps+o.in.tps, q.in.day+o.in.day
	q.out.tps, q.out.day = q.out.tps+o.out.tps, q.out.day+o.out.day
	q.trans.tps, q.trans.day = q.trans.tps+o.trans.tps, q.trans.day+o.trans.day
	q.schedule.tps, q.schedule.day = q.schedule.tps+o.schedule.tps, q.schedule.day+o.schedule.day
}

func (q quota) days() map[string]int64 {
	return map[string]int64{"normalOneDayInNum": q.in.day, "normalOneDayOutNum": q.out.day,
		"transOneDayInNum": q.trans.day, "scheduleOneDayInNum": q.schedule.day}
}

// brokerMetrics asks one broker for all that exportMetrics writes of it.
func brokerMetrics(s *session, addr string) (quota, map[string]any, error) {
	var q quota
	fail := func(err error) (quota, map[string]any, error) { return q, nil, err }
	table, err := s.client.Runtime(s.ctx, addr)
	if err != nil {
		return fail(err)
	}
	settings, err := s.client.BrokerSettings(s.ctx, addr)
	if err != nil {
		return fail(err)
	}
	topics, err := exportedTopics(s, addr, false)
	if err != nil {
		return fail(err)
	}
	groups, err := exportedGroups(s, addr)
	if err != nil {
		return fail(err)
	}
	row := clusterRow{Runtime: table}
	for _, c := range []struct {
		tps, now, before string
		into             *kind
	}{
		{"putTps", "msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning", &q.in},
		{"getTransferedTps", "msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning", &q.out},
	} {
		tps, err := strconv.ParseFloat(firstNumber(table[c.tps]), 64)
		if err != nil {
			return fail(fmt.Errorf("%s does not report %s", addr, c.tps))
		}
		c.into.tps = javaFloat(tps)
		c.into.day, _ = strconv.ParseInt(row.difference(c.now, c.before), 10, 64)
	}
	for topic, into := range map[string]*kind{message.TopicTransHalf: &q.trans, message.TopicSchedule: &q.schedule} {
		counted, err := brokerTraffic(s, addr, admin.StatsTopicPut, topic)
		if err != nil {
			return fail(err)
		}
		into.tps, into.day = javaFloat(counted.tps), counted.day
	}
	env := map[string]string{}
	for key, value := range map[string]string{"cpuNum": settings["clientCallbackExecutorThreads"], "totalMemKBytes": table["totalMemKBytes"]} {
		if value != "" {
			env[key] = value
		}
	}
	return q, map[string]any{
		"runtimeEnv":     env,
		"runtimeVersion": map[string]any{"rocketmqVersion": "V4_9_4", "clientInfo": clientVersions(s, addr, groups)},
		"runtimeQuota": map[string]any{
			"diskRatio": map[string]string{"commitLogDiskRatio": table["commitLogDiskRatio"], "consumeQueueDiskRatio": table["consumeQueueDiskRatio"]},
			"tps": map[string]javaFloat{"normalInTps": q.in.tps, "normalOutTps": q.out.tps,
				"transInTps": q.trans.tps, "scheduleInTps": q.schedule.tps},
			"oneDayNum":          q.days(),
			"messageAverageSize": table["putMessageAverageSize"],
			"topicSize":          len(topics.TopicConfigTable),
			"groupSize":          len(groups.SubscriptionGroupTable),
		},
	}, nil
}

// clientVersions lists the kinds of clients that consume: JAVA%V4_9_4.
func clientVersions(s *session, addr string, groups *protocol.SubscriptionGroupWrapper) []string {
	kinds := map[string]bool{}
	for group := range groups.SubscriptionGroupTable {
		members, err := s.client.Consumers(s.ctx, addr, group)
		if err != nil {
			continue // as in RocketMQ, a group that cannot be asked has no clients
		}
		for _, m := range members.Connections {
			kinds[m.Language+"%"+protocol.VersionDesc(m.Version)] = true
		}
	}
	if len(kinds) == 0 {
		return []string{}
	}
	return sorted(kinds)
}
