package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// watchMin keeps a typing mistake from flooding the servers.
const watchMin = 100 * time.Millisecond

// Sequences of a terminal: home and clear what is below, so that a refresh does
// not flicker as clearing first would.
const (
	cursorHome = "\x1b[H"
	clearBelow = "\x1b[J"
	clearAll   = "\x1b[2J"
)

// watchFlag adds --watch to a command that shows something: it runs again and
// again, each time with its own --timeout, until Ctrl-C, which is then no error.
func watchFlag(cmd *cobra.Command) {
	var every time.Duration
	cmd.Flags().DurationVar(&every, "watch", 0, "show it again each time that passes, e.g. 2s, until Ctrl-C")
	once := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if every == 0 {
			return once(cmd, args)
		}
		if every < watchMin {
			return fmt.Errorf("--watch %s is too often: at least %s", every, watchMin)
		}
		return repeat(cmd.Context(), cmd.OutOrStdout(), terminal(cmd.OutOrStdout()), every, func() error { return once(cmd, args) })
	}
}

// repeat calls show until ctx ends. A failure is shown in its place and does not
// end it: the reason to watch may be that something is broken. On a screen each
// look takes the place of the last.
func repeat(ctx context.Context, w io.Writer, screen bool, every time.Duration, show func() error) error {
	if screen {
		fmt.Fprint(w, clearAll)
	}
	for first := true; ctx.Err() == nil; first = false {
		switch {
		case screen:
			fmt.Fprint(w, cursorHome)
		case !first:
			fmt.Fprintln(w)
		}
		if err := show(); err != nil && ctx.Err() == nil {
			fmt.Fprintln(w, "mqadmin:", err)
		}
		if screen {
			fmt.Fprint(w, clearBelow)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
	return nil
}
