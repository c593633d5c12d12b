package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/namesrv"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// fakeBroker answers GET_BROKER_RUNTIME_INFO with the given table.
func fakeBroker(t *testing.T, table map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv, err := remoting.NewServer(remoting.ServerConfig{Listener: l, Name: "fake", Handler: func(call remoting.Call, req *protocol.Command) {
		call.Reply(&protocol.Response{Body: protocol.Encode(&protocol.KVTable{Table: table})})
		req.Release()
	}})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return l.Addr().String()
}

func health(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"health"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String()
}

func TestHealthOfOneBroker(t *testing.T) {
	for _, c := range []struct {
		name  string
		table map[string]string
		code  int
		says  string
	}{
		{"ready", map[string]string{"raftRole": "follower", "raftTerm": "7", "raftLeaderId": "n1", "registered": "true"}, 0, "follower of term 7, leader is n1"},
		{"no leader", map[string]string{"raftRole": "candidate", "raftTerm": "8", "raftLeaderId": "", "registered": "true"}, exitUnhealthy, "candidate of term 8; its group has no leader"},
		{"not registered", map[string]string{"raftRole": "leader", "raftTerm": "8", "raftLeaderId": "n0", "registered": "false"}, exitUnhealthy, "no name server took its registration yet"},
		{"a Java broker", map[string]string{"brokerVersion": "401"}, 0, "answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := health(t, "-b", fakeBroker(t, c.table))
			require.Equal(t, c.code, code, out)
			require.Contains(t, out, c.says)
		})
	}
}

func TestHealthOfACluster(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := namesrv.DefaultConfig()
	cfg.Listener, cfg.KVConfigPath, cfg.ConfigStorePath = l, "", ""
	srv, err := namesrv.New(cfg)
	require.NoError(t, err)
	require.NoError(t, srv.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	ns := l.Addr().String()

	code, out := health(t, "-n", ns, "--namesrv-only")
	require.Zero(t, code, out)
	code, out = health(t, "-n", ns)
	require.Equal(t, exitUnhealthy, code)
	require.Contains(t, out, "none is registered")

	follower := fakeBroker(t, map[string]string{"raftRole": "follower", "raftTerm": "2", "raftLeaderId": "n0", "registered": "true"})
	register(t, srv, follower, 2)
	code, out = health(t, "-n", ns)
	require.Equal(t, exitUnhealthy, code)
	require.Contains(t, out, "broker broker-a: name server "+ns)

	leader := fakeBroker(t, map[string]string{"raftRole": "leader", "raftTerm": "2", "raftLeaderId": "n0", "registered": "true"})
	done := make(chan int, 1)
	go func() {
		var out, errs bytes.Buffer
		done <- run(t.Context(), []string{"health", "-n", ns, "--wait", "30s"}, strings.NewReader(""), &out, &errs)
	}()
	register(t, srv, leader, 0)
	require.Zero(t, <-done, "it waits until the leader is there")
}

func TestHealthOfNothing(t *testing.T) {
	code, out := health(t, "-n", "127.0.0.1:1", "--timeout", "2s")
	require.Equal(t, exitUnhealthy, code)
	require.Contains(t, out, "name server 127.0.0.1:1: ")
}

func register(t *testing.T, srv *namesrv.Server, addr string, id int64) {
	t.Helper()
	_, err := srv.Table().Register(namesrv.Registration{Cluster: "c", Broker: "broker-a", Addr: addr, ID: id}, time.Now())
	require.NoError(t, err)
}
