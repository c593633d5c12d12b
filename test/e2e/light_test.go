package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// One send, to be read from each light queue that the message names, with offsets of its own.
func TestLightMessageQueues(t *testing.T) {
	t.Parallel()
	c := strictBroker(t)
	addr := c.leader(t).Addr
	topic := uniqueName("light")
	c.createTopic(t, topic, 1)
	both, one := "%LMQ%"+uniqueName("both"), "%LMQ%"+uniqueName("one")
	p := newProducer(t, c.namesrv)
	for i := range 6 {
		m := primitive.NewMessage(topic, []byte(strconv.Itoa(i)))
		m.WithProperty("INNER_MULTI_DISPATCH", []string{both, both + "," + one}[i%2])
		require.EqualValues(t, i, sendSync(t, p, m).QueueOffset)
	}

	pc := newPullConsumer(t, c.namesrv, "%LMQ%"+uniqueName("readers"), topic)
	read := func(name string, offset int64) (r *primitive.PullResult, got []string) {
		r, err := pc.PullFrom(context.Background(), &primitive.MessageQueue{Topic: name, BrokerName: "broker-a"}, offset, 32)
		require.NoError(t, err)
		require.Equal(t, primitive.PullFound, r.Status)
		for _, m := range r.GetMessageExts() {
			var offsets []string
			for number := range strings.SplitSeq(m.GetProperty("INNER_MULTI_QUEUE_OFFSET"), ",") {
				n, err := strconv.ParseInt(number, 10, 64) // as Java's Long.parseLong
				require.NoError(t, err)
				offsets = append(offsets, strconv.FormatInt(n, 10))
			}
			require.Equal(t, topic, m.Topic)
			got = append(got, fmt.Sprintf("%s at %d in %s", m.Body, m.QueueOffset, strings.Join(offsets, " ")))
		}
		return r, got
	}
	r, got := read(both, 0)
	require.Equal(t, []string{"0 at 0 in 0", "1 at 1 in 1 0", "2 at 2 in 2", "3 at 3 in 3 1", "4 at 4 in 4", "5 at 5 in 5 2"}, got)
	require.Equal(t, []int64{6, 0, 6}, []int64{r.NextBeginOffset, r.MinOffset, r.MaxOffset})
	r, got = read(one, 1)
	require.Equal(t, []string{"3 at 3 in 3 1", "5 at 5 in 5 2"}, got)
	require.Equal(t, []int64{3, 0, 3}, []int64{r.NextBeginOffset, r.MinOffset, r.MaxOffset})
	require.Len(t, readQueue(t, addr, topic, 0), 6, "a message is stored once")

	// A group of light queues, which nobody made although groups are made by hand here.
	group := "%LMQ%" + uniqueName("g")
	must(t, addr, 15, fields{"consumerGroup": group, "topic": one, "queueId": "0", "commitOffset": "2"}, nil)
	require.EqualValues(t, 2, committedOffset(t, addr, group, one, 0))
	found := must(t, addr, 11, with(pullFields(one, 0, 2), "consumerGroup", group), nil)
	require.Equal(t, fields{"nextBeginOffset": "3", "minOffset": "0", "maxOffset": "3", "suggestWhichBrokerId": "0"}, found.Ext)

	// Light queues are no topics, to name servers either.
	refused(t, c.namesrv, 105, fields{"topic": one}, nil, 17)
	require.NotContains(t, string(must(t, c.namesrv, 206, nil, nil).Body), "%LMQ%both")
	refused(t, addr, 310, fields{
		"a": "g", "b": topic, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "1700000000000", "h": "0",
		"i": "INNER_MULTI_DISPATCH\x01" + topic, "j": "0", "k": "false", "m": "false",
	}, []byte("x"), 13, "cannot be a light queue")
	must(t, addr, 215, fields{"topic": one}, nil)
	require.EqualValues(t, 0, maxOffset(t, addr, one, 0))
	require.EqualValues(t, 6, maxOffset(t, addr, both, 0))
}
