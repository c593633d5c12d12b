package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// Formats of -o. The field names of JSON and YAML are the same and stay; tables
// are for people and may gain columns.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// named is implemented by rows that -o name can print, one name a line, to be
// read by a shell's loop.
type named interface{ rowName() string }

// outputFlag adds -o with the formats table, json and yaml, and those in more.
func outputFlag(cmd *cobra.Command, into *string, more ...string) {
	formats := append([]string{formatTable, formatJSON, formatYAML}, more...)
	known := strings.Join(formats[:len(formats)-1], ", ") + " or " + formats[len(formats)-1]
	cmd.Flags().StringVarP(into, "output", "o", formatTable, known)
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, *into) {
			return fmt.Errorf("-o %s is not known: %s", *into, known)
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// printAs prints v as -o asks: v itself as JSON or YAML, the names of its rows,
// or what asTable prints.
func printAs[T any](w io.Writer, format string, v T, asTable func(w io.Writer) error) error {
	switch format {
	case formatJSON:
		return printJSON(w, v)
	case formatYAML:
		return printYAML(w, v)
	default:
		return asTable(w)
	}
}

// isData reports whether a format is for programs.
func isData(format string) bool { return format == formatJSON || format == formatYAML }

// printData prints v in a format for programs.
func printData(w io.Writer, format string, v any) error {
	if format == formatYAML {
		return printYAML(w, v)
	}
	return printJSON(w, v)
}

// printNext prints one of many, to be read while they come: a line of JSON each, or
// a document of YAML each.
func printNext(w io.Writer, format string, v any) error {
	if format == formatYAML {
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return printYAML(w, v)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printRows is printAs for a list, which has names and a table of one line a row.
func printRows[R named](w io.Writer, format string, rows []R, headings []string, columns func(R) []string) error {
	if format == formatName {
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, r.rowName()); err != nil {
				return err
			}
		}
		return nil
	}
	if rows == nil {
		rows = []R{} // an empty list, not null
	}
	return printAs(w, format, rows, func(w io.Writer) error {
		lines := [][]string{headings}
		for _, r := range rows {
			lines = append(lines, columns(r))
		}
		return table(w, lines)
	})
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printYAML prints v with the names and the order it has in JSON.
func printYAML(w io.Writer, v any) error {
	var text bytes.Buffer
	if err := printJSON(&text, v); err != nil {
		return err
	}
	var doc yaml.Node // JSON is YAML; what remains is to write it in YAML's own style
	if err := yaml.Unmarshal(text.Bytes(), &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

// blockStyle forgets braces and quotes; the encoder quotes what would not be
// read back as text.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style &^= yaml.FlowStyle
		if len(n.Content) == 0 {
			n.Style |= yaml.FlowStyle // [] and {}
		}
	} else {
		n.Style &^= yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// table prints rows in columns, the first row being the headings.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// terminal reports whether w is a terminal, where lines may be written over and
// colours seen.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Colours that mean something: fine, look here, broken.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
)

// paint colours text for a terminal, unless NO_COLOR is set or the terminal is
// a dumb one.
func paint(w io.Writer, colour, text string) string {
	if !terminal(w) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
