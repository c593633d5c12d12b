package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/dledger"
)

// errNotConfirmed says that a recovery was described and not done.
var errNotConfirmed = errors.New("nothing was changed; give --yes to accept this and recover the group")

func storeRecoverCommand() *cobra.Command {
	var dir, id, output string
	var yes bool
	cmd := &cobra.Command{
		Use:   "recover-group --dir DIR --id ID",
		Short: "Last resort: go on with one member's disk when a majority is gone for good",
		Long: `Last resort, when a majority of a group's disks is gone for good: make a stopped
member the only one of its group, with what is on its disk. Without --yes it says
what may be lost and changes nothing. The whole store is read and checked first.

Before this, exhaust everything else: a member that can be started again, or a
copy of its disk that is as new as its end, loses nothing.`,
		Args: cobra.NoArgs,
	}
	storeDir(cmd, &dir)
	cmd.Flags().StringVar(&id, "id", "", "the member's dLegerSelfId")
	_ = cmd.MarkFlagRequired("id") // fails for an unknown flag only
	cmd.Flags().BoolVar(&yes, "yes", false, "do it, and lose what may be lost")
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := dledger.PlanRecovery(dir, filepath.Join(dir, "raft"), id)
		if err != nil {
			return err
		}
		if isData(output) {
			err = printData(cmd.OutOrStdout(), output, plan)
		} else {
			_, err = io.WriteString(cmd.OutOrStdout(), plan.Text())
		}
		switch {
		case err != nil || plan.Done:
			return err
		case !yes:
			return errNotConfirmed
		}
		if err := plan.CarryOut(); err != nil {
			return err
		}
		if !isData(output) {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s is a group of its own now. Start its broker, check it with mqadmin group members,\nand let others in with mqadmin group add ID HOST:PORT --promote.\n", id)
		}
		return err
	}
	return cmd
}
