package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// report is everything a run prints; it can be understood without the run.
type report struct {
	Machine machineInfo `json:"machine"`
	Command string      `json:"command"`
	Config  config      `json:"config"`
	Results []result    `json:"results"`
}

// machineInfo says what the figures were measured on.
type machineInfo struct {
	Date   string `json:"date"`
	Commit string `json:"commit"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	OS     string `json:"os"`
	Go     string `json:"go"`
}

// result is the measurement of one flush mode.
type result struct {
	Flush     string  `json:"flush"`
	Acked     int64   `json:"acked"`
	Failed    int64   `json:"failed"` // attempts; each was repeated
	PerSecond float64 `json:"messagesPerSecond"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
	P999Ms    float64 `json:"p999Ms"`
	MaxMs     float64 `json:"maxMs"`

	// CPU is processor seconds per million acknowledged messages.
	CPU     float64        `json:"cpuSecondsPerMillion"`
	Brokers []brokerResult `json:"brokers"`

	Elections  uint64 `json:"elections"` // new terms under load; should be 0
	StartMs    int64  `json:"startMs"`   // from nothing to registered leaders
	IdleRSSMax int64  `json:"idleRssMaxBytes"`
}

type brokerResult struct {
	ID  string  `json:"id"`
	CPU float64 `json:"cpuSecondsPerMillion"`
	RSS int64   `json:"rssBytes"` // at the end of the window
}

func newResult(lanes []*lane, took time.Duration, start, end []member) *result {
	r := &result{}
	all := hdrhistogram.New(1, slowestUs, 3)
	for _, l := range lanes {
		l.mu.Lock()
		all.Merge(l.hist)
		r.Acked += l.acked
		r.Failed += l.failed
		l.mu.Unlock()
	}
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	r.PerSecond = float64(r.Acked) / took.Seconds()
	r.P50Ms, r.P99Ms, r.P999Ms, r.MaxMs = ms(50), ms(99), ms(99.9), float64(all.Max())/1000
	for i, m := range end {
		cpu := 0.0
		if r.Acked > 0 {
			cpu = (m.CPU - start[i].CPU).Seconds() / float64(r.Acked) * 1e6
		}
		r.Brokers = append(r.Brokers, brokerResult{m.id, cpu, m.RSS})
		r.CPU += cpu
	}
	return r
}

func machine() machineInfo {
	return machineInfo{Date: time.Now().UTC().Format(time.RFC3339), Commit: commit(), CPU: cpuModel(), Cores: runtime.NumCPU(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func (r *report) print(w io.Writer) error {
	c := r.Config
	fmt.Fprintf(w, "%s  commit %s  %s, %d cores  %s %s\n", r.Machine.Date, r.Machine.Commit, r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Go)
	fmt.Fprintf(w, "%d groups of %d members on this machine, %d-byte bodies, one message per request, %d under way over %d connections, %d topics, %s after %s\n\n",
		c.Groups, c.Nodes, c.Size, c.Outstanding, c.Connections, c.Topics, c.Window, c.Warmup)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "flush\tmsg/s\tp50 ms\tp99 ms\tp99.9 ms\tmax ms\tfailed\telections\tCPU-s per million\t")
	for _, x := range r.Results {
		fmt.Fprintf(tw, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\t%d\t%d\t%.1f\t\n", x.Flush, x.PerSecond, x.P50Ms, x.P99Ms, x.P999Ms, x.MaxMs, x.Failed, x.Elections, x.CPU)
	}
	fmt.Fprintln(tw)
	fmt.Fprintln(tw, "flush\tbroker\tCPU-s per million\tRSS MiB\t")
	for _, x := range r.Results {
		for _, b := range x.Brokers {
			fmt.Fprintf(tw, "%s\t%s\t%.1f\t%.0f\t\n", x.Flush, b.ID, b.CPU, float64(b.RSS)/(1<<20))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, x := range r.Results {
		fmt.Fprintf(w, "%s: up after %.1f s, largest idle broker %.0f MiB\n", x.Flush, float64(x.StartMs)/1000, float64(x.IdleRSSMax)/(1<<20))
	}
	return nil
}
