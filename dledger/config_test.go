package dledger

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store"
)

func validConfig() Config {
	return Config{
		Group:  "g",
		SelfID: "n0",
		Peers:  []Peer{{"n0", "127.0.0.1:40911"}, {"n1", "127.0.0.1:40912"}},
		Dir:    "d",
		Store:  &store.Store{},
		Exit:   func(error) {},
	}
}

func TestConfigDefaultsAreValid(t *testing.T) {
	c := validConfig()
	require.NoError(t, c.Validate())
	require.Equal(t, 4, c.withDefaults().EntriesInFlight)
	c.Sync = true
	require.Equal(t, 1, c.withDefaults().EntriesInFlight)
	c.HeartbeatTimeout = time.Second // the other timeouts follow
	require.NoError(t, c.Validate())
}

func TestConfigNamesKeyValueAndWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"group", func(c *Config) { c.Group = "" }, []string{"Group", `""`, "1 to 127"}},
		{"self not a peer", func(c *Config) { c.SelfID = "n9" }, []string{"SelfID", `"n9"`, "n0-127.0.0.1:40911;n1-127.0.0.1:40912"}},
		{"no peers", func(c *Config) { c.Peers = nil }, []string{"SelfID", "none"}},
		{"peer twice", func(c *Config) { c.Peers[1].ID = "n0" }, []string{"Peers", `"n0" twice`}},
		{"address twice", func(c *Config) { c.Peers[1].Addr = c.Peers[0].Addr }, []string{"same address 127.0.0.1:40911"}},
		{"address without port", func(c *Config) { c.Peers[1].Addr = "host" }, []string{`"n1"`, `"host"`, "host:port"}},
		{"address without host", func(c *Config) { c.Peers[1].Addr = ":40912" }, []string{`":40912"`, "host:port"}},
		{"lease", func(c *Config) { c.LeaderLeaseTimeout = time.Second }, []string{"LeaderLeaseTimeout", "1s", "HeartbeatTimeout, which is 300ms"}},
		{"short lease", func(c *Config) { c.LeaderLeaseTimeout = 20 * time.Millisecond }, []string{"LeaderLeaseTimeout", "20ms", "75ms"}},
		{"election", func(c *Config) { c.HeartbeatTimeout, c.ElectionTimeout = time.Second, 200*time.Millisecond }, []string{"ElectionTimeout", "200ms", "HeartbeatTimeout, which is 1s"}},
		{"in flight", func(c *Config) { c.EntriesInFlight = -1 }, []string{"EntriesInFlight", "-1", "1 to 64"}},
		{"store", func(c *Config) { c.Store = nil }, []string{"Store", "nil"}},
		{"exit", func(c *Config) { c.Exit = nil }, []string{"Exit", "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := validConfig()
			tt.change(&c)
			err := c.Validate()
			require.Error(t, err)
			for _, w := range tt.want {
				require.ErrorContains(t, err, w)
			}
			_, err = New(c)
			require.Error(t, err)
		})
	}
	both := validConfig()
	both.Group, both.Dir = "", ""
	require.ErrorContains(t, both.Validate(), "Group")
	require.ErrorContains(t, both.Validate(), "Dir", "all problems are reported at once")
}

func TestGenesisIsTheSameOnEveryMember(t *testing.T) {
	a := genesisOf([]Peer{{"n1", "h:2"}, {"n0", "h:1"}, {"n2", "h:3"}})
	b := genesisOf([]Peer{{"n2", "h:3"}, {"n0", "h:1"}, {"n1", "h:2"}})
	require.Equal(t, raft.EncodeConfiguration(a), raft.EncodeConfiguration(b))

	other := genesisOf([]Peer{{"n2", "h:3"}, {"n0", "h:1"}, {"n1", "h:9"}})
	require.NotEqual(t, fingerprint(raft.EncodeConfiguration(a)), fingerprint(raft.EncodeConfiguration(other)))
}

func TestCompareConfigurationNamesBoth(t *testing.T) {
	have := genesisOf([]Peer{{"n0", "h:1"}, {"n1", "h:2"}})
	require.Empty(t, compareConfiguration(have, []Peer{{"n1", "h:2"}, {"n0", "h:1"}}))
	diff := compareConfiguration(have, []Peer{{"n0", "h:1"}, {"n1", "h:7"}})
	require.Contains(t, diff, "n0-h:1;n1-h:2")
	require.Contains(t, diff, "n0-h:1;n1-h:7")
}
