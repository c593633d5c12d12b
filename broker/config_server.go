package broker

import (
	"fmt"
	"path/filepath"

	"github.com/cometmq/cometmq/internal/logging"
)

// MetricsConfig says what the broker shows to machines that watch it.
type MetricsConfig struct {
	// ExporterType PROM opens an HTTP port with /metrics, /livez and /readyz; DISABLE
	// opens none. ExporterPort is the port; 0 takes any free one, which the log
	// names. Unless it was set, a taken port is a warning and not an error, so that
	// brokers beside each other start. ExporterHost is the address to listen on;
	// empty means all.
	ExporterType string `cfg:"metricsExporterType" enum:"PROM,DISABLE" important:"true"`
	ExporterPort int    `cfg:"metricsPromExporterPort" important:"true" min:"0" max:"65535"`
	ExporterHost string `cfg:"metricsPromExporterHost"`
	// Dialect chooses the names of metrics: NATIVE those of RocketMQ 5, EXPORTER those
	// of rocketmq-exporter, BOTH. Our own, rmq_…, are always there.
	Dialect string `cfg:"metricsExporterDialect" enum:"NATIVE,EXPORTER,BOTH" live:"true"`
	// SeriesMax bounds the series of one metric. What is beyond is left out, and
	// rmq_metrics_series_dropped_total counts it.
	SeriesMax int `cfg:"metricsSeriesMax" min:"100" max:"1000000"`
	// Pprof serves Go's profiles at /debug/pprof/ of the same port. They show
	// stacks and memory, and taking one costs time.
	Pprof bool `cfg:"pprofEnable" live:"true"`
}

// LogConfig says where the log goes.
type LogConfig struct {
	// LogFormat is text for people, json for machines.
	LogFormat string `cfg:"logFormat" enum:"text,json" env:"COMETMQ_LOG_FORMAT"`
	// LogLevel is trace, debug, info, warn, error or off, and may name other levels
	// for parts: "info,dledger=debug,broker.clients=warn". The names are those at
	// the front of each line.
	LogLevel string `cfg:"logLevel" live:"true" env:"COMETMQ_LOG_LEVEL"`
	// LogDir is the directory of broker.log, for example ~/logs/rocketmqlogs written
	// out; empty logs to standard error. A file of LogFileBytes is moved to
	// otherdays/broker.1.log there, and LogFiles such files are kept.
	LogDir       string `cfg:"logDir"`
	LogFileBytes int64  `cfg:"logFileSizeMax" min:"65536" max:"17179869184"`
	LogFiles     int    `cfg:"logFilesMax" min:"1" max:"1000"`
	// IsolateLog puts broker.log into a directory of LogDir that is named after the
	// broker and the member, broker-a_n0, for several brokers on one machine.
	IsolateLog bool `cfg:"isolateLogEnable"`
}

// Values of Dialect.
const (
	dialectNative   = "NATIVE"
	dialectExporter = "EXPORTER"
)

// ExporterProm is the value of metricsExporterType that opens the port.
const ExporterProm = "PROM"

// KeyExporterPort is the key of ExporterPort; whether it was set decides what a
// taken port means.
const KeyExporterPort = "metricsPromExporterPort"

func defaultMetrics() MetricsConfig {
	return MetricsConfig{ExporterType: ExporterProm, ExporterPort: 5557, Dialect: dialectNative, SeriesMax: 20_000}
}

func defaultLog() LogConfig {
	return LogConfig{LogFormat: logging.Text, LogLevel: "info", LogFileBytes: 128 << 20, LogFiles: 10}
}

func (c *MetricsConfig) native() bool   { return c.Dialect != dialectExporter }
func (c *MetricsConfig) exporter() bool { return c.Dialect != dialectNative }

// check reports a level text that cannot be read.
func (c *LogConfig) check() error {
	if _, err := logging.ParseLevels(c.LogLevel); err != nil {
		return fmt.Errorf("logLevel=%q is not allowed: %w", c.LogLevel, err)
	}
	return nil
}

// LogOptions are the settings of the log, without the stream it falls back to.
func (c Config) LogOptions() logging.Options {
	dir := c.LogDir
	if dir != "" && c.IsolateLog {
		dir = filepath.Join(dir, c.brokerName()+"_"+c.selfID())
	}
	return logging.Options{
		Format: c.LogFormat, Levels: c.LogLevel, Dir: dir, Name: "broker.log", FileBytesMax: c.LogFileBytes, FilesMax: c.LogFiles,
	}
}
