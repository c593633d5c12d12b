package namesrv

import (
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// families are all metrics of a name server. Each carries the labels node_type and
// node_id, the host's name and the port.
var families metrics.Families

// Families returns all metrics of a name server.
func Families() []*metrics.Family { return families.List() }

var (
	famReady     = families.Add(metrics.Gauge, "rmq_namesrv_ready", "1 when /readyz says ok.")
	famStart     = families.Add(metrics.Gauge, "rmq_namesrv_start_time_seconds", "When this name server started, unix time.")
	famNames     = families.Add(metrics.Gauge, "rmq_namesrv_broker_names", "Broker names with a route, stand-ins left out.")
	famBrokers   = families.Add(metrics.Gauge, "rmq_namesrv_brokers", "Brokers that are registered, members of groups each.")
	famTopics    = families.Add(metrics.Gauge, "rmq_namesrv_topics", "Topics with a route.")
	famExpired   = families.Add(metrics.Counter, "rmq_namesrv_expired_brokers_total", "Brokers dropped because they stopped registering.")
	famLeft      = families.Add(metrics.Counter, "rmq_namesrv_lost_brokers_total", "Brokers dropped because their connection ended.")
	famRegistrar = families.Add(metrics.Counter, "rmq_namesrv_registrations_total", "Registrations of brokers.")
	famConns     = families.Add(metrics.Gauge, "rmq_namesrv_connections", "Open connections.")
	famCalls     = families.Add(metrics.Histogram, "rocketmq_rpc_latency", "Time from a request's arrival to its answer in ms.", metrics.CallLabels...)
)

// knownCode tells the codes that a name server has heard of.
func knownCode(code int32) bool { return protocol.CodeName(code) != protocol.CodeName(-1) }

// NewMetrics makes the registry of this name server's metrics. It may be scraped
// before Start.
func (s *Server) NewMetrics(version string) (metrics.Registry, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	id := net.JoinHostPort(host, strconv.Itoa(s.cfg.ListenPort))
	return metrics.NewRegistry(metrics.Config{
		Families: &families, Version: version, Collect: s.collect,
		Common: [][2]string{{"node_type", "nameserver"}, {"node_id", id}},
	})
}

// Ready returns what keeps this name server from answering, nil for nothing.
func (s *Server) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("stopped")
	case !s.started:
		return errors.New("starting")
	}
	return nil
}

func (s *Server) collect(w *metrics.Writer) {
	w.Bool(famReady, s.Ready() == nil)
	w.Value(famStart, float64(s.begun.UnixMilli())/float64(time.Second/time.Millisecond))
	names, addrs, topics := s.table.Counts()
	w.Value(famNames, float64(names))
	w.Value(famBrokers, float64(addrs))
	w.Value(famTopics, float64(topics))
	w.Value(famExpired, float64(s.expired.Load()))
	w.Value(famLeft, float64(s.left.Load()))
	w.Value(famRegistrar, float64(s.registered.Load()))
	s.mu.Lock()
	srv := s.remoting
	s.mu.Unlock()
	if srv != nil {
		w.Value(famConns, float64(srv.Conns()))
	}
	s.calls.Write(w, famCalls)
}
