package metrics

import (
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cometmq/cometmq/internal/histogram"
)

// Config says what is scraped.
type Config struct {
	// Families are all that Collect may write.
	Families *Families
	// Common are the names and values of labels that every sample carries.
	Common [][2]string
	// Collect writes the samples of one scrape.
	Collect func(*Writer)
	// SeriesMax bounds the series of one family; 0 = 20,000.
	SeriesMax int
	// Version is shown by the family cometmq_build_info.
	Version string
}

// SeriesMax is the default of Config.SeriesMax.
const SeriesMax = 20_000

const (
	// scrapesMax bounds the scrapes at one time: each reads every table.
	scrapesMax = 2
	// scrapeTimeout is Prometheus' own default.
	scrapeTimeout = 10 * time.Second
)

// Registry holds one server's families, and those of the Go runtime and the
// process.
type Registry struct{ *prometheus.Registry }

// NewRegistry makes a registry. It fails only when the families contradict each
// other, which is a mistake in the program.
func NewRegistry(cfg Config) (Registry, error) {
	r := Registry{prometheus.NewRegistry()}
	c := newCollector(cfg)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cometmq_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": cfg.Version},
	})
	build.Set(1)
	for _, each := range []prometheus.Collector{
		c, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(each); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Handler serves the registry over HTTP.
func (r Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesMax, Timeout: scrapeTimeout,
	})
}

// collector is prometheus.Collector over a Config.
type collector struct {
	cfg     Config
	common  []string // values
	descs   []*prometheus.Desc
	dropped *Family

	// mu lets one scrape run at a time: tables that are read twice at once gain
	// nobody anything. It also guards lost.
	mu   sync.Mutex
	lost uint64 // series left out since the start
}

func newCollector(cfg Config) *collector {
	if cfg.SeriesMax <= 0 {
		cfg.SeriesMax = SeriesMax
	}
	fams := &Families{list: cfg.Families.List()}
	c := &collector{cfg: cfg}
	c.dropped = fams.Add(Counter, DroppedName, DroppedHelp)
	var names []string
	for _, l := range cfg.Common {
		names, c.common = append(names, l[0]), append(c.common, valid(l[1]))
	}
	for _, f := range fams.list {
		labels := append(append([]string(nil), names...), f.Labels...)
		c.descs = append(c.descs, prometheus.NewDesc(f.Name, f.Help, labels, nil))
	}
	return c
}

// DroppedName counts the series that were left out.
const (
	DroppedName = "rmq_metrics_series_dropped_total"
	DroppedHelp = "Series left out of scrapes because their family has too many (metricsSeriesMax)."
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &Writer{c: c, ch: ch, series: make([]int, len(c.descs))}
	c.cfg.Collect(w)
	c.lost += w.lost
	w.Value(c.dropped, float64(c.lost))
}

// Writer takes the samples of one scrape.
type Writer struct {
	c      *collector
	ch     chan<- prometheus.Metric
	series []int // by family
	lost   uint64
}

// Value writes a sample of a gauge or counter.
func (w *Writer) Value(f *Family, v float64, values ...string) {
	f.check(f.Kind, values)
	kind := prometheus.GaugeValue
	if f.Kind == Counter {
		kind = prometheus.CounterValue
	}
	if w.room(f) {
		w.ch <- prometheus.MustNewConstMetric(w.c.descs[f.place], kind, v, w.labels(values)...)
	}
}

// Bool writes 1 or 0.
func (w *Writer) Bool(f *Family, v bool, values ...string) {
	if v {
		w.Value(f, 1, values...)
	} else {
		w.Value(f, 0, values...)
	}
}

// Histogram writes a histogram whose values are divided by unit.
func (w *Writer) Histogram(f *Family, s histogram.Snapshot, unit float64, values ...string) {
	f.check(Histogram, values)
	if !w.room(f) {
		return
	}
	buckets := make(map[float64]uint64, len(s.Bounds))
	below := uint64(0)
	for i, b := range s.Bounds {
		below += s.Counts[i]
		buckets[float64(b)/unit] = below
	}
	w.ch <- prometheus.MustNewConstHistogram(w.c.descs[f.place], s.Count(), float64(s.Sum)/unit, buckets, w.labels(values)...)
}

// Full reports whether a family has all the series that it may have; whoever
// would write many more should stop there and tell Skip.
func (w *Writer) Full(f *Family) bool { return w.series[f.place] >= w.c.cfg.SeriesMax }

// Skip counts series that were not even computed.
func (w *Writer) Skip(n int) { w.lost += uint64(n) }

func (w *Writer) room(f *Family) bool {
	if w.Full(f) {
		w.lost++
		return false
	}
	w.series[f.place]++
	return true
}

func (w *Writer) labels(values []string) []string {
	out := make([]string, 0, len(w.c.common)+len(values))
	out = append(out, w.c.common...)
	for _, v := range values {
		out = append(out, valid(v))
	}
	return out
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
