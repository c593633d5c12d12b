package main

import (
	"bytes"
	"context"
	"encoding/json"
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

func clusterListCommand(o *options) *cobra.Command {
	var more bool
	var output string
	cmd := &cobra.Command{
		Use: "clusterList", Short: "List the brokers of all clusters (RocketMQ)", Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVarP(&more, "moreStats", "m", false, "totals of today and yesterday instead")
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		rows, err := clusterRows(ctx, client)
		if err != nil {
			return err
		}
		if output == "json" {
			return printJSON(cmd.OutOrStdout(), rows)
		}
		lines := [][]string{{"#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)", "#OutTPS(LOAD)", "#PCWait(ms)", "#Hour", "#SPACE"}}
		if more {
			lines = [][]string{{"#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday"}}
		}
		for _, r := range rows {
			if more {
				lines = append(lines, r.totals())
			} else {
				lines = append(lines, r.columns(time.Now()))
			}
		}
		if err := table(cmd.OutOrStdout(), lines); err != nil {
			return err
		}
		return silent(rows)
	}
	return cmd
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

func (r clusterRow) columns(now time.Time) []string {
	load := func(tps, queue string) string {
		return fmt.Sprintf("%s(%s,%sms)", firstNumber(r.Runtime[tps]), orDash(r.Runtime[queue+"ThreadPoolQueueSize"]), orDash(r.Runtime[queue+"ThreadPoolQueueHeadWaitTimeMills"]))
	}
	hour := "-"
	if ms, err := strconv.ParseInt(r.Runtime["earliestMessageTimeStamp"], 10, 64); err == nil && ms > 0 {
		hour = fmt.Sprintf("%.2f", now.Sub(time.UnixMilli(ms)).Hours())
	}
	return []string{r.Cluster, r.Broker, strconv.FormatInt(r.BID, 10), r.Addr, orDash(r.Runtime["brokerVersionDesc"]),
		load("putTps", "send"), load("getTransferedTps", "pull"), orDash(r.Runtime["pageCacheLockTimeMills"]), hour, orDash(r.Runtime["commitLogDiskRatio"])}
}

// totals counts messages since midnight, and of the day before.
func (r clusterRow) totals() []string {
	return []string{r.Cluster, r.Broker,
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
	var broker, cluster, output string
	cmd := &cobra.Command{Use: "brokerStatus", Short: "Show the runtime table of a broker or a cluster (RocketMQ)", Args: cobra.NoArgs}
	cmd.Flags().StringVarP(&broker, "brokerAddr", "b", "", "broker")
	cmd.Flags().StringVarP(&cluster, "clusterName", "c", "", "cluster")
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (broker == "") == (cluster == "") {
			return errors.New("give -b BROKER or -c CLUSTER")
		}
		client, ctx, done, err := o.connect(cmd)
		if err != nil {
			return err
		}
		defer done()
		addrs := []string{broker}
		if broker == "" {
			if addrs, err = client.Leaders(ctx, cluster); err != nil {
				return err
			}
		}
		tables := map[string]map[string]string{}
		for _, addr := range addrs {
			if tables[addr], err = client.Runtime(ctx, addr); err != nil {
				return err
			}
		}
		if output == "json" {
			return printJSON(cmd.OutOrStdout(), tables)
		}
		for _, addr := range addrs {
			prefix := ""
			if cluster != "" {
				prefix = addr + "  "
			}
			keys := make([]string, 0, len(tables[addr]))
			for k := range tables[addr] {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				fmt.Fprintf(cmd.OutOrStdout(), "%s%-32s: %s\n", prefix, k, tables[addr][k])
			}
		}
		return nil
	}
	return cmd
}

func timeText(ms int64) string {
	if ms <= 0 {
		return ""
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05,000")
}

func indentJSON(text []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "\t"); err != nil {
		return text
	}
	return out.Bytes()
}
