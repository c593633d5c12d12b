package main

import (
	"io"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/httpadmin"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/namesrv"
)

// openLog makes the log that the settings ask for, and lets their changes change
// its levels.
func openLog(set *config.Set[namesrv.Config], early *logging.Early, stderr io.Writer) (*logging.Log, error) {
	o := set.Current().LogOptions()
	o.Stderr = stderr
	l, err := early.Open(o)
	if err != nil {
		return nil, err
	}
	set.OnUpdate(func(_, after *namesrv.Config, _ []string) {
		_ = l.SetLevels(after.LogLevel) // the text was checked before the update was taken
	})
	return l, nil
}

// startAdmin opens the HTTP port of metrics and probes; nil without one. It is
// stopped last, so that the probes see the name server stop.
func startAdmin(srv *namesrv.Server, set *config.Set[namesrv.Config], log hclog.Logger) (*httpadmin.Server, error) {
	cfg := set.Current()
	if cfg.ExporterType != namesrv.ExporterProm {
		return nil, nil
	}
	registry, err := srv.NewMetrics(version)
	if err != nil {
		return nil, err
	}
	return httpadmin.StartUnlessTaken(httpadmin.Config{
		Addr: httpadmin.JoinHostPort(cfg.ExporterHost, cfg.ExporterPort), PortKey: namesrv.KeyExporterPort,
		Name: "mqnamesrv", Metrics: registry.Handler(), Ready: srv.Ready, Logger: log.Named("http"),
		Pprof: func() bool { return set.Current().Pprof },
	}, set.Source(namesrv.KeyExporterPort) != "default")
}
