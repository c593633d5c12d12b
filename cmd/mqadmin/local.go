package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/local"
)

func localCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "local", Short: "Run a name server and replica groups on this machine"}
	cmd.AddCommand(localUpCommand(), localDownCommand(), localStatusCommand(), localAddGroupCommand(), localRemoveGroupCommand(o),
		localAddMemberCommand(), localRemoveMemberCommand())
	return cmd
}

func dirFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "dir", local.DefaultDir, "directory of the cluster's data, settings and logs")
}

func localUpCommand() *cobra.Command {
	var spec local.Spec
	var foreground bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and return when its leader is registered",
		Args:  cobra.NoArgs,
	}
	dirFlag(cmd, &spec.Dir)
	f := cmd.Flags()
	f.IntVar(&spec.BasePort, "base-port", local.DefaultBasePort, "port of the name server; the brokers' follow from it (10911, 10921, … for 9876)")
	f.IntVar(&spec.Nodes, "nodes", 3, "members of each replica group")
	f.IntVar(&spec.Groups, "groups", 1, "replica groups: broker-a, broker-b and so on")
	f.StringVar(&spec.Flush, "flush", local.FlushSync, "sync: a message is on the disks of a majority before it is acknowledged; async: in their memory")
	f.StringToStringVar(&spec.Settings, "set", nil, "a key of broker.conf for all members: --set transactionTimeOut=1000")
	f.BoolVar(&foreground, "foreground", false, "stay, and stop the cluster on Ctrl-C")
	f.DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the leader")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// What a cluster was made with holds until it is said otherwise.
		if c, err := local.Open(spec.Dir); err == nil {
			made := c.Spec()
			c.Close()
			keep(cmd, "base-port", &spec.BasePort, made.BasePort)
			keep(cmd, "nodes", &spec.Nodes, made.Nodes)
			keep(cmd, "groups", &spec.Groups, made.Groups)
			keep(cmd, "flush", &spec.Flush, made.Flush)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("nothing after --wait %s", wait))
		defer cancel()
		c, err := local.Up(ctx, spec)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := printCluster(cmd.OutOrStdout(), c, c.Status(ctx), time.Since(began)); err != nil {
			return err
		}
		if !foreground {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "  stop it with: mqadmin local down%s [--purge]\n", dirHint(spec.Dir))
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "  Ctrl-C stops it.")
		watch(cmd.Context(), c, cmd.ErrOrStderr())
		return c.Down(false)
	}
	return cmd
}

// keep sets a flag that was not given to the value the cluster was made with.
func keep[T any](cmd *cobra.Command, flag string, into *T, made T) {
	if !cmd.Flags().Changed(flag) {
		*into = made
	}
}

func dirHint(dir string) string {
	if dir == local.DefaultDir {
		return ""
	}
	return " --dir " + dir
}

// watch returns when ctx ends, and tells meanwhile of members that ended.
func watch(ctx context.Context, c *local.Cluster, w io.Writer) {
	ended := map[string]bool{}
	for {
		for _, name := range c.Ended() {
			if !ended[name] {
				fmt.Fprintf(w, "mqadmin: %s has ended; the end of its log:\n%s\n", name, c.LogTail(name))
			}
			ended[name] = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func localDownCommand() *cobra.Command {
	var dir string
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := local.Open(dir)
			if err != nil {
				return err
			}
			defer c.Close()
			alive, _ := c.Running()
			if err := c.Down(purge); err != nil {
				return err
			}
			text := fmt.Sprintf("stopped %d processes", alive)
			if alive == 0 {
				text = "nothing was running"
			}
			if purge {
				text += ", removed " + c.Dir
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the cluster's directory, with all messages")
	return cmd
}

func localStatusCommand() *cobra.Command {
	var dir, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the members, their roles and processes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := local.Open(dir)
			if err != nil {
				return err
			}
			defer c.Close()
			if alive, _ := c.Running(); alive == 0 {
				return fmt.Errorf("%w: none of its processes runs; start it with: mqadmin local up%s", errNotRunning, dirHint(dir))
			}
			st := c.Status(cmd.Context())
			return printAs(cmd.OutOrStdout(), output, st, func(w io.Writer) error { return printCluster(w, c, st, 0) })
		},
	}
	dirFlag(cmd, &dir)
	outputFlag(cmd, &output)
	return cmd
}

var errNotRunning = errors.New("the local cluster is down")

// printCluster shows a cluster to people; took is 0 when nothing was started.
func printCluster(w io.Writer, c *local.Cluster, st local.Status, took time.Duration) error {
	ready := "ready"
	if took > 0 {
		ready += fmt.Sprintf("  (leader registered after %.1f s)", took.Seconds())
	}
	rows := [][]string{{"  name server", "", st.Namesrv, ready}}
	for _, b := range st.Brokers {
		role := b.Role
		if b.Term > 0 {
			role += fmt.Sprintf("  term %d", b.Term)
		}
		if b.PID > 0 {
			role += fmt.Sprintf("  pid %d", b.PID)
		}
		rows = append(rows, []string{"  " + b.Name, b.ID, b.Addr, role})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  data, settings and logs in %s\n", c.Dir)
	return err
}
