package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
)

// clusterRow is one broker of clusterList. Numbers that the broker did not tell
// are missing, never 0.
type clusterRow struct {
	Cluster string            `json:"cluster"`
	Broker  string            `json:"broker"`
	BID     int64             `json:"bid"`
	Addr    string            `json:"addr"`
	Error   string            `json:"error,omitempty"` // why Runtime is empty
	Runtime map[string]string `json:"runtime,omitempty"`
}

const (
	clusterColumns      columns = "%-16v  %-22v  %-4v  %-22v %-16v %19v %19v %10v %5v %6v"
	clusterTotalColumns columns = "%-16v  %-32v %14v %14v %14v %14v"
)

func clusterListCommand(o *options) *cobra.Command {
	var more bool
	var every int64
	var output string
	cmd := rocketmq("clusterList", "List the brokers of all clusters")
	cmd.Flags().BoolVarP(&more, "moreStats", "m", false, "totals of today and yesterday instead")
	cmd.Flags().Int64VarP(&every, "interval", "i", 0, "again every so many seconds, until it is told to end")
	outputFlag(cmd, &output)
	return o.run(cmd, forever, func(s *session) error {
		for {
			if err := clusterList(s, output, more); err != nil || every <= 0 {
				return err
			}
			if err := s.pause(time.Duration(every) * time.Second); err != nil {
				return err
			}
		}
	})
}

func clusterList(s *session, output string, more bool) error {
	ctx, cancel := context.WithTimeout(s.ctx, ordinary)
	defer cancel()
	rows, err := clusterRows(ctx, s.client)
	if err != nil {
		return err
	}
	if isData(output) {
		return printData(s.w, output, rows)
	}
	line, headings := clusterColumns, []any{"#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)", "#OutTPS(LOAD)", "#PCWait(ms)", "#Hour", "#SPACE"}
	if more {
		line, headings = clusterTotalColumns, []any{"#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday"}
	}
	s.row(line, headings...)
	for _, r := range rows {
		if more {
			s.row(line, r.totals()...)
		} else {
			s.row(line, r.columns(time.Now())...)
		}
	}
	return silent(rows)
}

// silent returns an error that names the brokers that did not answer: the list
// has been printed, but it is not the whole truth.
func silent(rows []clusterRow) error {
	var failures []error
	for _, r := range rows {
		if r.Error != "" {
			failures = append(failures, errors.New(r.Error))
		}
	}
	return errors.Join(failures...)
}

func clusterRows(ctx context.Context, client *admin.Client) ([]clusterRow, error) {
	info, err := client.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	rows := []clusterRow{}
	for cluster, names := range info.ClusterAddrTable {
		for _, name := range names {
			for id, addr := range info.BrokerAddrTable[name].BrokerAddrs {
				row := clusterRow{Cluster: cluster, Broker: name, BID: id, Addr: addr}
				if row.Runtime, err = client.Runtime(ctx, addr); err != nil {
					row.Error = err.Error()
				}
				rows = append(rows, row)
			}
		}
	}
	sort.Slice(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		if a.Cluster != b.Cluster {
			return a.Cluster < b.Cluster
		}
		return a.Broker < b.Broker || a.Broker == b.Broker && a.BID < b.BID
	})
	return rows, nil
}

func (r clusterRow) columns(now time.Time) []any {
	load := func(tps, queue string) string {
		return fmt.Sprintf("%9s(%s,%sms)", firstNumber(r.Runtime[tps]), orDash(r.Runtime[queue+"ThreadPoolQueueSize"]), orDash(r.Runtime[queue+"ThreadPoolQueueHeadWaitTimeMills"]))
	}
	hour, space := "-", "-"
	if ms, err := strconv.ParseInt(r.Runtime["earliestMessageTimeStamp"], 10, 64); err == nil && ms > 0 {
		hour = fmt.Sprintf("%.2f", now.Sub(time.UnixMilli(ms)).Hours())
	}
	if ratio, err := strconv.ParseFloat(r.Runtime["commitLogDiskRatio"], 64); err == nil {
		space = fmt.Sprintf("%.4f", ratio)
	}
	return []any{r.Cluster, r.Broker, r.BID, r.Addr, orDash(r.Runtime["brokerVersionDesc"]),
		load("putTps", "send"), load("getTransferedTps", "pull"), orDash(r.Runtime["pageCacheLockTimeMills"]), hour, space}
}

// totals counts messages since midnight, and of the day before.
func (r clusterRow) totals() []any {
	return []any{r.Cluster, r.Broker,
		r.difference("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"), r.difference("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
		r.difference("msgPutTotalTodayNow", "msgPutTotalTodayMorning"), r.difference("msgGetTotalTodayNow", "msgGetTotalTodayMorning")}
}

func (r clusterRow) difference(later, earlier string) string {
	a, err1 := strconv.ParseInt(r.Runtime[later], 10, 64)
	b, err2 := strconv.ParseInt(r.Runtime[earlier], 10, 64)
	if err1 != nil || err2 != nil {
		return "-"
	}
	return strconv.FormatInt(a-b, 10)
}

// firstNumber shortens "12.3 11.9 10.0" (10 s, 60 s, 600 s) to "12.30".
func firstNumber(s string) string {
	f, err := strconv.ParseFloat(strings.SplitN(strings.TrimSpace(s), " ", 2)[0], 64)
	if err != nil {
		return "-"
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func brokerStatusCommand(o *options) *cobra.Command {
	var at scope
	var output string
	cmd := rocketmq("brokerStatus", "Show the runtime table of a broker, or of all members of a cluster")
	at.flags(cmd)
	outputFlag(cmd, &output)
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.everyone(s)
		if err != nil {
			return err
		}
		tables := map[string]map[string]string{}
		var failures []error
		for _, addr := range addrs {
			table, err := s.client.Runtime(s.ctx, addr)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			tables[addr] = table
			if isData(output) {
				continue
			}
			for _, key := range sorted(table) {
				if at.broker == "" {
					s.printf("%-24s ", addr)
				}
				s.printf("%-32s: %s\n", key, table[key])
			}
		}
		if isData(output) {
			failures = append(failures, printData(s.w, output, tables))
		}
		return errors.Join(failures...)
	})
}

func timeText(ms int64) string {
	if ms <= 0 {
		return ""
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05,000")
}
