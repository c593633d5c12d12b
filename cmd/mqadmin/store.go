package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/store"
)

// errStoreDamaged says that a store was read and holds damage, which has been
// printed.
var errStoreDamaged = errors.New("the store is damaged")

func storeCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look into the store of a stopped broker, compare those of running ones, and the last resort to recover a group",
	}
	cmd.AddCommand(storeVerifyCommand(), storeDumpCommand(), storeCompareCommand(o), storeRecoverCommand())
	return cmd
}

// storeDir adds --dir.
func storeDir(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "dir", "", "the store's directory (storePathRootDir)")
	_ = cmd.MarkFlagRequired("dir") // fails for an unknown flag only
}

func storeVerifyCommand() *cobra.Command {
	var dir, output string
	cmd := &cobra.Command{
		Use:   "verify --dir DIR",
		Short: "Check every byte of a stopped broker's store",
		Long: `Check every byte of a stopped broker's store: the entries of the commit log with
their checksums, indexes and terms, the durable mark and the waypoints, the last
checkpoint, that every message is in its queue and every queue entry points at
its message, and the key index. Nothing is changed, and a store in use is
refused. Exit code: 0 sound, 3 damaged, 1 it could not be read.`,
		Args: cobra.NoArgs,
	}
	storeDir(cmd, &dir)
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := store.Verify(store.Config{Dir: dir})
		if err != nil {
			return locked(dir, err)
		}
		err = printAs(cmd.OutOrStdout(), output, report, func(w io.Writer) error {
			_, err := io.WriteString(w, verifyText(report))
			return err
		})
		if err == nil && !report.OK {
			err = errStoreDamaged
		}
		return err
	}
	return cmd
}

// locked words the error of a store that a broker has open.
func locked(dir string, err error) error {
	var held *vfs.LockedError
	if errors.As(err, &held) {
		return explain.StoreLocked(err, dir, held.PID)
	}
	return err
}

// verifyText is the report for people.
func verifyText(r store.VerifyReport) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("store        %s (cluster %s, group %s)", r.Dir, orDash(r.Identity["cluster"]), orDash(r.Identity["group"]))
	how := "not closed in an orderly way"
	if r.Log.Clean {
		how = "closed cleanly"
	}
	line("commit log   entries %d to %d, last term %d, offsets %d to %d, %d segments of %d bytes, %s",
		r.Log.First, r.Log.Last, r.Log.LastTerm, r.Log.MinOffset, r.Log.MaxOffset, len(r.Log.Segments), r.Log.SegmentSize, how)
	line("durable      entry %d, offset %d", r.Log.MarkIndex, r.Log.MarkOffset)
	line("checkpoint   entry %d of term %d: %d messages, %d commands", r.Applied, r.Term, r.Messages, r.Commands)
	line("queues       %d with %d entries", r.Queues, r.QueueEntries)
	line("key index    %d runs with %d entries", r.IndexRuns, r.IndexEntries)
	for _, p := range r.Problems {
		line("%s", p)
	}
	if r.OK {
		line("sound")
	}
	return b.String()
}

func storeDumpCommand() *cobra.Command {
	var dir, output string
	var from, to uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "dump --dir DIR",
		Short: "Print the commit log's entries of a stopped broker",
		Long: `Print the commit log's entries of a stopped broker, and what is damaged between
them. Bodies are not printed. With -o json there is one object per line, with
-o yaml one document per entry.`,
		Args: cobra.NoArgs,
	}
	storeDir(cmd, &dir)
	outputFlag(cmd, &output)
	cmd.Flags().Uint64Var(&from, "from", 0, "first index (0: the beginning)")
	cmd.Flags().Uint64Var(&to, "to", 0, "last index (0: the end)")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many entries (0: all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w := cmd.OutOrStdout()
		shown := 0
		for e, err := range store.Dump(store.Config{Dir: dir}, from, to) {
			if err != nil {
				return locked(dir, err)
			}
			if isData(output) {
				err = printNext(w, output, e)
			} else {
				_, err = io.WriteString(w, dumpText(e))
			}
			if err != nil {
				return err
			}
			if shown++; shown == limit || cmd.Context().Err() != nil {
				break
			}
		}
		return cmd.Context().Err()
	}
	return cmd
}

// dumpText is an entry for people: one line, and one for each record.
func dumpText(e store.DumpEntry) string {
	if e.Problem != nil {
		return e.Problem.String() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d term %d at %d, %s, %d bytes", e.Index, e.Term, e.Offset, kindName(e.Kind), e.Bytes)
	if e.AppendedAt != nil {
		fmt.Fprintf(&b, ", appended %s", e.AppendedAt.Format(time.RFC3339Nano))
	}
	b.WriteByte('\n')
	for _, r := range e.Records {
		dumpRecordText(&b, "  ", r)
	}
	if e.Malformed != "" {
		fmt.Fprintf(&b, "  %s\n", e.Malformed)
	}
	return b.String()
}

// kindName names the kinds of entries as the Raft library numbers them.
func kindName(kind uint8) string {
	names := map[uint8]string{0: "records", 1: "no-op", 4: "barrier", 5: "configuration"}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", kind)
}

func dumpRecordText(b *strings.Builder, indent string, r store.DumpRecord) {
	if r.Op != 0 {
		fmt.Fprintf(b, "%s%d command %#04x, payload of %d bytes\n", indent, r.Phy, r.Op, r.PayloadBytes)
		for _, n := range r.Nested {
			dumpRecordText(b, indent+"  ", n)
		}
		return
	}
	fmt.Fprintf(b, "%s%d message of %s-%d, body of %d bytes, stored %s", indent, r.Phy, r.Topic, r.QueueID, r.BodyBytes,
		r.Stored.Format("2006-01-02T15:04:05.000Z07:00"))
	for _, name := range []string{"TAGS", "KEYS", "UNIQ_KEY"} {
		if v := r.Properties[name]; v != "" {
			fmt.Fprintf(b, ", %s %q", name, v)
		}
	}
	b.WriteByte('\n')
}
