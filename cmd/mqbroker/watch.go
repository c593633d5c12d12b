package main

import (
	"errors"
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
	l, err := logging.Open(o)
	if err != nil {
		return nil, err
	}
	early.Replay(l.Logger())
	set.OnUpdate(func(_, after *broker.Config, _ []string) {
		// The text was checked before the update was taken.
		_ = l.SetLevels(after.LogLevel)
	})
	return l, nil
}

// startAdmin opens the HTTP port of metrics and probes; nil without one. A taken
// port that nobody asked for is no reason not to start.
func startAdmin(b *broker.Broker, set *config.Set[broker.Config], log hclog.Logger) (*httpadmin.Server, error) {
	cfg := set.Current()
	if cfg.ExporterType != broker.ExporterProm {
		return nil, nil
	}
	registry, err := b.NewMetrics(version)
	if err != nil {
		return nil, err
	}
	s, err := httpadmin.Start(httpadmin.Config{
		Addr: httpadmin.JoinHostPort(cfg.ExporterHost, cfg.ExporterPort), PortKey: broker.KeyExporterPort,
		Name: "mqbroker " + b.Name(), Metrics: registry.Handler(), Ready: b.Ready, Logger: log.Named("http"),
		Pprof: func() bool { return set.Current().Pprof },
	})
	if errors.Is(err, httpadmin.ErrPortInUse) && set.Source(broker.KeyExporterPort) == "default" {
		log.Warn("no metrics and no probes", "reason", err)
		return nil, nil
	}
	if err == nil {
		log.Info("metrics and probes", "addr", s.Addr().String(), "paths", "/metrics /livez /readyz")
	}
	return s, err
}

// closeAdmin ends the HTTP port, last, so that the probes see the broker stop.
func closeAdmin(s *httpadmin.Server, log hclog.Logger) {
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		log.Debug("the HTTP port did not close cleanly", "error", err)
	}
}
