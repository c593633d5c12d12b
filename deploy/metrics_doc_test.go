package deploy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/metrics"
	"github.com/cometmq/cometmq/namesrv"
)

// commonLabels are on every sample of a broker or a name server, or come from the
// scraper.
var commonLabels = []string{"cluster", "node_type", "node_id", "member", "job", "instance", "le"}

// knownMetrics are all names that boards and rules may use, with their labels.
func knownMetrics() map[string][]string {
	known := map[string][]string{
		"up": nil, "cometmq_build_info": {"version"}, metrics.DroppedName: nil,
		// Of the Go runtime and the process.
		"process_resident_memory_bytes": nil, "process_cpu_seconds_total": nil, "go_memstats_heap_inuse_bytes": nil,
	}
	for _, f := range append(broker.Families(), namesrv.Families()...) {
		known[f.Name] = f.Labels
		if f.Kind == metrics.Histogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[f.Name+suffix] = f.Labels
			}
		}
	}
	return known
}

// TestMetricsDocument makes the tables of docs/metrics.md out of what the programs
// declare, so that they cannot say anything else.
func TestMetricsDocument(t *testing.T) {
	const path = "../docs/metrics.md"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var native, own, exporter []*metrics.Family
	for _, f := range broker.Families() {
		switch {
		case strings.HasPrefix(f.Name, "rmq_"):
			own = append(own, f)
		case broker.ExporterFamily(f):
			exporter = append(exporter, f)
		default:
			native = append(native, f)
		}
	}
	got := string(text)
	for _, part := range []struct {
		name string
		list []*metrics.Family
	}{{"native", native}, {"own", own}, {"exporter", exporter}, {"namesrv", namesrv.Families()}} {
		begin, end := fmt.Sprintf("<!-- %s: made by go test ./deploy -update -->\n", part.name), "<!-- end -->"
		before, rest, found := strings.Cut(got, begin)
		require.True(t, found, part.name)
		_, after, found := strings.Cut(rest, end)
		require.True(t, found, part.name)
		got = before + begin + familyTable(part.list) + end + after
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		text = []byte(got)
	}
	require.True(t, got == string(text), "docs/metrics.md is behind the programs; run: go test ./deploy -update")
}

func familyTable(list []*metrics.Family) string {
	var b strings.Builder
	b.WriteString("| Name | Kind | Labels | Meaning |\n|---|---|---|---|\n")
	for _, f := range list {
		labels := "–"
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "` `") + "`"
		}
		kind := f.Kind.String()
		if f.LeaderOnly {
			kind += ", leader"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, kind, labels, f.Help)
	}
	return b.String()
}

func TestMetricNames(t *testing.T) {
	names := map[string]bool{}
	for _, f := range append(broker.Families(), namesrv.Families()...) {
		require.Regexp(t, `^(rocketmq|rmq)_[a-z0-9_]+$`, f.Name)
		require.True(t, broker.ExporterFamily(f) || f.Kind == metrics.Counter == strings.HasSuffix(f.Name, "_total"), "%s: counters, and only they, end in _total", f.Name)
		require.True(t, strings.HasSuffix(f.Help, "."), "%s: a sentence", f.Name)
		if f.Name != "rocketmq_rpc_latency" { // of both programs
			require.False(t, names[f.Name], f.Name)
		}
		names[f.Name] = true
		for _, l := range f.Labels {
			require.NotContains(t, commonLabels, l, f.Name)
		}
	}
}
