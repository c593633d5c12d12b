package main

import (
	"io"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/httpadmin"
	"github.com/cometmq/cometmq/internal/logging"
)

// openLog makes the log that the settings ask for, and lets their changes change
// its levels.
func openLog(set *config.Set[broker.Config], early *logging.Early, stderr io.Writer) (*logging.Log, error) {
	o := set.Current().LogOptions()
	o.Stderr = stderr
	l, err := early.Open(o)
	if err != nil {
		return nil, err
	}
	set.OnUpdate(func(_, after *broker.Config, _ []string) {
		_ = l.SetLevels(after.LogLevel) // the text was checked before the update was taken
	})
	return l, nil
}

// startAdmin opens the HTTP port of metrics and probes; nil without one. It is
// stopped last, so that the probes see the broker stop.
func startAdmin(b *broker.Broker, set *config.Set[broker.Config], log hclog.Logger) (*httpadmin.Server, error) {
	cfg := set.Current()
	if cfg.ExporterType != broker.ExporterProm {
		return nil, nil
	}
	registry, err := b.NewMetrics(version)
	if err != nil {
		return nil, err
	}
	return httpadmin.StartUnlessTaken(httpadmin.Config{
		Addr: httpadmin.JoinHostPort(cfg.ExporterHost, cfg.ExporterPort), PortKey: broker.KeyExporterPort,
		Name: "mqbroker " + b.Name(), Metrics: registry.Handler(), Ready: b.Ready, Logger: log.Named("http"),
		Pprof: func() bool { return set.Current().Pprof },
	}, set.Source(broker.KeyExporterPort) != "default")
}
