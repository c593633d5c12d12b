package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// normalise turns a command line as RocketMQ's mqadmin takes it into the form
// that pflag reads, where the two differ: a long option may have a single dash
// (-topic orders, -bn broker-a), which pflag would take for a bundle of short
// ones. Values of options are left alone, and so is all that follows "--". A
// sub-command that does not exist is an error; cobra prints its help and ends well.
func normalise(root *cobra.Command, args []string) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return args, nil // a shell asks what may follow
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	args, words := walk(root, args) // options before the sub-command
	cmd, rest, err := root.Find(args)
	if err != nil {
		return nil, unknownCommand(root, words[0])
	}
	if cmd.HasSubCommands() {
		if _, words := walk(cmd, rest); len(words) > 0 {
			return nil, unknownCommand(cmd, words[0])
		}
	}
	args, _ = walk(cmd, args)
	return args, nil
}

// walk gives long options their second dash, and tells what is no option.
func walk(cmd *cobra.Command, args []string) (out, words []string) {
	sets := []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags(), cmd.InheritedFlags()}
	find := func(lookup func(*pflag.FlagSet) *pflag.Flag) *pflag.Flag {
		for _, set := range sets {
			if f := lookup(set); f != nil {
				return f
			}
		}
		return nil
	}
	long := func(name string) *pflag.Flag {
		return find(func(s *pflag.FlagSet) *pflag.Flag { return s.Lookup(name) })
	}
	short := func(name string) *pflag.Flag {
		return find(func(s *pflag.FlagSet) *pflag.Flag { return s.ShorthandLookup(name) })
	}
	out = make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), append(words, args[i+1:]...)
		}
		if len(arg) < 2 || arg[0] != '-' {
			out, words = append(out, arg), append(words, arg)
			continue
		}
		name, _, valued := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		var flag *pflag.Flag
		switch {
		case strings.HasPrefix(arg, "--"):
			flag = long(name)
		case len(arg) == 2:
			flag = short(name)
		case long(name) != nil:
			flag, arg = long(name), "-"+arg
		}
		out = append(out, arg)
		if flag != nil && !valued && flag.NoOptDefVal == "" && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out, words
}
