package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/config"
)

// addRocketMQ gives the root the sub-commands of RocketMQ's mqadmin, which are
// found whatever the case of their letters, and its "help COMMAND".
func addRocketMQ(root *cobra.Command, o *options) {
	root.AddGroup(&cobra.Group{ID: rocketmqGroup, Title: "As in RocketMQ:"})
	for _, family := range [][]*cobra.Command{
		topicCommands(o), consumerCommands(o), connectionCommands(o), offsetCommands(o),
		messageCommands(o), sendCommands(o), statsCommands(o), exportCommands(o),
		namesrvCommands(o), brokerCommands(o), aclCommands(o),
	} {
		root.AddCommand(family...)
	}
	root.SetHelpCommand(helpCommand(root))
}

func init() { cobra.EnableCaseInsensitive = true }

// helpCommand is cobra's, except that a command that does not exist is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Explain a command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return unknownCommand(root, args[0])
			}
			if len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// unknownCommand names the command that was asked for and the one that was
// probably meant.
func unknownCommand(parent *cobra.Command, name string) error {
	var known []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			known = append(append(known, c.Name()), c.Aliases...)
		}
	}
	best := config.Nearest(name, known)
	if best == "" {
		return fmt.Errorf("the sub command %s does not exist; see: %s help", name, parent.CommandPath())
	}
	return fmt.Errorf("the sub command %s does not exist; did you mean %s? See: %s help", name, best, parent.CommandPath())
}
