package namesrv

import (
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Handle serves one request (DefaultRequestProcessor). It runs on the
// connection's read goroutine. Requests that write a file make their own
// connection wait, and those come from an operator's tool one at a time.
func (s *Server) Handle(call remoting.Call, req *protocol.Command) {
	call.Reply(s.answer(call, req))
	req.Release()
}

// answer makes the response. Nothing of the request is kept in it.
func (s *Server) answer(call remoting.Call, req *protocol.Command) *protocol.Response {
	switch req.Code {
	case protocol.CodeGetRouteInfoByTopic:
		return s.getRoute(call, req)
	case protocol.CodeRegisterBroker:
		s.registered.Add(1)
		return s.registerBroker(call, req)
	case protocol.CodeUnregisterBroker:
		return s.unregisterBroker(req)
	case protocol.CodeQueryDataVersion:
		return s.queryDataVersion(req)
	case protocol.CodeGetBrokerCluster:
		return success(nil, s.table.ClusterInfo(s.audience(call)))
	case protocol.CodeWipeWritePermOfBroker:
		return s.changePerm(req, "wipeTopicCount", s.table.WipeWritePerm)
	case protocol.CodeAddWritePermOfBroker:
		return s.changePerm(req, "addTopicCount", s.table.AddWritePerm)
	case protocol.CodeGetAllTopicListFromNamesrv:
		return success(nil, s.table.TopicList())
	case protocol.CodeGetTopicsByCluster:
		return s.topicsByCluster(req)
	case protocol.CodeGetSystemTopicListFromNS:
		topics, addr := s.table.SystemTopics(s.audience(call))
		return success(nil, encodeTopicList(topics, addr))
	case protocol.CodeGetUnitTopicList:
		return s.unitTopics(sysFlagUnit, sysFlagUnit)
	case protocol.CodeGetHasUnitSubTopicList:
		return s.unitTopics(sysFlagUnitSub, sysFlagUnitSub)
	case protocol.CodeGetHasUnitSubUnunitTopics:
		return s.unitTopics(sysFlagUnit|sysFlagUnitSub, sysFlagUnitSub)
	case protocol.CodeDeleteTopicInNamesrv:
		return s.deleteTopic(req)
	case protocol.CodePutKVConfig, protocol.CodeGetKVConfig, protocol.CodeDeleteKVConfig, protocol.CodeGetKVListByNamespace:
		return s.kvRequest(req)
	case protocol.CodeUpdateNamesrvConfig:
		return s.updateConfig(req)
	case protocol.CodeGetNamesrvConfig:
		return success(nil, s.settings.Text())
	}
	// 4.9.4 leaves unknown codes unanswered; Java clients then time out and
	// close the connection with everything else in flight on it.
	return failure(protocol.StatusRequestCodeNotSupported, " request type "+strconv.Itoa(int(req.Code))+" not supported")
}

func success(h protocol.HeaderEncoder, body []byte) *protocol.Response {
	return &protocol.Response{Code: protocol.StatusSuccess, Header: h, Body: body}
}

func failure(status int32, remark string) *protocol.Response {
	return &protocol.Response{Code: status, Remark: remark}
}

// refusal turns an error into a status: a bound is "busy", all else is the
// caller's mistake or ours, which RocketMQ does not tell apart.
func refusal(err error) *protocol.Response {
	if errors.Is(err, ErrLimit) {
		return failure(protocol.StatusSystemBusy, err.Error())
	}
	return failure(protocol.StatusSystemError, err.Error())
}

// audience says by which addresses the brokers are named to a caller.
func (s *Server) audience(call remoting.Call) Audience {
	conn := call.Conn()
	if conn == nil {
		return Inside
	}
	return s.networks.audience(conn.RemoteAddr().Addr())
}

// template is the topic whose route producers take for topics that are yet to be
// made. Java clients 4.3 ask for it by another name, which no later server has:
// they can send to an unknown topic here only because we know that name too.
const (
	template   = "TBW102"
	template43 = "AUTO_CREATE_TOPIC_KEY"
)

func (s *Server) getRoute(call remoting.Call, req *protocol.Command) *protocol.Response {
	r := req.Required()
	topic := r.Bytes("topic")
	if err := r.Err(); err != nil {
		return refusal(err)
	}
	dialect := Classic
	if req.Version >= protocol.VersionStandardJSON || req.Bool("acceptStandardJsonOnly") {
		dialect = Standard
	}
	body, ok := s.table.Route(topic, dialect, s.audience(call))
	if !ok && string(topic) == template43 {
		body, ok = s.table.Route([]byte(template), dialect, s.audience(call))
	}
	if ok {
		return success(nil, body)
	}
	if len(topic) > nameBytesMax {
		topic = topic[:nameBytesMax]
	}
	return failure(protocol.StatusTopicNotExist, "No topic route info in name server for the topic: "+string(topic))
}

func (s *Server) registerBroker(call remoting.Call, req *protocol.Command) *protocol.Response {
	var h protocol.BrokerHeader
	if err := h.Decode(req); err != nil {
		return refusal(err)
	}
	if h.BodyCRC32 != 0 && protocol.BodyCRC32(req.Body) != h.BodyCRC32 {
		s.refused.warn(s.log, "registration refused: its body does not match its checksum", "broker", h.BrokerName, "addr", h.BrokerAddr)
		return failure(protocol.StatusSystemError, "crc32 not match")
	}
	conn := s.brokerConn(call)
	reg := Registration{
		Cluster: h.ClusterName, Broker: h.BrokerName, Addr: h.BrokerAddr, HAAddr: h.HAServerAddr, ID: h.BrokerID, External: h.ExternalAddr, StandIns: h.StandIns,
		Conn: conn, Digest: s.digest(req, h.Compressed),
	}
	out, ok := s.table.Refresh(reg, s.cfg.Now())
	if !ok {
		err := readBody(&reg, req, h.Compressed)
		if err == nil {
			out, err = s.table.Register(reg, s.cfg.Now())
		}
		if err != nil {
			s.refused.warn(s.log, "registration refused", "broker", h.BrokerName, "addr", h.BrokerAddr, "error", err)
			return refusal(err)
		}
		s.logRegistered(&reg, &out)
	}
	var header protocol.Pairs
	if out.MasterAddr != "" {
		header = protocol.Pairs{{"haServerAddr", out.HAAddr}, {"masterAddr", out.MasterAddr}}
	}
	var order []byte
	if table := s.kv.Namespace(OrderNamespace); len(table) > 0 {
		order = protocol.Encode(&protocol.KVTable{Table: table})
	}
	return success(header, order)
}

// brokerConn returns the id of the connection that a registration came by and
// keeps the connection, to be closed when its broker expires.
func (s *Server) brokerConn(call remoting.Call) uint64 {
	conn := call.Conn()
	if conn == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn.ID()] = conn
	return conn.ID()
}

// digest identifies the body of a registration and how it is to be read. The
// seed is this process's secret, so no two bodies can be made to collide.
func (s *Server) digest(req *protocol.Command, compressed bool) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	maphash.WriteComparable(&h, compressed)
	maphash.WriteComparable(&h, req.Version < protocol.VersionRegisterBody)
	_, _ = h.Write(req.Body) // a hash takes every write
	return h.Sum64()
}

// readBody fills a registration from one of the three forms of the body: none,
// JSON, and compressed. Brokers before 3.0.11 send the bare topic table. The
// strings are copies: the frame goes back to its pool while they stay in the
// table.
func readBody(reg *Registration, req *protocol.Command, compressed bool) error {
	var body protocol.RegisterBrokerBody
	var err error
	switch {
	case len(req.Body) == 0:
	case req.Version < protocol.VersionRegisterBody:
		err = body.TopicConfigs.Decode(req.Body)
	case compressed:
		err = body.DecodeCompressed(req.Body)
	default:
		err = body.Decode(req.Body)
	}
	if err != nil {
		return err
	}
	reg.Version, reg.Filters = versionOf(body.TopicConfigs.DataVersion), body.FilterServerList
	reg.Topics = make([]Topic, 0, len(body.TopicConfigs.TopicConfigTable))
	for name, c := range body.TopicConfigs.TopicConfigTable {
		if c == nil {
			continue
		}
		reg.Topics = append(reg.Topics, Topic{
			Name: name, ReadQueues: c.ReadQueueNums, WriteQueues: c.WriteQueueNums, Perm: c.Perm, SysFlag: c.TopicSysFlag, Ordered: c.Order,
		})
	}
	return nil
}

func (s *Server) logRegistered(r *Registration, out *Registered) {
	switch {
	case out.Replaced != "":
		s.log.Info("broker id changed hands", "broker", r.Broker, "id", r.ID, "addr", r.Addr, "term", r.Version.Term, "before", out.Replaced)
	case out.Joined:
		s.log.Info("broker joined", "broker", r.Broker, "id", r.ID, "addr", r.Addr, "term", r.Version.Term, "cluster", r.Cluster)
	default:
		s.log.Debug("broker registered", "broker", r.Broker, "id", r.ID, "addr", r.Addr, "term", r.Version.Term)
	}
	if out.ExternalShared != "" {
		s.log.Warn("two brokers have one external address; clients outside can reach only one of them: check advertisedListeners",
			"external", r.External, "addr", r.Addr, "other", out.ExternalShared)
	}
	if out.TopicsLeftOut > 0 {
		s.refused.warn(s.log, "topics left out of the routes: raise topicsMax", "broker", r.Broker, "left-out", out.TopicsLeftOut)
	}
}

func (s *Server) unregisterBroker(req *protocol.Command) *protocol.Response {
	var h protocol.BrokerHeader
	if err := h.Decode(req); err != nil {
		return refusal(err)
	}
	if s.table.Unregister(h.BrokerName, h.BrokerAddr) {
		s.log.Info("broker unregistered", "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr)
	}
	return success(nil, nil)
}

func (s *Server) queryDataVersion(req *protocol.Command) *protocol.Response {
	var h protocol.BrokerHeader
	if err := h.Decode(req); err != nil {
		return refusal(err)
	}
	var v protocol.DataVersion
	if err := v.Decode(req.Body); err != nil {
		return refusal(err)
	}
	changed, ours, known := s.table.QueryVersion(h.BrokerAddr, versionOf(v), s.cfg.Now())
	var body []byte
	if known {
		body = protocol.Encode(&protocol.DataVersion{Timestamp: ours.Timestamp, Counter: ours.Counter, StateVersion: ours.Term})
	}
	return success(protocol.Pairs{{"changed", strconv.FormatBool(changed)}}, body)
}

func (s *Server) changePerm(req *protocol.Command, count string, change func(string) int) *protocol.Response {
	r := req.Required()
	name := r.Str("brokerName")
	if err := r.Err(); err != nil {
		return refusal(err)
	}
	n := change(name)
	s.log.Info("write permission changed by request", "broker", name, count, n)
	return success(protocol.Pairs{{count, strconv.Itoa(n)}}, nil)
}

func (s *Server) topicsByCluster(req *protocol.Command) *protocol.Response {
	r := req.Required()
	cluster := r.Str("cluster")
	if err := r.Err(); err != nil {
		return refusal(err)
	}
	return success(nil, encodeTopicList(s.table.TopicsByCluster(cluster), ""))
}

func (s *Server) unitTopics(mask, want int32) *protocol.Response {
	return success(nil, encodeTopicList(s.table.TopicsByUnit(mask, want), ""))
}

func (s *Server) deleteTopic(req *protocol.Command) *protocol.Response {
	r := req.Required()
	topic := r.Str("topic")
	if err := r.Err(); err != nil {
		return refusal(err)
	}
	s.table.DeleteTopic(topic, req.Str("clusterName"))
	s.log.Info("topic deleted by request", "topic", topic)
	return success(nil, nil)
}

// kvRequest serves 100, 101, 102 and 219.
func (s *Server) kvRequest(req *protocol.Command) *protocol.Response {
	ns, hasNS := req.Field("namespace")
	key, hasKey := req.Field("key")
	if req.Code == protocol.CodeGetKVListByNamespace {
		if !hasNS {
			return failure(protocol.StatusSystemError, "namespace is missing")
		}
		table := s.kv.Namespace(string(ns))
		if table == nil {
			return failure(protocol.StatusQueryNotFound, "No config item, Namespace: "+string(ns))
		}
		return success(nil, protocol.Encode(&protocol.KVTable{Table: table}))
	}
	if !hasNS || !hasKey {
		return failure(protocol.StatusSystemError, "namespace or key is null")
	}
	var err error
	switch req.Code {
	case protocol.CodeGetKVConfig:
		value, ok := s.kv.Get(string(ns), string(key))
		if !ok {
			return failure(protocol.StatusQueryNotFound, "No config item, Namespace: "+string(ns)+" Key: "+string(key))
		}
		return success(protocol.Pairs{{"value", value}}, nil)
	case protocol.CodePutKVConfig:
		r := req.Required()
		value := r.Str("value")
		if err = r.Err(); err == nil {
			err = s.kv.Put(string(ns), string(key), value)
		}
	default:
		err = s.kv.Delete(string(ns), string(key))
	}
	if err != nil {
		s.refused.warn(s.log, "key/value setting refused", "namespace", string(ns), "error", err)
		return refusal(err)
	}
	return success(nil, nil)
}

// updateConfig changes live settings and then the file they came from. When the
// file cannot be written the caller is told that the change ends with the
// process.
func (s *Server) updateConfig(req *protocol.Command) *protocol.Response {
	values, err := config.ParseText(req.Body)
	if err != nil || len(values) == 0 {
		return failure(protocol.StatusSystemError, "string2Properties error")
	}
	s.edit.Lock()
	defer s.edit.Unlock()
	changed, err := s.settings.Update(values)
	if err != nil {
		return refusal(err)
	}
	if err := s.storeSettings(changed); err != nil {
		s.log.Error("settings changed but not stored", "keys", changed, "error", err)
		return failure(protocol.StatusSystemError, "the change is in force, but lasts only until restart: "+err.Error())
	}
	return success(nil, nil)
}
