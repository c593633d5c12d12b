package deploy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/namesrv"
)

// composeFile is what the tests look at in docker-compose.yml.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Profiles    []string
		Ports       []string
		Volumes     []string
		ReadOnly    bool `yaml:"read_only"`
		Environment map[string]string
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

var absent = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

// readCompose parses the file with no variable set.
func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	var c composeFile
	require.NoError(t, yaml.Unmarshal(absent.ReplaceAll(text, []byte("$1")), &c))
	return c
}

// TestComposeStartsOnlyOurOwnImage keeps pulling out of everything but the
// monitoring profile.
func TestComposeStartsOnlyOurOwnImage(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if len(s.Profiles) == 1 && s.Profiles[0] == "monitoring" {
			require.Regexp(t, `^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$`, s.Image, "%s: an image that is pulled names its version", name)
			continue
		}
		require.Equal(t, "cometmq:local", s.Image, name)
		require.True(t, s.ReadOnly, name)
		require.Equal(t, []string{"CMD", "mqadmin", "health"}, s.Healthcheck.Test[:3], name)
	}
}

// TestComposeCommandsAreAccepted starts nothing, but parses and checks every
// server's command as the program does.
func TestComposeCommandsAreAccepted(t *testing.T) {
	home(t)
	c := readCompose(t)
	brokers := map[string][]broker.Config{}
	for name, s := range c.Services {
		if s.Image != "cometmq:local" {
			continue // of another project
		}
		words := s.Command
		flags, err := config.ParseFlags(words[1:])
		require.NoError(t, err, name)
		if words[0] == "mqnamesrv" {
			set, err := config.New(namesrv.DefaultConfig())
			require.NoError(t, err)
			warnings, err := set.Load(flags.Values, name)
			require.NoError(t, err, name)
			require.Empty(t, warnings, name)
			require.NoError(t, set.Validate())
			require.Equal(t, "auto", set.Current().InternalNetworks)
			require.Contains(t, s.Volumes, name+":/home/rocketmq/namesrv")
			continue
		}
		require.Equal(t, "mqbroker", words[0], name)
		set, err := broker.NewSettings()
		require.NoError(t, err)
		warnings, err := set.Load(flags.Values, name)
		require.NoError(t, err, name)
		require.Empty(t, warnings, name)
		require.NoError(t, set.Validate(), name)
		cfg := *set.Current()
		number := strings.TrimPrefix(cfg.DLedgerSelfID, "n")
		require.Equal(t, name, cfg.BrokerName+"-"+number, "service, broker name and self id go together")
		require.Contains(t, cfg.DLedgerPeers, fmt.Sprintf("%s-%s:40911", cfg.DLedgerSelfID, name))
		require.Contains(t, s.Volumes, name+":"+cfg.StoreRoot)
		require.Equal(t, "namesrv-0:9876;namesrv-1:9876", s.Environment["NAMESRV_ADDR"])

		// Clients on the host dial what is published, and the VIP port two below.
		var port int
		_, err = fmt.Sscanf(cfg.AdvertisedListeners, "internal://"+name+":10911,external://127.0.0.1:%d", &port)
		require.NoError(t, err, cfg.AdvertisedListeners)
		require.Equal(t, []string{fmt.Sprintf("127.0.0.1:%d:10911", port), fmt.Sprintf("127.0.0.1:%d:10909", port-2)}, s.Ports, name)
		brokers[cfg.BrokerName] = append(brokers[cfg.BrokerName], cfg)
	}
	require.Len(t, brokers, 2)
	for name, group := range brokers {
		require.Len(t, group, 3, name)
		for _, cfg := range group {
			require.Equal(t, group[0].DLedgerPeers, cfg.DLedgerPeers, name)
		}
	}
}

func TestComposeDeclaresItsVolumes(t *testing.T) {
	c := readCompose(t)
	ports := map[string]string{}
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(volume, ".") {
				require.Contains(t, c.Volumes, volume, name)
			}
		}
		for _, p := range s.Ports {
			published := p[:strings.LastIndexByte(p, ':')]
			require.Empty(t, ports[published], "%s and %s publish %s", name, ports[published], published)
			ports[published] = name
		}
	}
}
