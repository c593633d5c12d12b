package namesrv

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// newServer returns a server that is not started, with its files on a memory
// disk and a clock that stands at start.
func newServer(t testing.TB, change ...func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.KVConfigPath, cfg.ConfigStorePath = filepath.Join("ns", "kvConfig.json"), filepath.Join("ns", "namesrv.properties")
	cfg.FS = vfs.NewMem()
	cfg.Now = func() time.Time { return start }
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// ask sends a request with the given fields through the handler.
func ask(t testing.TB, s *Server, code int32, fields string, body []byte) *protocol.Response {
	t.Helper()
	req := protocol.NewRequest(code).SetBody(body)
	for _, kv := range strings.Fields(fields) {
		k, v, _ := strings.Cut(kv, "=")
		if k == "version" {
			n, err := strconv.Atoi(v)
			require.NoError(t, err)
			req.Version = int32(n)
			continue
		}
		req.SetField(k, v)
	}
	return s.answer(remoting.NewCall(nil, req, nil), req)
}

// header reads one field of a response.
func header(t testing.TB, r *protocol.Response, key string) string {
	t.Helper()
	if r.Header == nil {
		return ""
	}
	for _, kv := range r.Header.(protocol.Pairs) {
		if kv[0] == key {
			return kv[1]
		}
	}
	return ""
}

func requireOK(t testing.TB, r *protocol.Response) *protocol.Response {
	t.Helper()
	require.Equal(t, protocol.StatusSuccess, r.Code, r.Remark)
	return r
}

// brokerFields is the header of a usual registration.
const brokerFields = "brokerName=broker-a brokerAddr=10.0.0.1:10911 clusterName=c1 haServerAddr=10.0.0.1:10912 brokerId=0 "

func tableBody(v protocol.DataVersion, configs ...*protocol.TopicConfig) *protocol.RegisterBrokerBody {
	b := &protocol.RegisterBrokerBody{TopicConfigs: protocol.TopicConfigSerializeWrapper{
		DataVersion: v, TopicConfigTable: map[string]*protocol.TopicConfig{},
	}}
	for _, c := range configs {
		b.TopicConfigs.TopicConfigTable[c.TopicName] = c
	}
	return b
}

func t1(queues int32) *protocol.TopicConfig {
	return &protocol.TopicConfig{TopicName: "T1", ReadQueueNums: queues, WriteQueueNums: queues, Perm: 6, TopicFilterType: "SINGLE_TAG"}
}

func v1(counter, term int64) protocol.DataVersion {
	return protocol.DataVersion{Timestamp: 1700000000000, Counter: counter, StateVersion: term}
}

// golden compares bytes with a file in testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.TrimSuffix(string(want), "\n"), string(got))
}

func TestGoldenBodies(t *testing.T) {
	s := newServer(t, func(c *Config) { c.OrderMessageEnable = true })
	requireOK(t, ask(t, s, 103, brokerFields, protocol.Encode(tableBody(v1(1, 3), t1(4),
		&protocol.TopicConfig{TopicName: "Ordered", ReadQueueNums: 2, WriteQueueNums: 2, Perm: 6, Order: true}))))
	requireOK(t, ask(t, s, 103, "brokerName=broker-a brokerAddr=10.0.0.2:10911 clusterName=c1 brokerId=1", nil))
	requireOK(t, ask(t, s, 103, "brokerName=broker-b brokerAddr=10.0.0.3:10911 clusterName=c1 brokerId=0 haServerAddr=10.0.0.3:10912",
		protocol.Encode(tableBody(v1(9, 0), t1(8)))))
	requireOK(t, ask(t, s, 100, "namespace=ORDER_TOPIC_CONFIG key=Ordered value=broker-a:2", nil))

	// 4.9.4 is 401; 2.1.2 of the Go client sends 317.
	standard := requireOK(t, ask(t, s, 105, "topic=T1 version=401", nil)).Body
	golden(t, "route_standard.json", standard)
	golden(t, "route_classic.json", requireOK(t, ask(t, s, 105, "topic=T1 version=317", nil)).Body)
	require.Equal(t, standard, requireOK(t, ask(t, s, 105, "topic=T1 version=317 acceptStandardJsonOnly=true", nil)).Body)
	require.NotEqual(t, standard, requireOK(t, ask(t, s, 105, "topic=T1 version=400 acceptStandardJsonOnly=no", nil)).Body)
	require.NotContains(t, string(standard), " ", "the Go client needs compact text")
	golden(t, "route_ordered.json", requireOK(t, ask(t, s, 105, "topic=Ordered", nil)).Body)
	golden(t, "cluster_info.json", requireOK(t, ask(t, s, 106, "", nil)).Body)
	golden(t, "topic_list.json", requireOK(t, ask(t, s, 206, "", nil)).Body)
	golden(t, "system_topics.json", requireOK(t, ask(t, s, 304, "", nil)).Body)
	golden(t, "kv_list.json", requireOK(t, ask(t, s, 219, "namespace=ORDER_TOPIC_CONFIG", nil)).Body)
	golden(t, "data_version.json", requireOK(t, ask(t, s, 322, brokerFields, protocol.Encode(&protocol.DataVersion{}))).Body)

	// Turning the switch off takes the order configuration out at once.
	requireOK(t, ask(t, s, 318, "", []byte("orderMessageEnable=false\n")))
	require.NotContains(t, string(requireOK(t, ask(t, s, 105, "topic=Ordered", nil)).Body), "orderTopicConf")
}

func TestTopicListsByCode(t *testing.T) {
	s := newServer(t)
	require.Equal(t, `{"topicList":[]}`, string(requireOK(t, ask(t, s, 206, "", nil)).Body))
	unit, sub := t1(1), t1(1)
	unit.TopicName, unit.TopicSysFlag = "U", 1
	sub.TopicName, sub.TopicSysFlag = "S", 2
	requireOK(t, ask(t, s, 103, brokerFields, protocol.Encode(tableBody(v1(1, 0), unit, sub))))
	for code, want := range map[int32]string{311: `{"topicList":["U"]}`, 312: `{"topicList":["S"]}`, 313: `{"topicList":["S"]}`} {
		require.Equal(t, want, string(requireOK(t, ask(t, s, code, "", nil)).Body), code)
	}
	require.Equal(t, `{"topicList":["S","U"]}`, string(requireOK(t, ask(t, s, 224, "cluster=c1", nil)).Body))
	require.Equal(t, `{"topicList":[]}`, string(requireOK(t, ask(t, s, 224, "cluster=c9", nil)).Body))
	requireOK(t, ask(t, s, 216, "topic=U", nil))
	require.Equal(t, `{"topicList":["S"]}`, string(requireOK(t, ask(t, s, 206, "", nil)).Body))
}

func TestRegistrationForms(t *testing.T) {
	full := tableBody(v1(1, 0), t1(4))
	compressed, err := full.AppendCompressed(nil)
	require.NoError(t, err)
	plain := protocol.Encode(full)
	for _, c := range []struct {
		name, fields string
		body         []byte
		route        bool
	}{
		{"json", "", plain, true},
		{"json with checksum", "bodyCrc32=" + strconv.Itoa(int(protocol.BodyCRC32(plain))), plain, true},
		{"compressed with checksum", "compressed=true bodyCrc32=" + strconv.Itoa(int(protocol.BodyCRC32(compressed))), compressed, true},
		{"bare table of an old broker", "version=36", protocol.Encode(&full.TopicConfigs), true},
		{"no body", "", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			r := requireOK(t, ask(t, s, 103, brokerFields+c.fields, c.body))
			require.Empty(t, header(t, r, "masterAddr"))
			require.Nil(t, r.Body)
			_, addrs, _ := s.Table().Counts()
			require.Equal(t, 1, addrs)
			requireOK(t, ask(t, s, 103, brokerFields+c.fields, c.body)) // by its digest
			require.Equal(t, c.route, shows(s.Table(), "T1") == "broker-a r4 w4 p6 s0; broker-a@c1{0=10.0.0.1}")
		})
	}
}

func TestRegistrationOfASlaveAndVersionQuery(t *testing.T) {
	s := newServer(t)
	slave := strings.NewReplacer("10.0.0.1", "10.0.0.2", "brokerId=0", "brokerId=1").Replace(brokerFields)
	require.Empty(t, header(t, requireOK(t, ask(t, s, 103, slave, nil)), "masterAddr"))
	requireOK(t, ask(t, s, 103, brokerFields, protocol.Encode(tableBody(v1(1, 0), t1(4)))))
	requireOK(t, ask(t, s, 100, "namespace=ORDER_TOPIC_CONFIG key=T1 value=broker-a:4", nil))
	r := requireOK(t, ask(t, s, 103, slave, nil))
	require.Equal(t, "10.0.0.1:10911", header(t, r, "masterAddr"))
	require.Equal(t, "10.0.0.1:10912", header(t, r, "haServerAddr"))
	require.Equal(t, `{"table":{"T1":"broker-a:4"}}`, string(r.Body))

	same, other := v1(1, 0), v1(2, 0)
	require.Equal(t, "false", header(t, requireOK(t, ask(t, s, 322, brokerFields, protocol.Encode(&same))), "changed"))
	require.Equal(t, "true", header(t, requireOK(t, ask(t, s, 322, brokerFields, protocol.Encode(&other))), "changed"))
	unknown := strings.Replace(brokerFields, "10.0.0.1:10911", "10.0.0.9:10911", 1)
	r = requireOK(t, ask(t, s, 322, unknown, protocol.Encode(&same)))
	require.Equal(t, "true", header(t, r, "changed"))
	require.Nil(t, r.Body)

	require.Equal(t, "1", header(t, requireOK(t, ask(t, s, 205, "brokerName=broker-a", nil)), "wipeTopicCount"))
	require.Equal(t, "1", header(t, requireOK(t, ask(t, s, 327, "brokerName=broker-a", nil)), "addTopicCount"))
	requireOK(t, ask(t, s, 104, brokerFields, nil))
	require.Equal(t, "{1=10.0.0.2}", addrsText(s.table.view.Load().brokers["broker-a"].addrs[Inside]))
}

func TestFencedRegistrationIsAnsweredWithBothTerms(t *testing.T) {
	s := newServer(t)
	requireOK(t, ask(t, s, 103, brokerFields, protocol.Encode(tableBody(v1(1, 7), t1(4)))))
	old := strings.ReplaceAll(brokerFields, "10.0.0.1", "10.0.0.2")
	r := ask(t, s, 103, old, protocol.Encode(tableBody(v1(1, 6), t1(4))))
	require.Equal(t, protocol.StatusSystemError, r.Code)
	require.Contains(t, r.Remark, "term 6")
	require.Contains(t, r.Remark, "term 7")
	require.Contains(t, r.Remark, "broker-a")
}

func TestBadRequests(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BrokersMax = 1 })
	requireOK(t, ask(t, s, 103, strings.ReplaceAll(brokerFields, "broker-a", "broker-z"), nil))
	without := func(field string) string {
		var out []string
		for _, kv := range strings.Fields(brokerFields) {
			if !strings.HasPrefix(kv, field+"=") {
				out = append(out, kv)
			}
		}
		return strings.Join(out, " ")
	}
	with := func(kv string) string {
		return without(kv[:strings.Index(kv, "=")]) + " " + kv
	}
	for _, c := range []struct {
		name, fields string
		code         int32
		body         string
		status       int32
		remark       string
	}{
		{"unknown code", "", 9999, "", 3, " request type 9999 not supported"},
		{"negative code", "", -5, "", 3, " request type -5 not supported"},
		{"code of a broker", "", 10, "", 3, "request type 10 not supported"},
		{"no topic", "", 105, "", 1, "topic"},
		{"unknown topic", "topic=nobody", 105, "", 17, "No topic route info in name server for the topic: nobody"},
		{"empty topic", "topic=", 105, "", 17, "No topic route info"},
		{"no broker name", without("brokerName"), 103, "", 1, "brokerName"},
		{"no address", without("brokerAddr"), 103, "", 1, "brokerAddr"},
		{"no cluster", without("clusterName"), 103, "", 1, "clusterName"},
		{"no id", without("brokerId"), 103, "", 1, "brokerId"},
		{"negative id", with("brokerId=-1"), 103, "", 1, "brokerId"},
		{"id is a word", with("brokerId=one"), 103, "", 1, "brokerId"},
		{"id beyond 64 bits", with("brokerId=9223372036854775808"), 103, "", 1, "brokerId"},
		{"address without port", with("brokerAddr=10.0.0.1"), 103, "", 1, "brokerAddr"},
		{"checksum", brokerFields + "bodyCrc32=1", 103, "{}", 1, "crc32 not match"},
		{"garbage", brokerFields, 103, "\x00\xff{{{", 1, "malformed"},
		{"garbage that should be compressed", brokerFields + "compressed=true", 103, "{}", 1, "malformed"},
		{"an array", brokerFields, 103, "[1,2]", 1, "registration"},
		{"negative queues", brokerFields, 103, `{"topicConfigSerializeWrapper":{"topicConfigTable":{"T":{"readQueueNums":-1}}}}`, 1, "readQueueNums of topic T is negative"},
		{"one broker too many", with("brokerAddr=10.0.0.9:1"), 103, "", 2, "1 broker addresses are registered"},
		{"unregister without name", without("brokerName"), 104, "", 1, "brokerName"},
		{"version without body", brokerFields, 322, "", 1, "data version"},
		{"wipe without name", "", 205, "", 1, "brokerName"},
		{"no cluster to list", "", 224, "", 1, "cluster"},
		{"no topic to delete", "", 216, "", 1, "topic"},
		{"kv without key", "namespace=n", 100, "", 1, "namespace or key is null"},
		{"kv without namespace", "key=n", 101, "", 1, "namespace or key is null"},
		{"kv without value", "namespace=n key=k", 100, "", 1, "value"},
		{"kv unknown", "namespace=n key=k", 101, "", 22, "No config item, Namespace: n Key: k"},
		{"kv unknown namespace", "namespace=n", 219, "", 22, "No config item, Namespace: n"},
		{"kv list without namespace", "", 219, "", 1, "namespace"},
		{"empty settings", "", 318, "", 1, "string2Properties error"},
		{"unknown setting", "", 318, "orderMesageEnable=true", 1, "did you mean orderMessageEnable?"},
		{"bad setting", "", 318, "orderMessageEnable=1", 1, "true or false"},
		{"setting that is read at start", "", 318, "listenPort=1", 1, "cannot be changed while the process runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(t, s, c.code, c.fields, []byte(c.body))
			require.Equal(t, c.status, r.Code, r.Remark)
			require.Contains(t, r.Remark, c.remark)
			require.Empty(t, shows(s.Table(), "T"))
		})
	}
}

func TestSettingsByRequest(t *testing.T) {
	disk := vfs.NewMem()
	require.NoError(t, disk.MkdirAll("ns", 0o755))
	require.NoError(t, vfs.WriteFileAtomic(disk, filepath.Join("ns", "namesrv.properties"), []byte("# mine\nlistenPort=9876\n")))
	s := newServer(t, func(c *Config) { c.FS = disk })
	text := string(requireOK(t, ask(t, s, 319, "", nil)).Body)
	require.Contains(t, text, "listenPort=9876\n")
	require.Contains(t, text, "orderMessageEnable=false\n")
	// mqadmin sends back what it read, with one line changed.
	requireOK(t, ask(t, s, 318, "", []byte(strings.Replace(text, "orderMessageEnable=false", "orderMessageEnable=true", 1))))
	require.Contains(t, string(requireOK(t, ask(t, s, 319, "", nil)).Body), "orderMessageEnable=true\n")
	file, err := vfs.ReadFile(disk, filepath.Join("ns", "namesrv.properties"), 1<<20)
	require.NoError(t, err)
	require.Equal(t, "# mine\nlistenPort=9876\norderMessageEnable=true\n", string(file))
}

func FuzzRegister(f *testing.F) {
	full := tableBody(v1(1, 2), t1(4))
	compressed, err := full.AppendCompressed(nil)
	require.NoError(f, err)
	f.Add(protocol.Encode(full), int32(401), false, "10.0.0.1:10911", int64(0))
	f.Add(compressed, int32(401), true, "10.0.0.1:10911", int64(1))
	f.Add(protocol.Encode(&full.TopicConfigs), int32(30), false, "[::1]:1", int64(7))
	f.Add([]byte(`{"topicConfigSerializeWrapper":{"topicConfigTable":{"a":null}}}`), int32(401), false, "h:1", int64(0))
	f.Fuzz(func(t *testing.T, body []byte, version int32, zipped bool, addr string, id int64) {
		s := newServer(t)
		req := protocol.NewRequest(103).SetBody(body).SetField("brokerName", "b").SetField("clusterName", "c").
			SetField("brokerAddr", addr).SetField("brokerId", strconv.FormatInt(id, 10)).
			SetField("compressed", strconv.FormatBool(zipped))
		req.Version = version
		r := s.answer(remoting.NewCall(nil, req, nil), req)
		_, addrs, topics := s.Table().Counts()
		if r.Code != protocol.StatusSuccess {
			require.NotEmpty(t, r.Remark)
			require.Zero(t, addrs+topics)
			return
		}
		require.Equal(t, 1, addrs)
		before := s.Table().TopicList()
		requireOK(t, s.answer(remoting.NewCall(nil, req, nil), req)) // by its digest
		require.Equal(t, before, s.Table().TopicList())
		// Whatever was accepted can be read back by a client.
		var list protocol.TopicList
		require.NoError(t, list.Decode(s.Table().TopicList()))
		require.Len(t, list.Topics, topics)
		for topic := range s.table.view.Load().routes {
			for d := range dialects {
				raw, ok := s.Table().Route([]byte(topic), d, Inside)
				require.True(t, ok)
				var route protocol.TopicRouteData
				require.NoError(t, route.Decode(raw))
				require.Len(t, route.QueueDatas, 1)
				require.Equal(t, map[int64]string{id: addr}, route.BrokerDatas[0].BrokerAddrs)
			}
		}
	})
}
