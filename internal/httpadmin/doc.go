// Package httpadmin is the HTTP port of a server, for machines that watch it:
//
//	/metrics  what Prometheus scrapes (metricsExporterType=PROM)
//	/livez    200 as long as the process serves this port
//	/readyz   200 when it can do its work, else 503 and the reasons, one a line
//	/debug/pprof/  only while pprofEnable is true
//
// It opens before the server does, so that a long recovery looks alive and not
// ready, and closes after it. Nothing that it answers changes anything.
//
// Callers: cmd/mqbroker, cmd/mqnamesrv.
package httpadmin
