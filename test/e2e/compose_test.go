//go:build compose

package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// TestComposeClient sends and consumes with the official Go client against a cluster that runs already, wherever this
// test binary runs: on the host of a compose cluster or in a container of its network. internal/compose runs it in both.
//
// NAMESRV_ADDR names the name servers. The Go client takes only addresses in figures, so names are looked up first.
func TestComposeClient(t *testing.T) {
	nameServers := resolve(t, os.Getenv("NAMESRV_ADDR"))
	topic, group := uniqueName("compose"), uniqueName("cg")
	p := newProducer(t, nameServers[0], producer.WithNameServer(nameServers))
	// The first message creates the topic; the Go consumer refuses to start without one.
	want := map[string]bool{"first": true}
	sendSync(t, p, primitive.NewMessage(topic, []byte("first")))
	box := newConsumer(t, nameServers[0], group, topic, consumer.MessageSelector{}, nil, consumer.WithNameServer(nameServers))
	began := time.Now()
	for i := range 200 {
		body := fmt.Sprintf("message %d", i)
		sendSync(t, p, primitive.NewMessage(topic, []byte(body)))
		want[body] = true
	}
	sent := time.Since(began)
	// Consumers of a new group may look for their queues only after 20 s.
	box.waitFor(t, want, 60*time.Second)
	require.Len(t, box.bodies(), len(want))
	t.Logf("sent %d messages in %v through %v and consumed them", len(want), sent.Round(time.Millisecond), nameServers)
}

func resolve(t *testing.T, list string) []string {
	t.Helper()
	var out []string
	for _, addr := range strings.Split(list, ";") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(addr))
		require.NoError(t, err, "NAMESRV_ADDR=%q", list)
		ips, err := net.LookupHost(host)
		require.NoError(t, err)
		out = append(out, net.JoinHostPort(ips[0], port))
	}
	return out
}
