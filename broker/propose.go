package broker

import (
	"context"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// proposalPlan collects the records of one proposal. Commands come before the
// message that needs them; the whole lands in one Raft entry or nowhere.
type proposalPlan struct {
	data    []byte
	stamps  []int32
	records int
	topics  bool // a command may create or change a topic
}

// command takes over data grown by one command record.
func (p *proposalPlan) command(data []byte) { p.data, p.records = data, p.records+1 }

// message adds one message; the collector stamps its store time.
func (p *proposalPlan) message(m *message.Message) error {
	start := len(p.data)
	data, err := m.AppendStored(p.data)
	if err != nil {
		return err
	}
	p.stamps = append(p.stamps, int32(start+message.StoreTimestampPos(data[start:])))
	p.command(data)
	return nil
}

// carryOut proposes a plan and waits until it is applied. A command that was
// refused at apply makes the whole an error. An empty plan is carried out.
func (b *Broker) carryOut(ctx context.Context, plan *proposalPlan) ([]store.Result, error) {
	if plan.records == 0 {
		return nil, nil
	}
	type outcome struct {
		results []store.Result
		err     error
	}
	done := make(chan outcome, 1)
	b.node.Propose(&dledger.Proposal{
		Data: plan.data, Stamps: plan.stamps, Records: plan.records,
		Done: func(p *dledger.Proposal) { done <- outcome{p.Results, p.Err} },
	})
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		for _, r := range o.results {
			if err, ok := r.Value.(error); ok {
				return nil, err
			}
		}
		if plan.topics {
			b.topicsChanged()
		}
		return o.results, nil
	case <-ctx.Done():
		// The proposal goes on without us; whoever asked must not take a
		// timeout for a refusal.
		return nil, dledger.ErrUnknown
	}
}

// command proposes one command record and returns its result value.
func (b *Broker) command(ctx context.Context, record []byte) (any, error) {
	results, err := b.carryOut(ctx, &proposalPlan{data: record, records: 1})
	if err != nil {
		return nil, err
	}
	return results[0].Value, nil
}

// proposeAsync proposes command records whose end nobody waits for.
func (b *Broker) proposeAsync(data []byte, records int) {
	b.node.Propose(&dledger.Proposal{Data: data, Records: records, Done: func(p *dledger.Proposal) {
		if p.Err != nil {
			b.log.Debug("background proposal failed", "error", p.Err)
		}
	}})
}

func itoa(n int) string { return strconv.Itoa(n) }

// systemGroupName tells groups of the system itself, which are created even
// when groups of users are not.
func systemGroupName(name string) bool { return strings.HasPrefix(name, "CID_RMQ_SYS_") }
