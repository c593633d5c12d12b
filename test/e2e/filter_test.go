package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// reconfigure stops a cluster, replaces one line of its members' settings and starts it again.
func (c *cluster) reconfigure(t *testing.T, old, line string) {
	t.Helper()
	_, err := command("mqadmin", "local", "down", "--dir", c.dir)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(c.dir, "broker-*.conf"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		require.Contains(t, string(b), old)
		require.NoError(t, os.WriteFile(f, []byte(strings.Replace(string(b), old, line, 1)), 0o644))
	}
	_, err = command("mqadmin", "local", "up", "--dir", c.dir)
	require.NoError(t, err)
}

// checkClient asks code 46, as a Java consumer does before it starts.
func checkClient(t *testing.T, addr, topic, expression string) frame {
	t.Helper()
	body, err := json.Marshal(map[string]any{"clientId": "c", "group": "g", "subscriptionData": map[string]any{
		"topic": topic, "subString": expression, "expressionType": "SQL92", "subVersion": time.Now().UnixMilli(), "classFilterMode": false,
	}})
	require.NoError(t, err)
	r, err := invoke(addr, 46, nil, body)
	require.NoError(t, err)
	return r
}

// TestSQLFilter is the truth table of SQL92 selectors over messages with and without the properties they name, seen by an
// official consumer.
func TestSQLFilter(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := uniqueName("sql")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	for _, m := range []struct {
		body string
		kv   []string
	}{
		{"none", nil},
		{"a1", []string{"a", "1"}},
		{"a5x", []string{"a", "5", "b", "x"}},
		{"a9y", []string{"a", "9", "b", "y"}},
		{"bx", []string{"b", "x"}},
		{"half", []string{"a", "2.5", "b", "it's"}},
		{"word", []string{"a", "five"}},
		{"true", []string{"flag", "true", "a", "7"}},
		{"last", []string{"last", "yes"}},
	} {
		msg := primitive.NewMessage(topic, []byte(m.body))
		for i := 0; i < len(m.kv); i += 2 {
			msg.WithProperty(m.kv[i], m.kv[i+1])
		}
		sendSync(t, p, msg)
	}
	for expression, want := range map[string]string{
		"a > 4":                                 "a5x a9y true",
		"a > 4.0":                               "a5x a9y true",
		"a >= 2.5 AND a < 6.0":                  "a5x half",
		"a = 5 AND b = 'x'":                     "a5x",
		"a = 5 OR b = 'x'":                      "a5x bx",
		"NOT (a = 5)":                           "a1 a9y true",
		"NOT (b = 'x') OR a IS NULL":            "none a9y bx half",
		"a BETWEEN 5 AND 7":                     "a5x true",
		"a NOT BETWEEN 5 AND 7":                 "a1 a9y",
		"b IN ('x', 'it''s')":                   "a5x bx half",
		"b NOT IN ('x', 'it''s')":               "a9y",
		"a IS NULL AND b IS NOT NULL":           "bx",
		"b CONTAINS 't''' AND a STARTSWITH '2'": "half",
		"a ENDSWITH 'e'":                        "word",
		"flag = TRUE":                           "true",
		"a <> 5":                                "a1 a9y true",
		"flag":                                  "",
	} {
		t.Run(strings.ReplaceAll(expression, " ", "_"), func(t *testing.T) {
			t.Parallel()
			sel := consumer.MessageSelector{Type: consumer.SQL92, Expression: "(" + expression + ") OR last = 'yes'"}
			// In one queue consumed in order the last message says that all others were seen.
			box := newConsumer(t, c.namesrv, uniqueName("g"), topic, sel, nil, consumer.WithConsumerOrder(true))
			box.waitFor(t, map[string]bool{"last": true}, time.Minute)
			var got []string
			for _, m := range box.all() {
				got = append(got, string(m.Body))
			}
			require.Equal(t, strings.TrimSpace(want+" last"), strings.Join(got, " "))
		})
	}
}

// TestSQLFilterRefused: a broken selector is refused before the consumer starts, with the place of the fault, and every
// selector while enablePropertyFilter is off.
func TestSQLFilterRefused(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, "--nodes", "1")
	topic := uniqueName("sql")
	c.createTopic(t, topic, 1)
	addr := c.leader(t).Addr
	require.Zero(t, checkClient(t, addr, topic, "a > 5 AND b IS NOT NULL").Code)
	for expression, at := range map[string]int{"a >": 4, "a = 1 AND b LIKE 'x'": 13, "a BETWEEN 9 AND 1": 3, "": 1} {
		r := checkClient(t, addr, topic, expression)
		require.Equal(t, 23, r.Code, r.Remark)
		require.Contains(t, r.Remark, fmt.Sprintf("position %d", at))
		r = pullWith(t, addr, topic, "SQL92", expression)
		require.Equal(t, 23, r.Code, r.Remark)
	}
	require.Equal(t, 23, checkClient(t, addr, topic, strings.Repeat("(", 10_000)+"a = 1").Code)

	c.reconfigure(t, "enablePropertyFilter=true", "enablePropertyFilter=false")
	addr = c.leader(t).Addr
	const remark = "The broker does not support consumer to filter message by SQL92"
	for _, r := range []frame{checkClient(t, addr, topic, "a > 5"), pullWith(t, addr, topic, "SQL92", "a > 5")} {
		require.Equal(t, 1, r.Code)
		require.Equal(t, remark, r.Remark)
	}
	require.Equal(t, 19, pullWith(t, addr, topic, "TAG", "a || b").Code, "tags need no switch")
}

// pullWith pulls the first queue of a topic from its begin with a subscription in the header.
func pullWith(t *testing.T, addr, topic, kind, expression string) frame {
	t.Helper()
	r, err := invoke(addr, 11, map[string]string{
		"consumerGroup": "TOOLS_CONSUMER", "topic": topic, "queueId": "0", "queueOffset": "0", "maxMsgNums": "32", "sysFlag": "4",
		"commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": expression, "subVersion": "0", "expressionType": kind,
	}, nil)
	require.NoError(t, err)
	return r
}
