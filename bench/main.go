package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/internal/local"
)

// config is the command line.
type config struct {
	Nodes       int           `json:"nodes"`
	Groups      int           `json:"groups"`
	Size        int           `json:"bodyBytes"`
	Outstanding int           `json:"outstanding"`
	Connections int           `json:"connections"`
	Topics      int           `json:"topics"`
	Unique      bool          `json:"uniqueIds"`
	Warmup      time.Duration `json:"warmupNs"`
	Window      time.Duration `json:"windowNs"`

	binDir, dir, flush, output string
}

func main() {
	var c config
	flag.StringVar(&c.binDir, "bin", "bin", "directory of mqnamesrv and mqbroker")
	flag.StringVar(&c.dir, "dir", "", "directory for the clusters' data (default: a temporary one)")
	flag.StringVar(&c.flush, "flush", "async,sync", "flush modes to measure, one cluster each")
	flag.IntVar(&c.Nodes, "nodes", 3, "members of each group")
	flag.IntVar(&c.Groups, "groups", 1, "replica groups, over which each topic spreads")
	flag.IntVar(&c.Size, "size", 128, "bytes of a message body")
	flag.IntVar(&c.Outstanding, "outstanding", 512, "sends under way, one message each")
	flag.IntVar(&c.Connections, "connections", 8, "connections they share")
	flag.IntVar(&c.Topics, "topics", 1, "topics, with 8 queues each, that the messages spread over")
	flag.BoolVar(&c.Unique, "unique", true, "give each message a unique id, as clients do; the broker indexes it")
	flag.DurationVar(&c.Warmup, "warmup", 3*time.Second, "load before the measurement")
	flag.DurationVar(&c.Window, "window", 10*time.Second, "length of the measurement")
	flag.StringVar(&c.output, "o", "table", "table or json")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	if c.Outstanding < 1 || c.Connections < 1 || c.Topics < 1 || c.Size < 1 || c.Groups < 1 {
		return fmt.Errorf("-outstanding, -connections, -topics, -groups and -size must be at least 1")
	}
	rep := report{Machine: machine(), Command: strings.Join(os.Args, " "), Config: c}
	for _, flush := range strings.Split(c.flush, ",") {
		r, err := measureCluster(ctx, c, flush)
		if err != nil {
			return fmt.Errorf("%s flush: %w", flush, err)
		}
		rep.Results = append(rep.Results, *r)
	}
	if c.output == "json" {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	return rep.print(os.Stdout)
}

// measureCluster starts a cluster of its own for one flush mode and stops it
// again.
func measureCluster(ctx context.Context, c config, flush string) (r *result, err error) {
	dir, err := os.MkdirTemp(c.dir, "bench-"+flush+"-")
	if err != nil {
		return nil, fmt.Errorf("create a directory for the cluster: %w", err)
	}
	defer os.Remove(dir) // empty by then, unless the cluster could not be stopped
	port, err := local.FreeBasePort(c.Nodes * c.Groups)
	if err != nil {
		return nil, err
	}
	up, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	cluster, err := local.Up(up, local.Spec{Dir: dir, BasePort: port, Nodes: c.Nodes, Groups: c.Groups, Flush: flush, BinDir: c.binDir})
	if err != nil {
		return nil, err
	}
	defer func() {
		if derr := cluster.Down(true); err == nil {
			err = derr
		}
		cluster.Close()
	}()
	started := time.Since(began)
	idle, err := idleRSS(ctx, cluster)
	if err != nil {
		return nil, err
	}
	r, err = measure(ctx, c, cluster)
	if err != nil {
		return nil, err
	}
	r.Flush, r.StartMs, r.IdleRSSMax = flush, started.Milliseconds(), idle
	return r, nil
}
