package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestCommandLinesOfRocketMQ(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "mqadmin"}
	root.PersistentFlags().StringP("namesrvAddr", "n", "", "")
	cmd := &cobra.Command{Use: "updateTopic", Run: func(*cobra.Command, []string) {}}
	cmd.Flags().StringP("topic", "t", "", "")
	cmd.Flags().StringP("bn", "", "", "")
	cmd.Flags().BoolP("list", "l", false, "")
	root.AddCommand(cmd)
	for in, want := range map[string]string{
		"updateTopic -t a -n b":           "updateTopic -t a -n b",
		"updateTopic -topic a":            "updateTopic --topic a",
		"updateTopic -topic=a -list":      "updateTopic --topic=a --list",
		"updateTopic -bn a":               "updateTopic --bn a",
		"updateTopic --topic a":           "updateTopic --topic a",
		"-namesrvAddr x updateTopic":      "--namesrvAddr x updateTopic",
		"updateTopic -t -topic":           "updateTopic -t -topic", // a value that looks like an option
		"updateTopic -l -topic a":         "updateTopic -l --topic a",
		"updateTopic -lt a":               "updateTopic -lt a", // a bundle
		"updateTopic -- -topic":           "updateTopic -- -topic",
		"updateTopic -t a -unknown -bn b": "updateTopic -t a -unknown --bn b",
	} {
		got, err := normalise(root, strings.Fields(in))
		require.NoError(t, err, in)
		require.Equal(t, strings.Fields(want), got, in)
	}
	for in, want := range map[string]string{
		"-n x updateTopc -t a": "the sub command updateTopc does not exist; did you mean updateTopic? See: mqadmin help",
		"zebra":                "the sub command zebra does not exist; see: mqadmin help",
	} {
		_, err := normalise(root, strings.Fields(in))
		require.EqualError(t, err, want)
	}
}
