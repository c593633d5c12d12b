package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/drill"
	"github.com/cometmq/cometmq/internal/local"
)

// drillOptions are the flags that all drills share.
type drillOptions struct {
	spec        local.Spec
	trials      int
	outstanding int
	output      string
}

func drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break a local cluster under load and prove that nothing acknowledged is lost",
		Long: `Break a local cluster under load and prove that nothing acknowledged is lost.

Without --dir the drill starts a cluster of its own on free ports and removes it
afterwards; with --dir it uses the local cluster that runs there, or starts one.
It exits with 0 only if every trial kept every promise.`,
	}
	for _, d := range drill.Names() {
		cmd.AddCommand(oneDrillCommand(d[0], d[1]))
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the drills", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows [][]string
			for _, d := range drill.Names() {
				rows = append(rows, []string{d[0], d[1]})
			}
			return table(cmd.OutOrStdout(), rows)
		},
	})
	return cmd
}

func oneDrillCommand(name, about string) *cobra.Command {
	var d drillOptions
	cmd := &cobra.Command{Use: name, Short: about, Args: cobra.NoArgs}
	f := cmd.Flags()
	f.StringVar(&d.spec.Dir, "dir", "", "directory of a local cluster, started when none runs there (default: a temporary one)")
	f.IntVar(&d.spec.BasePort, "base-port", 0, "first port of a cluster that the drill starts; 0 finds free ones")
	f.IntVar(&d.spec.Nodes, "nodes", 3, "members of a cluster that the drill starts")
	f.StringVar(&d.spec.Flush, "flush", local.FlushSync, "sync or async, of a cluster that the drill starts")
	f.IntVar(&d.trials, "trials", 1, "how often to do it")
	f.IntVar(&d.outstanding, "outstanding", 64, "senders, each with one message under way")
	outputFlag(cmd, &d.output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if d.trials < 1 || d.outstanding < 1 {
			return errors.New("--trials and --outstanding must be at least 1")
		}
		return d.run(cmd, name)
	}
	return cmd
}

func (d *drillOptions) run(cmd *cobra.Command, name string) error {
	cluster, finish, err := d.cluster(cmd)
	if err != nil {
		return err
	}
	rep, err := drill.Run(cmd.Context(), drill.Config{
		Drill: name, Cluster: cluster, Trials: d.trials, Outstanding: d.outstanding, Progress: cmd.ErrOrStderr(),
	})
	ok := err == nil && rep.Summary.Pass
	err = errors.Join(err, d.print(cmd.OutOrStdout(), rep), finish(ok))
	if err == nil && !ok {
		err = errDrillFailed
	}
	return err
}

func (d *drillOptions) print(w io.Writer, rep *drill.Report) error {
	switch {
	case rep == nil:
		return nil
	case d.output == "json":
		return printJSON(w, rep)
	default:
		return rep.Print(w)
	}
}

// cluster returns the cluster to break, and what is to be done with it in the
// end: one that was running stays, one that the drill started is stopped, and a
// temporary directory is removed if all went well.
func (d *drillOptions) cluster(cmd *cobra.Command) (*local.Cluster, func(ok bool) error, error) {
	temporary := d.spec.Dir == ""
	if !temporary {
		c, err := local.Open(d.spec.Dir)
		if err == nil {
			alive, all := c.Running()
			if alive == all {
				if cmd.Flags().Changed("flush") && c.Flush() != d.spec.Flush {
					c.Close()
					return nil, nil, fmt.Errorf("the local cluster in %s runs with --flush %s; stop it first, or choose another --dir", d.spec.Dir, c.Flush())
				}
				return c, func(bool) error { c.Close(); return nil }, nil
			}
			made := c.Spec()
			c.Close()
			keep(cmd, "base-port", &d.spec.BasePort, made.BasePort)
			keep(cmd, "nodes", &d.spec.Nodes, made.Nodes)
			keep(cmd, "flush", &d.spec.Flush, made.Flush)
		}
	} else {
		dir, err := os.MkdirTemp("", "mqadmin-drill-")
		if err != nil {
			return nil, nil, fmt.Errorf("create a directory for the drill: %w", err)
		}
		d.spec.Dir = dir
	}
	if d.spec.BasePort == 0 {
		var err error
		if d.spec.BasePort, err = local.FreeBasePort(d.spec.Nodes); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
	defer cancel()
	c, err := local.Up(ctx, d.spec)
	if err != nil {
		return nil, nil, fmt.Errorf("start a cluster for the drill: %w", err)
	}
	return c, func(ok bool) error {
		defer c.Close()
		if temporary && !ok {
			fmt.Fprintln(cmd.ErrOrStderr(), "the cluster's data and logs are kept in", c.Dir)
		}
		return c.Down(temporary && ok)
	}, nil
}
