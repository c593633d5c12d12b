package broker

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/config"
)

func settings(t *testing.T, text string) (*config.Set[Config], []string, error) {
	t.Helper()
	set, err := NewSettings()
	require.NoError(t, err)
	values, err := config.ParseText([]byte(text))
	require.NoError(t, err)
	warnings, err := set.Load(values, "test")
	if err == nil {
		err = set.Validate()
	}
	return set, warnings, err
}

// RocketMQ's own conf/dledger/broker-n0.conf, word for word in its keys.
func TestRocketMQsSampleFileIsUnderstood(t *testing.T) {
	set, warnings, err := settings(t, `
brokerClusterName = RaftCluster
brokerName=RaftNode00
listenPort=30911
namesrvAddr=127.0.0.1:9876
storePathRootDir=/home/rocketmq/store/node00
storePathCommitLog=/home/rocketmq/store/node00/commitlog
enableDLegerCommitLog=true
dLegerGroup=RaftNode00
dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913
## must be unique
dLegerSelfId=n0
sendMessageThreadPoolNums=16
`)
	require.NoError(t, err)
	require.Equal(t, []string{
		"key sendMessageThreadPoolNums has no effect here: requests run without thread pools",
		"key storePathCommitLog has no effect here: everything is kept below storePathRootDir",
	}, warnings)
	cfg := set.Current()
	require.Equal(t, "RaftNode00", cfg.brokerName())
	require.Equal(t, "n0", cfg.selfID())
	peers, err := cfg.peers()
	require.NoError(t, err)
	require.Equal(t, []dledger.Peer{{ID: "n0", Addr: "127.0.0.1:40911"}, {ID: "n1", Addr: "127.0.0.1:40912"}, {ID: "n2", Addr: "127.0.0.1:40913"}}, peers)
	require.EqualValues(t, 1, cfg.followerID(peers))
	require.Empty(t, cfg.raftBind(), "on all addresses")
}

func TestWithoutConfigurationTheGroupHasOneMember(t *testing.T) {
	cfg := DefaultConfig()
	require.NoError(t, cfg.Validate())
	peers, err := cfg.peers()
	require.NoError(t, err)
	require.Equal(t, []dledger.Peer{{ID: "n0", Addr: "127.0.0.1:10912"}}, peers)
	require.Equal(t, "n0", cfg.selfID())
	require.Equal(t, "127.0.0.1:10912", cfg.raftBind(), "not on the network")
	cfg.ListenPort = 65535
	peers, err = cfg.peers()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:65534", peers[0].Addr)
}

func TestBadSettingsNameKeyValueAndRemedy(t *testing.T) {
	group := "enableDLegerCommitLog=true\ndLegerGroup=g\n"
	for name, test := range map[string]struct{ text, want string }{
		"flush":        {"flushDiskType=SYNC", `flushDiskType="SYNC" is not allowed: flushDiskType expects one of ASYNC_FLUSH, SYNC_FLUSH`},
		"port":         {"listenPort=70000", `listenPort="70000" is not allowed`},
		"name":         {"brokerName=a.b", `brokerName="a.b" is not allowed`},
		"name server":  {"namesrvAddr=localhost", `"localhost" is not host:port`},
		"delay levels": {"messageDelayLevel=1s soon", `"soon"`},
		"no peers":     {group + "dLegerSelfId=n0", `dLegerPeers="" is not allowed`},
		"bad peer":     {group + "dLegerSelfId=n0\ndLegerPeers=127.0.0.1:40911", `is not id-host:port`},
		"self":         {group + "dLegerSelfId=n3\ndLegerPeers=n0-a:1;n1-b:1", `dLegerSelfId=n3 is not in dLegerPeers (n0,n1)`},
		"lease":        {"raftLeaderLeaseTimeout=400", `raftLeaderLeaseTimeout="400ms" is not allowed: at most raftHeartbeatTimeout, which is 300ms`},
		"election":     {"raftHeartbeatTimeout=900", `raftElectionTimeout="300ms" is not allowed: at least raftHeartbeatTimeout, which is 900ms`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := settings(t, test.text)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, _, err := settings(t, group+"dLegerSelfId=n3\ndLegerPeers=n0-a:1")
	require.ErrorIs(t, err, ErrUnknownSelf)
	_, warnings, err := settings(t, "flushDisktype=ASYNC_FLUSH")
	require.NoError(t, err)
	require.Equal(t, []string{"unknown key flushDisktype (did you mean flushDiskType?)"}, warnings)
}

func TestNames(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	require.NotEmpty(t, host)
	cfg := DefaultConfig()
	require.Len(t, cfg.brokerName(), len(host))
	require.NotContains(t, cfg.brokerName(), ".")
	cfg.DLedger, cfg.DLedgerGroup = true, "g"
	require.Equal(t, "g", cfg.brokerName())
	cfg.BrokerName = "b"
	require.Equal(t, "b", cfg.brokerName())
	require.Equal(t, "g", cfg.group())

	peers := []dledger.Peer{{ID: "n7"}, {ID: "left"}, {ID: "right"}}
	for id, want := range map[string]int64{"n7": 8, "left": 2, "right": 3} {
		cfg.DLedgerSelfID = id
		require.Equal(t, want, cfg.followerID(peers), id)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	cfg := DefaultConfig()
	for ip, want := range map[string]string{"10.1.2.3": "10.1.2.3", "localhost": "127.0.0.1", "::ffff:10.0.0.1": "10.0.0.1"} {
		cfg.IP1 = ip
		got, err := cfg.advertisedIP()
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
	cfg.IP1 = "auto"
	got, err := cfg.advertisedIP()
	require.NoError(t, err)
	require.True(t, got.Is4())
	cfg.IP1 = "no such host"
	_, err = cfg.advertisedIP()
	require.ErrorContains(t, err, `brokerIP1="no such host" is not allowed`)
}

func TestRegisterPeriodIsClamped(t *testing.T) {
	cfg := DefaultConfig()
	for set, want := range map[time.Duration]time.Duration{time.Second: 10 * time.Second, 20 * time.Second: 20 * time.Second, time.Hour: time.Minute} {
		cfg.RegisterPeriod = set
		require.Equal(t, want, cfg.registerPeriod())
	}
}
