package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
	"github.com/cometmq/cometmq/store"
)

// handleViewMessage serves VIEW_MESSAGE_BY_ID. Positions are the same on all
// members, so each answers what it has.
func (b *Broker) handleViewMessage(r request) {
	f := r.cmd.Required()
	at := f.Int64("offset")
	if err := f.Err(); err != nil {
		b.fail(r, err)
		return
	}
	m, err := b.store.MessageAt(message.PhyOffset(at))
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = refuse(protocol.StatusSystemError, "can not find message by the offset, %d", at)
		}
		b.fail(r, err)
		return
	}
	r.reply(&protocol.Response{Code: protocol.StatusSuccess, Header: protocol.EmptyHeader{}, Body: m})
}

// handleGetConfig serves GET_BROKER_CONFIG.
func (b *Broker) handleGetConfig(context.Context, request) (*protocol.Response, error) {
	version := protocol.DataVersion{Timestamp: b.stats.start.UnixMilli()}
	return &protocol.Response{
		Code:   protocol.StatusSuccess,
		Header: protocol.Pairs{{"version", string(protocol.Encode(&version))}},
		Body:   b.settings.Text(),
	}, nil
}

// handleRuntimeInfo serves GET_BROKER_RUNTIME_INFO with the keys that tools
// read. Queues of thread pools that we do not have are empty; a day's counts
// begin at start, since nothing is kept over a restart.
func (b *Broker) handleRuntimeInfo(context.Context, request) (*protocol.Response, error) {
	now := time.Now()
	put, get := b.stats.rates(now)
	st := b.node.Status()
	log := b.store.Log()
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	puts, bytes := b.stats.putMessages.Load(), b.stats.putBytes.Load()
	table := map[string]string{
		"brokerVersion":                        n(int64(protocol.Version)),
		"brokerVersionDesc":                    protocol.VersionDesc(protocol.Version),
		"bootTimestamp":                        n(b.stats.start.UnixMilli()),
		"runtime":                              runtimeText(now.Sub(b.stats.start)),
		"startAcceptSendRequestTimeStamp":      "0",
		"putTps":                               put,
		"getFoundTps":                          get,
		"getTransferedTps":                     get,
		"getTotalTps":                          get,
		"getMissTps":                           "0 0 0",
		"msgPutTotalYesterdayMorning":          "0",
		"msgPutTotalTodayMorning":              "0",
		"msgPutTotalTodayNow":                  n(puts),
		"msgGetTotalYesterdayMorning":          "0",
		"msgGetTotalTodayMorning":              "0",
		"msgGetTotalTodayNow":                  n(b.stats.getMessages.Load()),
		"putMessageTimesTotal":                 n(puts),
		"putMessageFailedTimes":                "0",
		"putMessageSizeTotal":                  n(bytes),
		"putMessageAverageSize":                fmt.Sprintf("%.1f", float64(bytes)/float64(max(puts, 1))),
		"sendThreadPoolQueueSize":              n(st.Counters.Waiting),
		"sendThreadPoolQueueCapacity":          "65536",
		"sendThreadPoolQueueHeadWaitTimeMills": "0",
		"pullThreadPoolQueueSize":              "0",
		"pullThreadPoolQueueCapacity":          n(int64(b.cfg().ReadQueueMax)),
		"pullThreadPoolQueueHeadWaitTimeMills": "0",
		"pageCacheLockTimeMills":               "0",
		"commitLogMinOffset":                   n(log.MinOffset()),
		"commitLogMaxOffset":                   n(log.MaxOffset()),
		"earliestMessageTimeStamp":             "-1",
		"dispatchBehindBytes":                  "0",
		"commitLogDiskRatio":                   "0.0",
		"consumeQueueDiskRatio":                "0.0",
		"heldPulls":                            n(b.held.count.Load()),
		"raftRole":                             st.Role.String(),
		"raftTerm":                             n(int64(st.Term)),
		"raftLeaderId":                         st.LeaderID,
		"raftSelfId":                           b.selfID,
		"registered":                           strconv.FormatBool(len(b.cfg().nameServers()) == 0 || b.register.anyReached()),
		"raftCommitIndex":                      n(int64(st.CommitIndex)),
		"raftAppliedIndex":                     n(int64(st.AppliedIndex)),
	}
	if u, err := b.fs.Usage(b.cfg().StoreRoot); err == nil && u.Total > 0 {
		ratio := fmt.Sprintf("%.4f", float64(u.Total-u.Free)/float64(u.Total))
		table["commitLogDiskRatio"], table["consumeQueueDiskRatio"] = ratio, ratio
		table["commitLogDirCapacity"] = fmt.Sprintf("Total : %d MiB, Free : %d MiB.", u.Total>>20, u.Free>>20)
	}
	return withBody(protocol.Encode(&protocol.KVTable{Table: table}), nil)
}

// runtimeText is RocketMQ's way to print an uptime.
func runtimeText(d time.Duration) string {
	d = d.Truncate(time.Second)
	day := 24 * time.Hour
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}
