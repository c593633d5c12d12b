package namesrv

import (
	"fmt"

	"github.com/cometmq/cometmq/internal/logging"
)

// MetricsConfig says what the name server shows to machines that watch it.
type MetricsConfig struct {
	// ExporterType PROM opens an HTTP port with /metrics, /livez and /readyz; DISABLE
	// opens none. ExporterPort is the port; 0 takes any free one, which the log
	// names. Unless it was set, a taken port is a warning and not an error.
	// ExporterHost is the address to listen on; empty means all.
	ExporterType string `cfg:"metricsExporterType" enum:"PROM,DISABLE" important:"true"`
	ExporterPort int    `cfg:"metricsPromExporterPort" important:"true" min:"0" max:"65535"`
	ExporterHost string `cfg:"metricsPromExporterHost"`
	// Pprof serves Go's profiles at /debug/pprof/ of the same port.
	Pprof bool `cfg:"pprofEnable" live:"true"`
}

// LogConfig says where the log goes.
type LogConfig struct {
	// LogFormat is text for people, json for machines.
	LogFormat string `cfg:"logFormat" enum:"text,json" env:"COMETMQ_LOG_FORMAT"`
	// LogLevel is trace, debug, info, warn, error or off, and may name other levels
	// for parts: "info,namesrv=debug".
	LogLevel string `cfg:"logLevel" live:"true" env:"COMETMQ_LOG_LEVEL"`
	// LogDir is the directory of namesrv.log; empty logs to standard error. A file of
	// LogFileBytes is moved to otherdays/namesrv.1.log there, and LogFiles such files
	// are kept.
	LogDir       string `cfg:"logDir"`
	LogFileBytes int64  `cfg:"logFileSizeMax" min:"65536" max:"17179869184"`
	LogFiles     int    `cfg:"logFilesMax" min:"1" max:"1000"`
}

// ExporterProm is the value of metricsExporterType that opens the port.
const ExporterProm = "PROM"

// KeyExporterPort is the key of ExporterPort; whether it was set decides what a
// taken port means.
const KeyExporterPort = "metricsPromExporterPort"

// The port is not a broker's 5557, because the two often run side by side.
func defaultMetrics() MetricsConfig {
	return MetricsConfig{ExporterType: ExporterProm, ExporterPort: 5558}
}

func defaultLog() LogConfig {
	return LogConfig{LogFormat: logging.Text, LogLevel: "info", LogFileBytes: 128 << 20, LogFiles: 10}
}

// check reports a level text that cannot be read.
func (c *LogConfig) check() error {
	if _, err := logging.ParseLevels(c.LogLevel); err != nil {
		return fmt.Errorf("logLevel=%q is not allowed: %w", c.LogLevel, err)
	}
	return nil
}

// LogOptions are the settings of the log, without the stream it falls back to.
func (c *LogConfig) LogOptions() logging.Options {
	return logging.Options{
		Format: c.LogFormat, Levels: c.LogLevel, Dir: c.LogDir, Name: "namesrv.log", FileBytesMax: c.LogFileBytes, FilesMax: c.LogFiles,
	}
}
