package drill

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sample() *Report {
	r := &Report{Drill: "kill-leader", Nodes: 3, Flush: "sync", Settings: map[string]string{"standInBrokers": "1"}, Machine: Machine{Load: "0.42"},
		Trials: []Trial{{Trial: 1, Node: "n0", ElectionMs: 30, FirstAckMs: 44, Verdict: Verdict{Acked: 10}, Pass: true,
			Clients: []ClientTrial{{Client: "java", Acked: 5, FirstAckMs: 200, Failed: 2}},
			Timeline: Timeline{BucketMs: 100, Events: []Event{{150, "SIGKILL n0 <script>", eventFault}},
				Acks: []TimelineRow{{"eager", []int{5, 0, 7}}, {"java", []int{1}}}}}},
		Clients: []ClientAudit{{Client: "java", Verdict: Verdict{Acked: 5}, Pass: true}}}
	r.summarize()
	return r
}

// The page must be whole by itself: well formed, with its picture in it, and
// without a request to anywhere.
func TestPageIsSelfContained(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteHTML(&b, sample()))
	page := b.String()
	require.NotRegexp(t, regexp.MustCompile(`(?i)(src|href|url)\s*[=(]|<script|<link|@import|https?://`), page)
	require.Contains(t, page, "SIGKILL n0 &lt;script&gt;", "what happened is text, not markup")
	svg := page[strings.Index(page, "<svg"):strings.Index(page, "</svg>")] + "</svg>"
	rects := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	require.Equal(t, 3, rects, "one bar for each bucket with acknowledgements")
}

func TestTimelineCountsPerBucket(t *testing.T) {
	start := time.Unix(100, 0)
	var j journal
	j.note(eventFault, "kill %s", "n1")
	acks := []Ack{{At: start}, {At: start.Add(99 * time.Millisecond)}, {At: start.Add(250 * time.Millisecond)}, {At: start.Add(-time.Second)}}
	line := j.timeline(start, []string{"eager"}, map[string][]Ack{"eager": acks})
	require.Equal(t, []TimelineRow{{"eager", []int{2, 0, 1}}}, line.Acks)
	require.Equal(t, "kill n1", line.Events[0].What)
}

func TestTableOfReports(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	raw, err := json.Marshal(sample())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, raw, 0o644))
	reports, err := ReadReports([]string{file})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, WriteTable(&b, reports))
	require.Contains(t, b.String(), "| kill-leader | 1 | no | 1 | 30 (30) | 44 (44) | 200 (200) | – | 2 / – | 15 | 0 | 0 | 0 | 0.42 | PASS |")

	twice, err := ReadReports([]string{file, file})
	require.NoError(t, err)
	require.Len(t, twice, 1, "reports of one drill are one row")
	require.Equal(t, 2, twice[0].Summary.Trials)
	require.Equal(t, 20, twice[0].Summary.Acked)
	require.Equal(t, 10, twice[0].Summary.Clients[0].Acked)

	held := sample()
	held.PortsHeld = true
	raw, err = json.Marshal(held)
	require.NoError(t, err)
	heldFile := filepath.Join(dir, "held.json")
	require.NoError(t, os.WriteFile(heldFile, raw, 0o644))
	alone := sample()
	alone.Trials[0].Clients, alone.Clients = nil, nil
	raw, err = json.Marshal(alone)
	require.NoError(t, err)
	aloneFile := filepath.Join(dir, "alone.json")
	require.NoError(t, os.WriteFile(aloneFile, raw, 0o644))
	apart, err := ReadReports([]string{aloneFile, file, heldFile, file, aloneFile})
	require.NoError(t, err)
	var rows strings.Builder
	require.NoError(t, WriteTable(&rows, apart))
	require.Equal(t, tableHead+
		"| kill-leader | 1 | no | 2 | 30 (30) | 44 (44) | – | – | – / – | 20 | 0 | 0 | 0 | 0.42, 0.42 | PASS |\n"+
		"| kill-leader | 1 | no | 2 | 30 (30) | 44 (44) | 200 (200) | – | 4 / – | 30 | 0 | 0 | 0 | 0.42, 0.42 | PASS |\n"+
		"| kill-leader | 1 | yes | 1 | 30 (30) | 44 (44) | 200 (200) | – | 2 / – | 15 | 0 | 0 | 0 | 0.42 | PASS |\n", rows.String(),
		"trials with other clients, or with ports held, are another row")

	doc := filepath.Join(dir, "doc.md")
	require.NoError(t, os.WriteFile(doc, []byte("before\n"+tableBegin+"old\n"+tableEnd+"after\n"), 0o644))
	require.NoError(t, ReplaceTable(doc, reports))
	got, err := os.ReadFile(doc)
	require.NoError(t, err)
	require.Equal(t, "before\n"+tableBegin+b.String()+tableEnd+"after\n", string(got))

	require.NoError(t, os.WriteFile(doc, []byte("no marks"), 0o644))
	require.ErrorContains(t, ReplaceTable(doc, reports), "has no place for the table")
	require.NoError(t, os.WriteFile(file, []byte(`{}`), 0o644))
	_, err = ReadReports([]string{file})
	require.ErrorContains(t, err, "is not the report of a drill")
}
