//go:build java

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// adminLine is one command line of the Java mqadmin, and what it has to print: a regular expression for each thing, in
// any order. Words in ${} are filled in.
type adminLine struct {
	args string
	want []string
}

// adminLines are in the order in which they run. Left out of the 57 sub-commands of 4.9.4 are the five of ACL, which we
// do not have, queryMsgTraceById, which needs traced messages, and two that never end (clusterRT, startMonitoring).
var adminLines = []adminLine{
	{"clusterList", []string{`(?m)^DefaultCluster\s+${broker}\s+0\s+${addr}\s+V4_9_4\s+[\d.]+\(\d+,\d+ms\)\s+[\d.]+\(\d+,\d+ms\)\s+0\s+[\d.]+\s+0\.\d+`}},
	{"clusterList -m", []string{`(?m)^DefaultCluster\s+${broker}\s+0\s+0\s+\d+\s+\d+`}},
	{"brokerStatus -b ${addr}", []string{`(?m)^putMessageDistributeTime\s*: \[<=0ms\]`, `(?m)^commitLogDirCapacity\s*: Total : [\d.]+ GiB, Free : [\d.]+ GiB\.`, `(?m)^brokerVersionDesc\s*: V4_9_4`}},
	{"brokerStatus -c DefaultCluster", []string{`(?m)^${addr}\s+runtime\s*:`}},
	{"getBrokerConfig -b ${addr}", []string{`(?m)^brokerName\s*=\s*${broker}`, `(?m)^brokerId\s*=\s*0`, `(?m)^fileReservedTime\s*=\s*72`}},
	{"getBrokerConfig -c DefaultCluster", []string{`Master: ${addr}`, `(?m)^maxMessageSize\s*=\s*4194304`}},
	{"updateBrokerConfig -b ${addr} -k maxMessageSize -v 4194303", []string{`update broker config success, ${addr}`}},
	{"getBrokerConfig -b ${addr}", []string{`(?m)^maxMessageSize\s*=\s*4194303`}},
	{"getNamesrvConfig", []string{`============${namesrv}============`, `(?m)^listenPort\s*=`}},
	{"updateNamesrvConfig -k orderMessageEnable -v false", []string{`update name server config success!`}},

	{"updateTopic -c DefaultCluster -t ${topic}x -r 4 -w 4", []string{`create topic to ${addr} success\.`, `TopicConfig \[topicName=${topic}x, readQueueNums=4, writeQueueNums=4, perm=RW-`}},
	// Without an entry to change, -o prints an exception that the tool expects.
	{"updateOrderConf -t ${topic}y -m put -v ${broker}:1", []string{`update orderConf success`}},
	{"updateTopic -b ${addr} -t ${topic}y -r 2 -w 2 -p 6 -u true -s true -o true", []string{`create topic to ${addr} success\.`, `topicSysFlag=3, order=true`}},
	{"updateTopicPerm -c DefaultCluster -t ${topic}x -p 4", []string{`update topic perm from 6 to 4 in ${addr} success\.`}},
	{"updateTopicPerm -b ${addr} -t ${topic}x -p 6", []string{`update topic perm from 4 to 6 in ${addr} success\.`}},
	{"topicList", []string{`(?m)^${topic}$`, `(?m)^${topic}x$`, `(?m)^TBW102$`}},
	{"topicList -c", []string{`(?m)^DefaultCluster\s+${topic}\s+${group}`}},
	{"topicRoute -t ${topic}", []string{`"brokerName":"${broker}"`, `0:"${addr}"`}},
	{"topicRoute -l -t ${topic}", []string{`(?m)^DefaultCluster\s+${broker}`, `Total:\s+1\s+4\s+4`}},
	{"topicStatus -t ${topic}", []string{`(?m)^${broker}\s+${queue}\s+0\s+\d+\s+20\d\d-`}},
	{"topicClusterList -t ${topic}", []string{`(?m)^DefaultCluster`}},
	{"allocateMQ -t ${topic} -i 10.0.0.1,10.0.0.2", []string{`"10\.0\.0\.1":\[`, `"queueId":3`}},
	{"updateOrderConf -t ${topic}y -m get", []string{`orderConf=\[${broker}:2\]`}},
	{"updateOrderConf -t ${topic}y -m delete", []string{`delete orderConf success`}},
	{"updateKvConfig -s e2e -k ${topic} -v 1", []string{`create or update kv config to namespace success`}},
	{"deleteKvConfig -s e2e -k ${topic}", []string{`delete kv config from namespace success`}},

	{"sendMessage -t ${topic} -p fromTool -k toolKey -c tagB", []string{`(?m)^${broker}\s+\d\s+SEND_OK\s+[0-9A-F]{32}`}},
	{"sendMsgStatus -b ${broker} -c 2 -s 16", []string{`(?s)rt=\d+ms, SendResult=SendResult \[sendStatus=SEND_OK.*rt=`}},
	{"checkMsgSendRT -t ${topic} -a 3 -s 16", []string{`(?m)^${broker}\s+\d\s+true\s+\d+`, `Avg RT: `}},
	// Its consumer is static in the tool: a second run in one virtual machine would fail by itself.
	{"consumeMessage -t ${topic} -b ${broker} -i ${queue} -o 0 -c 1", []string{`(?m)^Consume ok`, `MSGID: [0-9A-Fa-f]{32}.*BODY: precious`}},
	{"printMsg -t ${topic} -d true", []string{`MSGID: .* BODY: hello`}},
	{"printMsgByQueue -t ${topic} -a ${broker} -i ${queue} -p true -d true -f true", []string{`BODY: precious`, `Tag: tagG\s+Count: 1`}},
	{"queryMsgById -i ${msgid}", []string{`(?m)^Topic:\s+${topic}$`, `(?m)^Tags:\s+\[tagG\]`, `(?m)^Queue Offset:\s+\d+`, `${group}.*CONSUMED|MessageTrack \[consumerGroup=${group}, trackType=CONSUMED`}},
	{"queryMsgById -i ${msgid} -g ${group} -d ${clientId}", []string{`consumeResult=CR_SUCCESS`}},
	{"queryMsgByKey -t ${topic} -k goKey", []string{`(?m)^[0-9A-Fa-f]{32}\s+${queue}\s+0`}},
	{"queryMsgByUniqueKey -t ${topic} -i ${uniq}", []string{`(?m)^Topic:\s+${topic}$`, `UNIQ_KEY=${uniq}`, `consumerGroup=${group}, trackType=CONSUMED`}},
	{"queryMsgByOffset -t ${topic} -b ${broker} -i ${queue} -o 0", []string{`(?m)^OffsetID:\s+[0-9A-F]{32}`}},
	{"queryCq -t ${topic} -q ${queue} -i 0 -c 5 -b ${addr} -g ${group}", []string{`(?s)idx: 0.*physicOffset`, `"subString":"\*"|subString`}},

	{"updateSubGroup -c DefaultCluster -g ${group}z -s true -m true -d true -q 1 -r 5", []string{`create subscription group to ${addr} success\.`, `groupName=${group}z`, `retryMaxTimes=5`}},
	{"getConsumerConfig -g ${group}z", []string{`DefaultCluster:${broker}`, `(?m)^retryMaxTimes\s*=\s*5`}},
	{"consumerProgress", []string{`(?m)^${group}\s+1\s+V4_9_4\s+PUSH\s+CLUSTERING\s+\d+\s+\d+`}},
	{"consumerProgress -g ${group}", []string{`(?m)^${topic}\s+${broker}\s+0\s+\d+\s+\d+\s+\d+`, `Consume TPS: [\d.]+`, `Diff Total: \d+`}},
	{"consumerProgress -g ${group} -s true", []string{`(?m)^${topic}\s+${broker}\s+0\s+\d+\s+\d+\s+\d+\.\d+\.\d+\.\d+`}},
	{"consumerStatus -g ${group}", []string{`(?m)^1\s+${clientId}\s+V4_9_4`, `Same subscription in the same group of consumer`, `Rebalance OK`}},
	{"consumerStatus -g ${group} -i ${clientId} -s", []string{`#Consumer Properties#`, `#Consumer Subscription#`, `#Consumer Offset#`, `#Consumer jstack#`}},
	{"consumerConnection -g ${gogroup}", []string{`(?m)^\S+\s+127\.0\.0\.1:\d+\s+GO\s+V4_5_2`}},
	{"consumerConnection -g ${group}", []string{`(?m)^${clientId}\s+127\.0\.0\.1:\d+\s+JAVA\s+V4_9_4`, `(?m)^${topic}\s+\*`, `(?m)^%RETRY%${group}\s+\*`, `ConsumeType: CONSUME_PASSIVELY`, `MessageModel: CLUSTERING`}},
	{"producerConnection -g ${group}_producer -t ${topic}", []string{`0001\s+\S+\s+127\.0\.0\.1:\d+\s+JAVA\s+V4_9_4`}},
	{"producer -b ${addr}", []string{`producer group \(${group}_producer\) instance : clientId=${clientId},remoteIP=/127\.0\.0\.1:\d+, language=JAVA, version=401`}},
	{"brokerConsumeStats -b ${addr}", []string{`(?m)^${topic}\s+${group}\s+${broker}\s+${queue}\s+\d+\s+\d+\s+\d+\s+20\d\d-`, `Diff Total: [1-9]\d*`}},
	{"statsAll", []string{`(?m)^${topic}\s+${group}\s+\d+\s+[\d.]+\s+[\d.]+\s+\d+\s+\d+`}},
	{"statsAll -a -t ${topic}", []string{`(?m)^${topic}\s+${group}`}},

	{"resetOffsetByTime -g ${group} -t ${topic} -s now -f true", []string{`rollback consumer offset by specified group\[${group}\], topic\[${topic}\], force\[true\]`, `(?m)^${broker}\s+0\s+\d+`}},
	{"resetOffsetByTime -g ${offline} -t ${topic} -s now -f true", []string{`(?m)^${broker}\s+${queue}\s+[1-9]\d*\s+0\s+[1-9]\d*\s+[1-9]\d*`}},
	{"skipAccumulatedMessage -g ${group} -t ${topic} -f true", []string{`(?m)^${broker}\s+0\s+\d+`}},
	{"cloneGroupOffset -s ${group} -d ${group}z -t ${topic} -o true", []string{`clone group offset success`}},

	{"cleanExpiredCQ -c DefaultCluster", []string{`success`}},
	{"cleanExpiredCQ -b ${addr}", []string{`success`}},
	{"deleteExpiredCommitLog -c DefaultCluster", []string{`success`}},
	{"cleanUnusedTopic -c DefaultCluster", []string{`success`}},
	{"exportMetadata -c DefaultCluster -f ${dir}", []string{`export ${dir}/metadata.json success`}},
	{"exportConfigs -c DefaultCluster -f ${dir}", []string{`export ${dir}/configs.json success`}},
	{"exportMetrics -c DefaultCluster -f ${dir}", []string{`export ${dir}/metrics.json success`}},
	{"wipeWritePerm -b ${broker}", []string{`wipe write perm of broker\[${broker}\] in name server\[${namesrv}\] OK, \d+`}},
	{"addWritePerm -b ${broker}", []string{`add write perm of broker\[${broker}\] in name server\[${namesrv}\] OK, \d+`}},
	{"deleteSubGroup -c DefaultCluster -g ${group}z -r true", []string{`delete subscription group \[${group}z\] from broker \[${addr}\] in cluster \[DefaultCluster\] success\.`}},
	{"deleteTopic -c DefaultCluster -t ${topic}x", []string{`delete topic \[${topic}x\] from cluster \[DefaultCluster\] success\.`, `delete topic \[${topic}x\] from NameServer success\.`}},
}

// trouble is what mqadmin prints when something went wrong: it ends with 0 all the same.
var trouble = regexp.MustCompile(`Exception|(?m)^\s+at [\w.$]+\(|CODE: \d+|not exist\.$|usage: mqadmin`)

// The Java mqadmin 4.9.4, unchanged, against our cluster.
func TestJavaMqadmin(t *testing.T) {
	c := ownCluster(t)
	topic, group := uniqueName("ja"), uniqueName("jg")
	gogroup, offline := group+"go", group+"off"
	c.createTopic(t, topic, 4)
	leader := c.leader(t)
	sent := sendSync(t, newProducer(t, c.namesrv), primitive.NewMessage(topic, []byte("precious")).WithTag("tagG").WithKeys([]string{"goKey"}))
	newConsumer(t, c.namesrv, gogroup, topic, consumer.MessageSelector{}, nil).waitFor(t, map[string]bool{"precious": true}, time.Minute)
	for q := range 4 {
		ask(t, leader.Addr, 15, "consumerGroup", offline, "topic", topic, "queueId", strconv.Itoa(q), "commitOffset", "0")
	}
	_, err := invoke(leader.Addr, 200, nil, []byte(`{"groupName":"`+offline+`"}`))
	require.NoError(t, err)

	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "conf"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "conf", "logback_tools.xml"), []byte(`<configuration><root level="OFF"/></configuration>`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(home, "conf", "tools.yml"), []byte("accessKey: \"\"\nsecretKey: \"\"\n"), 0o600))
	dir, out := t.TempDir(), t.TempDir()
	brokerName, _, _ := strings.Cut(leader.Name, "/")
	fill := strings.NewReplacer("${broker}", brokerName, "${addr}", leader.Addr, "${namesrv}", c.namesrv, "${topic}", topic, "${group}", group,
		"${gogroup}", gogroup, "${offline}", offline, "${msgid}", sent.OffsetMsgID, "${uniq}", sent.MsgID, "${queue}", strconv.Itoa(sent.MessageQueue.QueueId), "${dir}", dir)
	var lines []string
	for _, l := range adminLines {
		lines = append(lines, strings.Join(append(strings.Fields(fill.Replace(l.args)), "-n", c.namesrv), "\t"))
	}
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	java(t, []string{"-Drocketmq.home.dir=" + home}, "admin", c.namesrv, topic, group, file, out)

	names := map[string]bool{}
	for i, l := range adminLines {
		name, _, _ := strings.Cut(l.args, " ")
		names[name] = true
		t.Run(fmt.Sprintf("%02d_%s", i, name), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(out, strconv.Itoa(i)))
			require.NoError(t, err)
			require.False(t, trouble.Match(text), "%s\n%s", l.args, text)
			for _, want := range l.want {
				require.Regexp(t, regexp.MustCompile(strings.ReplaceAll(fill.Replace(want), "${clientId}", `\S+@\S+`)), string(text), l.args)
			}
		})
	}
	require.GreaterOrEqual(t, len(names), 40, "sub-commands tried")
}
