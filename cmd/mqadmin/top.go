package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cometmq/cometmq/admin"
)

// topRows is how many topics and groups one screen has.
const topRows = 12

// topTopicsMax bounds how many topics are asked about at each look.
const topTopicsMax = 200

// topTopic is a topic with its rate.
type topTopic struct {
	Topic string  `json:"topic"`
	InTPS float64 `json:"inTps"` // messages a second over the last minute
}

// topReport is one look of `cluster top`.
type topReport struct {
	At      time.Time   `json:"at"`
	Members []memberRow `json:"members"`
	Topics  []topTopic  `json:"topics"`
	Groups  []groupLag  `json:"groups"`
	Silent  []string    `json:"silent,omitempty"` // who did not answer
}

func clusterTopCommand(o *options) *cobra.Command {
	var once bool
	var every time.Duration
	var output string
	cmd := &cobra.Command{
		Use: "top", Short: "Watch brokers, the busiest topics and the groups that lag most; q ends it", Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&once, "once", false, "look once and end")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "time between two looks")
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < watchMin {
			return fmt.Errorf("--every %s is too often: at least %s", every, watchMin)
		}
		show := func(w io.Writer) error {
			client, ctx, done, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer done()
			report, missing := look(ctx, client)
			if unanswered(missing) {
				return missing
			}
			err = printAs(w, output, report, report.print)
			return cmp.Or(err, missing)
		}
		if once || output != formatTable {
			return show(cmd.OutOrStdout())
		}
		ctx, w, restore := untilQ(cmd)
		defer restore()
		return repeat(ctx, w, terminal(cmd.OutOrStdout()), every, func() error { return show(w) })
	}
	return cmd
}

// untilQ returns a context that ends when q is typed, where somebody can type.
// Until restore gives the terminal back, w is where lines are written.
func untilQ(cmd *cobra.Command) (ctx context.Context, w io.Writer, restore func()) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !terminal(cmd.OutOrStdout()) {
		return cmd.Context(), cmd.OutOrStdout(), func() {}
	}
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return cmd.Context(), cmd.OutOrStdout(), func() {}
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	go func() { // ends with the process: a read of a terminal cannot be taken back
		key := make([]byte, 1)
		for {
			if n, err := in.Read(key); err != nil || n == 1 && (key[0] == 'q' || key[0] == 3) {
				cancel()
				return
			}
		}
	}()
	return ctx, rawWriter{cmd.OutOrStdout()}, func() {
		cancel()
		_ = term.Restore(int(in.Fd()), old)
	}
}

// rawWriter begins lines at the left of a terminal that does not do so itself.
type rawWriter struct{ w io.Writer }

// Write writes p with a carriage return before each newline.
func (r rawWriter) Write(p []byte) (int, error) {
	if _, err := r.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// look gathers one screen.
func look(ctx context.Context, client *admin.Client) (*topReport, error) {
	members, err := memberTargets(ctx, client, "")
	if err != nil {
		return nil, err
	}
	groups := slices.CompactFunc(slices.Clone(members), func(a, b target) bool { return a.Broker == b.Broker })
	r := &topReport{At: time.Now()}
	var missing error
	r.Members, missing = memberRows(ctx, client, members)
	var lag error
	if r.Groups, lag = lagOfAll(ctx, client, groups, ""); lag != nil {
		missing = cmp.Or(missing, lag)
	}
	topics, err := userTopics(ctx, client)
	if err != nil {
		return nil, err
	}
	r.Topics = rates(ctx, client, groups, topics[:min(len(topics), topTopicsMax)])
	r.Groups, r.Topics = r.Groups[:min(len(r.Groups), topRows)], r.Topics[:min(len(r.Topics), topRows)]
	for _, m := range r.Members {
		if m.Error != "" {
			r.Silent = append(r.Silent, m.Addr)
		}
	}
	return r, missing
}

// rates adds up what each topic takes in on all brokers, the busiest first.
// Topics about which a broker knows nothing take in nothing there.
func rates(ctx context.Context, client *admin.Client, groups []target, topics []string) []topTopic {
	out := make([]topTopic, len(topics))
	for i, topic := range topics {
		out[i].Topic = topic
	}
	places := make([]target, 0, len(topics)*len(groups))
	for i := range topics {
		for _, g := range groups {
			g.ID = int64(i) // which topic
			places = append(places, g)
		}
	}
	type answer struct {
		topic int64
		tps   float64
	}
	answers, _ := askAll(ctx, places, func(ctx context.Context, t target) (answer, error) {
		stats, err := client.Stats(ctx, t.Addr, admin.StatsTopicPut, topics[t.ID])
		if err != nil {
			return answer{}, err
		}
		return answer{t.ID, stats.Minute.Tps}, nil
	})
	for _, a := range answers {
		out[a.topic].InTPS += a.tps
	}
	slices.SortStableFunc(out, func(a, b topTopic) int { return cmp.Compare(b.InTPS, a.InTPS) })
	return out
}

func (r *topReport) print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s   %d brokers\n\n", r.At.Format(time.TimeOnly), len(r.Members)); err != nil {
		return err
	}
	rows := [][]string{memberHeadings}
	for _, m := range r.Members {
		rows = append(rows, m.columns())
	}
	topics := [][]string{{"TOPIC", "IN/S"}}
	for _, t := range r.Topics {
		topics = append(topics, []string{t.Topic, strconv.FormatFloat(t.InTPS, 'f', 1, 64)})
	}
	groups := [][]string{{"GROUP", "TOPICS", "LAG", "OUT/S"}}
	for _, g := range r.Groups {
		groups = append(groups, g.columns())
	}
	for _, t := range [][][]string{rows, topics, groups} {
		if err := table(w, t); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}
