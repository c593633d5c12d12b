package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// A trace message holds records that end with 0x02, of fields that are separated
// by 0x01; the first field says of which kind a record is.
const (
	traceRecordEnd = "\x02"
	traceField     = "\x01"
	tracePub       = "Pub"      // a message was sent
	traceSubAfter  = "SubAfter" // a message was consumed
)

// traceRecord is what one record tells of one message.
type traceRecord struct {
	kind   string
	msgID  string
	group  string
	time   int64 // ms; 0 if the client was too old to say
	cost   int   // ms
	ok     bool
	client string // address of the client that wrote the trace
}

// parseTrace returns the records of the two kinds that are shown; those that
// cannot be read are left out.
func parseTrace(body, client string) []traceRecord {
	var out []traceRecord
	for _, text := range strings.Split(body, traceRecordEnd) {
		f := strings.Split(text, traceField)
		r := traceRecord{kind: f[0], client: client}
		var err error
		switch {
		case f[0] == tracePub && len(f) >= 12:
			r.group, r.msgID = f[3], f[5]
			r.time, _ = strconv.ParseInt(f[1], 10, 64)
			r.cost, err = strconv.Atoi(f[10])
			if len(f) == 13 {
				r.ok = f[12] == "true"
			} else if len(f) >= 14 {
				r.ok = f[13] == "true"
			}
		case f[0] == traceSubAfter && len(f) >= 6:
			r.msgID, r.ok = f[2], f[4] == "true"
			r.cost, err = strconv.Atoi(f[3])
			if len(f) >= 9 {
				r.time, _ = strconv.ParseInt(f[7], 10, 64)
				r.group = f[8]
			}
		default:
			continue
		}
		if err == nil {
			out = append(out, r)
		}
	}
	return out
}

const traceColumns columns = "%-10v %-20v %-20v %-20v %-10v %-10v"

func queryMsgTraceByIDCommand(o *options) *cobra.Command {
	var id string
	topic := message.TopicTrace
	cmd := rocketmq("queryMsgTraceById", "Show who sent a message and who consumed it, where clients leave traces")
	needText(cmd, &id, "msgId", "i", "id that its producer gave the message")
	text(cmd, &topic, "traceTopic", "t", "topic of the traces")
	return o.run(cmd, lengthy, func(s *session) error {
		records, err := readTrace(s, topic, id)
		if err != nil {
			return err
		}
		printTrace(s, records)
		return nil
	})
}

// readTrace returns what clients left about a message.
func readTrace(s *session, topic, id string) ([]traceRecord, error) {
	found, err := s.client.Query(s.ctx, admin.KeyQuery{Topic: topic, Key: id, End: time.Now().UnixMilli(), Max: 64})
	if err != nil {
		return nil, err
	}
	var records []traceRecord
	for _, m := range found {
		body, err := admin.Body(m)
		if err != nil {
			return nil, err
		}
		for _, r := range parseTrace(string(body), m.BornHost().Addr().String()) {
			if r.msgID == id {
				records = append(records, r)
			}
		}
	}
	return records, nil
}

func printTrace(s *session, records []traceRecord) {
	show := func(r traceRecord, kind string) {
		status := "failed"
		if r.ok {
			status = "success"
		}
		s.row(traceColumns, kind, r.group, r.client, secondText(r.time), fmt.Sprintf("%dms", r.cost), status)
	}
	groups := map[string][]traceRecord{}
	for _, r := range records {
		if r.kind == traceSubAfter {
			groups[r.group] = append(groups[r.group], r)
			continue
		}
		s.row(traceColumns, "#Type", "#ProducerGroup", "#ClientHost", "#SendTime", "#CostTimes", "#Status")
		show(r, "Pub")
		s.print("\n")
	}
	for _, group := range sorted(groups) {
		s.row(traceColumns, "#Type", "#ConsumerGroup", "#ClientHost", "#ConsumerTime", "#CostTimes", "#Status")
		for _, r := range groups[group] {
			show(r, "Sub")
		}
		s.print("\n")
	}
}

// toolGroup is the producer group that the tool's messages are said to be of.
const toolGroup = "CLIENT_INNER_PRODUCER"

// leaveTrace sends the trace of a message that was sent.
func leaveTrace(s *session, m admin.Message, id string, res admin.SendResult, began time.Time, ok bool) error {

	record := strings.Join([]string{
		tracePub, strconv.FormatInt(began.UnixMilli(), 10), "DefaultRegion", toolGroup, m.Topic, id, m.Tags, m.Keys, res.Addr,
		strconv.Itoa(len(m.Body)), strconv.FormatInt(time.Since(began).Milliseconds(), 10), "0", res.MsgID, strconv.FormatBool(ok), "",
	}, traceField) + traceRecordEnd
	keys := id
	if m.Keys != "" {
		keys += " " + m.Keys
	}
	_, err := s.client.Send(s.ctx, admin.Message{Topic: message.TopicTrace, Queue: admin.AnyQueue, Body: []byte(record), Keys: keys})
	return err
}
