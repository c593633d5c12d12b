package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ReadReports reads the JSON reports of drills.
func ReadReports(files []string) ([]*Report, error) {
	var out []*Report
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read a drill's report: %w", err)
		}
		r := &Report{}
		if err := json.Unmarshal(b, r); err != nil || r.Drill == "" {
			return nil, fmt.Errorf("%s is not the report of a drill (mqadmin drill NAME -o json > FILE)", name)
		}
		out = append(out, r)
	}
	return merge(out), nil
}

// merge makes one report of those of the same drill under the same conditions, in
// the place of the first.
func merge(reports []*Report) []*Report {
	var out []*Report
	for _, r := range reports {
		i := slices.IndexFunc(out, func(o *Report) bool { return o.row() == r.row() })
		if i < 0 {
			out = append(out, r)
			continue
		}
		out[i].Trials = append(out[i].Trials, r.Trials...)
		out[i].Clients = append(out[i].Clients, r.Clients...)
		out[i].Machine.Load += ", " + r.Machine.Load
		out[i].summarize()
	}
	return out
}

// row says what a report has in common with others of the same row: the drill,
// what the table shows of its conditions, and who its clients were. Trials without
// a client cannot be summed up with those that have it.
func (r *Report) row() string {
	var clients []string
	if len(r.Trials) > 0 {
		for _, c := range r.Trials[0].Clients {
			clients = append(clients, c.Client)
		}
	}
	slices.Sort(clients)
	return fmt.Sprint(r.Drill, " ", r.standIns(), " ", r.PortsHeld, " ", clients)
}

func (r *Report) standIns() string { return or(r.Settings["standInBrokers"], "0") }

const tableHead = `| Drill | Stand-ins | Ports held | Trials | Election | Eager client: first ack | Java: first ack | Go: first ack | Failed sends Java / Go | Acked | Lost | Duplicated | Offset rewind | Load | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
`

// WriteTable writes one row for each report. Times are medians and the longest,
// in ms, from the fault on.
func WriteTable(w io.Writer, reports []*Report) error {
	var b bytes.Buffer
	b.WriteString(tableHead)
	for _, r := range reports {
		s := r.Summary
		acked, lost, duplicated, rewound := s.Acked, s.Lost, s.Duplicated, s.OffsetsBehindMs
		first, failed := map[string]string{}, map[string]string{}
		for _, c := range s.Clients {
			acked, lost, duplicated, rewound = acked+c.Acked, lost+c.Lost, duplicated+c.Duplicated, max(rewound, c.OffsetRewindMs)
			first[c.Client], failed[c.Client] = times(c.FirstAckMsMedian, c.FirstAckMsMax), strconv.Itoa(c.Failed)
		}
		held := "no"
		if r.PortsHeld {
			held = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s | %s | %s | %s | %s / %s | %d | %d | %d | %d | %s | %s |\n",
			r.Drill, r.standIns(), held, s.Trials, times(s.ElectionMsMedian, s.ElectionMsMax), times(s.FirstAckMsMedian, s.FirstAckMsMax),
			or(first["java"], "–"), or(first["go"], "–"), or(failed["java"], "–"), or(failed["go"], "–"),
			acked, lost, duplicated, rewound, r.Machine.Load, verdictWord(s.Pass))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func times(median, longest int64) string { return fmt.Sprintf("%d (%d)", median, longest) }

func or(text, absent string) string {
	if text == "" {
		return absent
	}
	return text
}

// Marks of the place of the table in a file.
const (
	tableBegin = "<!-- drills: begin -->\n"
	tableEnd   = "<!-- drills: end -->\n"
)

// ReplaceTable puts the table into a file, between the marks.
func ReplaceTable(name string, reports []*Report) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("put the table into a file: %w", err)
	}
	before, rest, ok := strings.Cut(string(old), tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table: it needs a line %q and one %q", name, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	var b bytes.Buffer
	b.WriteString(before + tableBegin)
	err = WriteTable(&b, reports)
	b.WriteString(tableEnd + after)
	return errors.Join(err, os.WriteFile(name, b.Bytes(), 0o644))
}
