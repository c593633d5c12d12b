package metrics

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/histogram"
)

func scrape(t *testing.T, r Registry) string {
	t.Helper()
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, rec.Code, rec.Body)
	return rec.Body.String()
}

func TestScrape(t *testing.T) {
	t.Parallel()
	var fams Families
	sent := fams.Add(Counter, "x_sent_total", "Sent.", "topic")
	up := fams.Add(Gauge, "x_up", "Up.")
	took := fams.Add(Histogram, "x_took_seconds", "Took.", "code")
	h := histogram.New(1e6, 1e9)
	h.Observe(5e5)
	h.Observe(5e9)
	r, err := NewRegistry(Config{
		Families: &fams, Common: [][2]string{{"cluster", "c"}}, Version: "v1",
		Collect: func(w *Writer) {
			w.Value(sent, 3, "orders")
			w.Value(sent, 1, "not utf-8: \xff")
			w.Bool(up, true)
			w.Histogram(took, h.Snapshot(), 1e9, "10")
		},
	})
	require.NoError(t, err)
	text := scrape(t, r)
	for _, line := range []string{
		`x_sent_total{cluster="c",topic="orders"} 3`,
		"x_sent_total{cluster=\"c\",topic=\"not utf-8: \uFFFD\"} 1",
		`x_up{cluster="c"} 1`,
		`x_took_seconds_bucket{cluster="c",code="10",le="0.001"} 1`,
		`x_took_seconds_bucket{cluster="c",code="10",le="1"} 1`,
		`x_took_seconds_bucket{cluster="c",code="10",le="+Inf"} 2`,
		`x_took_seconds_sum{cluster="c",code="10"} 5.0005`,
		`x_took_seconds_count{cluster="c",code="10"} 2`,
		`cometmq_build_info{version="v1"} 1`,
		`rmq_metrics_series_dropped_total{cluster="c"} 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, "go_goroutines ")
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	var fams Families
	many := fams.Add(Counter, "x_many_total", "Many.", "topic")
	r, err := NewRegistry(Config{Families: &fams, SeriesMax: 5, Collect: func(w *Writer) {
		for i := range 9 {
			w.Value(many, 1, fmt.Sprint(i))
		}
		require.True(t, w.Full(many))
		w.Skip(10)
	}})
	require.NoError(t, err)
	scrape(t, r)
	text := scrape(t, r)
	require.Equal(t, 5, strings.Count(text, "x_many_total{"))
	require.Contains(t, text, DroppedName+" 28\n")
}

func TestWrongSampleIsAMistake(t *testing.T) {
	t.Parallel()
	var fams Families
	f := fams.Add(Counter, "x_total", "X.", "topic")
	w := &Writer{c: newCollector(Config{Families: &fams}), series: make([]int, 2)}
	require.Panics(t, func() { w.Value(f, 1) })
	require.Panics(t, func() { w.Histogram(f, histogram.New().Snapshot(), 1, "t") })
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := NewTable[string, int](2, func() *int { return new(int) })
	*table.At("a")++
	*table.At("a")++
	*table.At("b")++
	require.Nil(t, table.At("c"))
	require.EqualValues(t, 1, table.Refused())
	got := map[string]int{}
	table.Each(func(k string, v *int) { got[k] = *v })
	require.Equal(t, map[string]int{"a": 2, "b": 1}, got)
	table.Delete(func(k string) bool { return k == "a" })
	require.NotNil(t, table.At("c"))
}
