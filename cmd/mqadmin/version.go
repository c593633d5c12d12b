package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// versionInfo is what `version` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this program (of brokers: cluster ls)", Args: cobra.NoArgs}
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := versionInfo{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
		return printAs(cmd.OutOrStdout(), output, v, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "mqadmin %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return err
		})
	}
	return cmd
}
