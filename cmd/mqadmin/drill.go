package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/drill"
	"github.com/cometmq/cometmq/internal/local"
)

// drillOptions are the flags that all drills share.
type drillOptions struct {
	spec        local.Spec
	trials      int
	goOn        time.Duration
	outstanding int
	output      string
	html        string
	clients     []string
	programs    map[string]*string // paths of load programs, by client
}

func drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break a local cluster under load and prove that nothing acknowledged is lost",
		Long: `Break a local cluster under load and prove that nothing acknowledged is lost.

Without --dir the drill starts a cluster of its own on free ports and removes it
afterwards; with --dir it uses the local cluster that runs there, or starts one.
It exits with 0 only if every trial kept every promise, with 3 if one was broken,
and with 1 if the drill could not be carried out.

The load is an eager client that looks for the leader all the time. --clients
eager,go,java adds the official clients, unmodified; "make drill-clients" builds
the programs that drive them. Drills that cut networks or fill volumes need root.`,
	}
	for _, d := range drill.Names() {
		cmd.AddCommand(oneDrillCommand(d[0], d[1]))
	}
	cmd.AddCommand(drillListCommand(), drillTableCommand())
	return cmd
}

func drillListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the drills", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows [][]string
			for _, d := range drill.Names() {
				rows = append(rows, []string{d[0], d[1]})
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
}

func drillTableCommand() *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "table REPORT.json...",
		Short: "Make one Markdown table of the JSON reports of several drills",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			reports, err := drill.ReadReports(files)
			if err != nil {
				return err
			}
			if into == "" {
				return drill.WriteTable(cmd.OutOrStdout(), reports)
			}
			return drill.ReplaceTable(into, reports)
		},
	}
	cmd.Flags().StringVar(&into, "into", "", "put it into this file, between the lines that mark its place")
	return cmd
}

func oneDrillCommand(name, about string) *cobra.Command {
	d := drillOptions{programs: map[string]*string{}}
	cmd := &cobra.Command{Use: name, Short: about, Args: cobra.NoArgs}
	f := cmd.Flags()
	f.StringVar(&d.spec.Dir, "dir", "", "directory of a local cluster, started when none runs there (default: a temporary one)")
	f.IntVar(&d.spec.BasePort, "base-port", 0, "first port of a cluster that the drill starts; 0 finds free ones")
	f.IntVar(&d.spec.Nodes, "nodes", 3, "members of a cluster that the drill starts")
	f.StringVar(&d.spec.Flush, "flush", local.FlushSync, "sync or async, of a cluster that the drill starts")
	f.StringToStringVar(&d.spec.Settings, "set", nil, "a key of broker.conf of a cluster that the drill starts: --set standInBrokers=1")
	f.BoolVar(&d.spec.HoldPorts, "hold-ports", false, "keep the ports for clients open while the processes behind them are dead, as systemd's socket units do")
	f.IntVar(&d.trials, "trials", 1, "how often to do it")
	if drill.GoesOn(name) {
		f.DurationVar(&d.goOn, "for", 0, "for how long, instead of a number of times: --for 10m")
	}
	f.IntVar(&d.outstanding, "outstanding", 64, "senders of the eager client, each with one message under way")
	f.StringSliceVar(&d.clients, "clients", []string{"eager"}, "eager, go, java: who sends and consumes; eager is always there")
	for _, client := range drill.StockNames {
		path := new(string)
		d.programs[client] = path
		f.StringVar(path, "client-"+client, "", "load program of the official "+client+" client (default: where make drill-clients puts it)")
	}
	f.StringVar(&d.html, "html", "", "write the report with its timelines into this file too")
	outputFlag(cmd, &d.output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if d.trials < 1 || d.outstanding < 1 {
			return errors.New("--trials and --outstanding must be at least 1")
		}
		if d.goOn < 0 {
			return fmt.Errorf("--for %v must not be negative", d.goOn)
		}
		return d.run(cmd, name)
	}
	return cmd
}

func (d *drillOptions) run(cmd *cobra.Command, name string) error {
	clients, err := d.stock()
	if err != nil {
		return err
	}
	cfg, finish, err := d.stage(cmd, name)
	if err != nil {
		return err
	}
	cfg.Drill, cfg.Trials, cfg.For, cfg.Outstanding, cfg.Clients, cfg.Progress = name, d.trials, d.goOn, d.outstanding, clients, cmd.ErrOrStderr()
	rep, err := drill.Run(cmd.Context(), cfg)
	ok := err == nil && rep.Summary.Pass
	err = errors.Join(err, d.print(cmd.OutOrStdout(), rep), finish(ok))
	if err == nil && !ok {
		err = errDrillFailed
	}
	return err
}

// stock finds the load programs of the clients that were asked for.
func (d *drillOptions) stock() ([]drill.Stock, error) {
	var out []drill.Stock
	for _, name := range d.clients {
		if name == "eager" {
			continue
		}
		path, ok := d.programs[name]
		if !ok {
			return nil, fmt.Errorf("--clients %s is not known: eager, %s", name, strings.Join(drill.StockNames, ", "))
		}
		if *path == "" {
			*path = besideUs(map[string]string{"go": "stockload", "java": "stockload-java/interop.jar"}[name])
		}
		s, err := drill.StockProgram(name, *path)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// besideUs is a file in the directory of this program, links followed.
func besideUs(name string) string {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func (d *drillOptions) print(w io.Writer, rep *drill.Report) error {
	if rep == nil {
		return nil
	}
	var err error
	if d.html != "" {
		err = drill.WriteHTMLFile(d.html, rep)
	}
	if isData(d.output) {
		return errors.Join(err, printData(w, d.output, rep))
	}
	return errors.Join(err, rep.Print(w))
}

// stage returns the cluster to break, and what is to be done with it in the
// end: one that was running stays, one that the drill started is stopped, and a
// temporary directory is removed if all went well.
func (d *drillOptions) stage(cmd *cobra.Command, name string) (drill.Config, func(ok bool) error, error) {
	var none drill.Config
	running, err := d.running(cmd, name)
	if err != nil {
		return none, nil, err
	}
	if running != nil {
		return drill.Config{Cluster: running, Local: running}, func(bool) error { running.Close(); return nil }, nil
	}
	temporary := d.spec.Dir == ""
	if temporary {
		dir, err := os.MkdirTemp("", "mqadmin-drill-")
		if err != nil {
			return none, nil, fmt.Errorf("create a directory for the drill: %w", err)
		}
		d.spec.Dir = dir
	}
	if d.spec.BasePort == 0 {
		var err error
		if d.spec.BasePort, err = local.FreeBasePort(d.spec.Nodes); err != nil {
			return none, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
	defer cancel()
	s, err := drill.SetStage(ctx, name, d.spec)
	if err != nil {
		if temporary {
			err = errors.Join(err, removeEmpty(d.spec.Dir))
		}
		return none, nil, err
	}
	return drill.Config{Cluster: s.Local, Local: s.Local, Net: s.Net, Settings: maps.Clone(s.Settings), PortsHeld: d.spec.HoldPorts}, func(ok bool) error {
		if temporary && !ok {
			fmt.Fprintln(cmd.ErrOrStderr(), "the cluster's data and logs are kept in", s.Local.Dir)
		}
		return s.Strike(temporary && ok)
	}, nil
}

// removeEmpty removes a directory that we made and in which nothing has
// happened; one with logs is left to be looked at.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		return err
	}
	return os.Remove(dir)
}

// running returns the cluster that runs in --dir, or nil; of one that is down it
// keeps what it was made with.
func (d *drillOptions) running(cmd *cobra.Command, name string) (*local.Cluster, error) {
	if d.spec.Dir == "" {
		return nil, nil
	}
	c, err := local.Open(d.spec.Dir)
	if errors.Is(err, local.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if alive, all := c.Running(); alive < all {
		made := c.Spec()
		c.Close()
		keep(cmd, "base-port", &d.spec.BasePort, made.BasePort)
		keep(cmd, "nodes", &d.spec.Nodes, made.Nodes)
		keep(cmd, "flush", &d.spec.Flush, made.Flush)
		return nil, nil
	}
	refuse := func(format string, args ...any) (*local.Cluster, error) {
		c.Close()
		return nil, fmt.Errorf("the local cluster in %s "+format+"; stop it first, or choose another --dir", append([]any{d.spec.Dir}, args...)...)
	}
	needs, err := drill.NeedsOf(name)
	switch {
	case err != nil:
		c.Close()
		return nil, err
	case cmd.Flags().Changed("flush") && c.Flush() != d.spec.Flush:
		return refuse("runs with --flush %s", c.Flush())
	case len(d.spec.Settings) > 0:
		return refuse("runs already, without what --set says")
	case d.spec.HoldPorts:
		return refuse("runs already, and its ports are not held (--hold-ports)")
	case !needs.None():
		return refuse("was not started for drill %s, which needs more than an ordinary one", name)
	}
	return c, nil
}
