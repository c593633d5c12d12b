package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// comparePoll is the time between two questions how far a comparison is.
const comparePoll = 200 * time.Millisecond

// CompareLogs has the group of the broker at addr compare its members' logs from
// the first entry on, and returns when that is done; differences are those found
// meanwhile. progress is told how far it
// is now and then.
func (c *Client) CompareLogs(ctx context.Context, addr string, progress func(*protocol.LogComparison)) (*protocol.LogComparison, error) {
	first, err := c.askComparison(ctx, addr, true)
	if err != nil {
		return nil, err
	}
	for {
		now, err := c.askComparison(ctx, addr, false)
		if err != nil {
			return nil, err
		}
		if now.Leader != first.Leader || now.Number+1 < first.Wanted {
			return nil, fmt.Errorf("the group of %s changed its leader meanwhile; begin again", addr)
		}
		if now.Number >= first.Wanted && now.Complete {
			now.Wanted = first.Wanted
			now.Differences -= first.Differences
			if n := uint64(len(now.Found)); n > now.Differences {
				now.Found = now.Found[n-now.Differences:]
			}
			return now, nil
		}
		progress(now)
		select {
		case <-ctx.Done():
			return now, fmt.Errorf("compare the logs of the group of %s: %w", addr, context.Cause(ctx))
		case <-time.After(comparePoll):
		}
	}
}

func (c *Client) askComparison(ctx context.Context, addr string, start bool) (*protocol.LogComparison, error) {
	action := "compare the logs of the group of " + addr
	req := protocol.NewRequest(protocol.CodeCompareLogs)
	if start {
		req.SetField("start", "true")
	}
	resp, err := c.call(ctx, addr, action, req)
	if err != nil {
		return nil, err
	}
	cmp, err := protocol.DecodeLogComparison(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	return cmp, nil
}
