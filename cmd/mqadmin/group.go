package main

import "github.com/spf13/cobra"

// newGroupCommand is the parent of what concerns groups: those of consumers, and
// the members of a replica group.
func newGroupCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Consumer groups, and the members of a replica group",
	}
	addMemberCommands(cmd, o)
	return cmd
}
