package namesrv

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/vfs"
)

// Config configures a Server. The tagged fields are the keys of RocketMQ's
// name server properties; see internal/config for the tags.
type Config struct {
	// ListenPort is the TCP port that brokers and clients connect to.
	ListenPort int `cfg:"listenPort" important:"true" min:"1" max:"65535"`
	// BindAddress is the host or address to listen on; empty means all.
	BindAddress string `cfg:"bindAddress"`
	// RocketmqHome is accepted because every RocketMQ image sets it; nothing is
	// read from there.
	RocketmqHome string `cfg:"rocketmqHome" env:"ROCKETMQ_HOME"`
	// KVConfigPath is the file of the key/value settings, the one thing kept on
	// disk. Empty keeps them in memory.
	KVConfigPath string `cfg:"kvConfigPath" important:"true"`
	// ConfigStorePath is the file that UPDATE_NAMESRV_CONFIG edits and start-up
	// reads; -c names another one. Empty keeps updates in memory.
	ConfigStorePath string `cfg:"configStorePath" important:"true"`
	// ProductEnvName and ClusterTest are read by RocketMQ's test tools only.
	ProductEnvName string `cfg:"productEnvName"`
	ClusterTest    bool   `cfg:"clusterTest"`
	// OrderMessageEnable puts the order configuration of a topic into its route;
	// Java producers then build their queue list from it.
	OrderMessageEnable bool `cfg:"orderMessageEnable" important:"true" live:"true"`
	// ScanInterval is how often expired brokers are looked for.
	ScanInterval time.Duration `cfg:"scanNotActiveBrokerInterval" unit:"ms" min:"100" max:"60000"`
	// BrokerExpiry is how long a broker stays in the routes without registering
	// again while its connection is open. A closed connection removes it at once.
	// Brokers register every 10 to 60 s, so less than 60 s drops living ones.
	BrokerExpiry time.Duration `cfg:"brokerExpiredTimeSeconds" unit:"s" min:"1" max:"3600"`
	// IdleTimeout closes a connection that neither sends nor receives.
	IdleTimeout time.Duration `cfg:"serverChannelMaxIdleTimeSeconds" unit:"s" min:"1" max:"86400"`
	// ConnectionsMax bounds open connections.
	ConnectionsMax int `cfg:"serverConnectionsMax" min:"1" max:"1000000"`
	// BrokersMax and TopicsMax bound what may be registered: broker addresses
	// and distinct topics.
	BrokersMax int `cfg:"brokersMax" min:"1" max:"100000"`
	TopicsMax  int `cfg:"topicsMax" min:"1" max:"10000000"`

	// InternalNetworks says who is told the brokers' own addresses; everybody else
	// is told their external ones (advertisedListeners of a broker). "" means
	// everybody; "auto" whoever shares a network with this process, except its
	// gateway, which is right in a container; else networks as 10.0.0.0/8,
	// separated by ";", and gateways to leave out as !10.0.0.1.
	InternalNetworks string `cfg:"internalNetworks"`

	// Metrics, probes and the log: config_server.go.
	MetricsConfig
	LogConfig

	// Listener is a listener to take over instead of ListenPort: one that somebody
	// else keeps open, or that of a test. The server closes it.
	Listener net.Listener
	// Logger takes the log; nil discards it.
	Logger hclog.Logger
	// FS holds the files; nil means the real disk.
	FS vfs.FS
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Settings is the set this Config was loaded by, so that requests can read
	// and change it. nil makes one of this Config.
	Settings *config.Set[Config]
}

// DefaultConfig returns RocketMQ's defaults, with the files in namesrv/ of the
// user's home directory.
func DefaultConfig() Config {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "." // a container without HOME: beside the process, not at the root
	}
	dir := filepath.Join(home, "namesrv")
	return Config{
		ListenPort:      9876,
		KVConfigPath:    filepath.Join(dir, "kvConfig.json"),
		ConfigStorePath: filepath.Join(dir, "namesrv.properties"),
		ProductEnvName:  "center",
		ScanInterval:    5 * time.Second,
		BrokerExpiry:    120 * time.Second,
		IdleTimeout:     120 * time.Second,
		ConnectionsMax:  16_384,
		BrokersMax:      4096,
		TopicsMax:       200_000,
		MetricsConfig:   defaultMetrics(),
		LogConfig:       defaultLog(),
	}
}

// InertKeys are keys of RocketMQ's name server without effect here, with the
// reason that start-up prints.
func InertKeys() map[string][]string {
	return map[string][]string{
		"there are no thread pools to size": {
			"serverWorkerThreads", "serverCallbackExecutorThreads", "serverSelectorThreads",
			"serverOnewaySemaphoreValue", "serverAsyncSemaphoreValue", "useEpollNativeSelector",
			"clientRequestThreadPoolNums", "defaultThreadPoolNums", "clientRequestThreadPoolQueueCapacity",
			"defaultThreadPoolQueueCapacity",
		},
		"the system sizes socket buffers": {
			"serverSocketSndBufSize", "serverSocketRcvBufSize", "serverSocketBacklog",
			"writeBufferHighWaterMark", "writeBufferLowWaterMark", "serverPooledByteBufAllocatorEnable",
		},
		"brokers elect their leader among themselves": {
			"enableControllerInNamesrv", "supportActingMaster", "notifyMinBrokerIdChanged",
		},
		"it belongs to RocketMQ 5": {
			"enableAllTopicList", "enableTopicList", "returnOrderTopicConfigToBroker",
			"needWaitForService", "waitSecondsForService", "deleteTopicWithBrokerRegistration",
			"unRegisterBrokerQueueCapacity", "configBlackList",
		},
	}
}

// Validate reports all rules between keys that do not hold.
func (c *Config) Validate() error {
	if c.BrokerExpiry < c.ScanInterval {
		return fmt.Errorf("brokerExpiredTimeSeconds (%s) is shorter than scanNotActiveBrokerInterval (%s): raise the one or lower the other",
			c.BrokerExpiry, c.ScanInterval)
	}
	if err := c.LogConfig.check(); err != nil {
		return err
	}
	_, err := parseNetworks(c.InternalNetworks)
	return err
}

// fill puts the defaults of the fields that have no key.
func (c *Config) fill() {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}
