package namesrv

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/remoting/protocol"
)

func external(a string) func(*Registration) { return func(r *Registration) { r.External = a } }

func TestAudienceFollowsTheAskersAddress(t *testing.T) {
	for _, c := range []struct {
		setting string
		asker   string
		want    Audience
	}{
		{"", "203.0.113.9", Inside},
		{"172.18.0.0/16;!172.18.0.1", "172.18.0.7", Inside},
		{"172.18.0.0/16;!172.18.0.1", "::ffff:172.18.0.7", Inside},
		{"172.18.0.0/16;!172.18.0.1", "172.18.0.1", Outside},
		{"172.18.0.0/16;!172.18.0.1", "::ffff:172.18.0.1", Outside},
		{"172.18.0.0/16;!172.18.0.1", "192.168.65.1", Outside},
		{"172.18.0.0/16;!172.18.0.1", "127.0.0.1", Inside},
		{"172.18.0.0/16 , fd00::/8", "fd00::5%eth0", Inside},
		{"10.0.0.5", "10.0.0.5", Inside},
		{"10.0.0.5", "10.0.0.6", Outside},
	} {
		n, err := parseNetworks(c.setting)
		require.NoError(t, err)
		require.Equal(t, c.want, n.audience(netip.MustParseAddr(c.asker)), "%s asks %q", c.asker, c.setting)
	}
}

func TestBadNetworksAreNamed(t *testing.T) {
	for _, setting := range []string{"10.0.0.0/33", "x", "!10.0.0.1", "10.0.0.0/8;!y", ";"} {
		cfg := DefaultConfig()
		cfg.InternalNetworks = setting
		require.ErrorContains(t, cfg.Validate(), "internalNetworks="+`"`+setting+`"`)
	}
}

func TestGatewaysAreReadFromTheRoutingTable(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"eth1\t0000000A\tFE01000A\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\ngarbage\n"
	got, err := readGateways(strings.NewReader(table))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("172.18.0.1"), netip.MustParseAddr("10.0.1.254")}, got)
}

func TestAutoKnowsThisMachine(t *testing.T) {
	n, err := parseNetworks("auto")
	require.NoError(t, err)
	require.Equal(t, Inside, n.audience(netip.MustParseAddr("127.0.0.1")))
	require.Equal(t, Outside, n.audience(netip.MustParseAddr("203.0.113.9")), "a documentation address is in nobody's network: %s", n.String())
	for _, g := range n.gateways {
		require.Equal(t, Outside, n.audience(g))
	}
}

func TestOutsidersAreToldExternalAddresses(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	mustRegister(t, table, 0, master(term(1), external("127.0.0.1:10911"), digest(7)))
	mustRegister(t, table, 0, master(term(1), addr(2), id(2), topics())) // has none

	body := func(a Audience) string {
		b, ok := table.Route([]byte("T1"), Standard, a)
		require.True(t, ok)
		return string(b)
	}
	require.Contains(t, body(Inside), `"brokerAddrs":{"0":"10.0.0.1:10911","2":"10.0.0.2:10911"}`)
	require.Contains(t, body(Outside), `"brokerAddrs":{"0":"127.0.0.1:10911","2":"10.0.0.2:10911"}`)
	require.Contains(t, string(table.ClusterInfo(Inside)), `{0:"10.0.0.1:10911",2:"10.0.0.2:10911"}`)
	require.Contains(t, string(table.ClusterInfo(Outside)), `{0:"127.0.0.1:10911",2:"10.0.0.2:10911"}`)
	_, told := table.SystemTopics(Outside)
	require.Equal(t, "127.0.0.1:10911", told)

	// The short way must not hide that the external address changed.
	moved := master(term(1), external("192.0.2.1:10911"), digest(7))
	_, ok := table.Refresh(moved, at(1))
	require.False(t, ok)
	mustRegister(t, table, 1, moved)
	require.Contains(t, body(Outside), `"0":"192.0.2.1:10911"`)
	mustRegister(t, table, 2, master(term(1), digest(7)))
	require.Contains(t, body(Outside), `"0":"10.0.0.1:10911"`)
}

func TestSharedExternalAddressIsReported(t *testing.T) {
	table := NewRouteTable(TableConfig{})
	require.Empty(t, mustRegister(t, table, 0, master(external("127.0.0.1:10911"))).ExternalShared)
	twice := mustRegister(t, table, 0, master(addr(2), id(2), topics(), external("127.0.0.1:10911")))
	require.Equal(t, "10.0.0.1:10911", twice.ExternalShared)
	require.Empty(t, mustRegister(t, table, 1, master(addr(2), id(2), topics(), external("127.0.0.1:10911"))).ExternalShared, "said once")
}

func TestExternalAddressComesWithTheRegistration(t *testing.T) {
	s := newServer(t, func(c *Config) { c.InternalNetworks = "10.0.0.0/8" })
	requireOK(t, ask(t, s, 103, brokerFields+" cometExternalAddr=mq.example.org:10911", protocol.Encode(tableBody(v1(1, 7), t1(4)))))
	body, ok := s.Table().Route([]byte("T1"), Standard, Outside)
	require.True(t, ok)
	require.Contains(t, string(body), `"0":"mq.example.org:10911"`)
	bad := ask(t, s, 103, brokerFields+` cometExternalAddr=mq.example.org`, protocol.Encode(tableBody(v1(1, 7), t1(4))))
	require.Equal(t, protocol.StatusSystemError, bad.Code)
	require.Contains(t, bad.Remark, "external address")
}
