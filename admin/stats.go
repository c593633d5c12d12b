package admin

import (
	"context"
	"fmt"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Names of statistics that brokers keep.
const (
	StatsTopicPut = "TOPIC_PUT_NUMS" // key: topic
	StatsGroupGet = "GROUP_GET_NUMS" // key: topic@group
)

// Stats returns what passed a broker in the last minute, hour and day. The error
// has status SystemError when the broker has counted nothing for the key.
func (c *Client) Stats(ctx context.Context, addr, name, key string) (*protocol.BrokerStatsData, error) {
	action := fmt.Sprintf("ask for the statistics %s of %s", name, key)
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeViewBrokerStatsData).SetField("statsName", name).SetField("statsKey", key))
	var data protocol.BrokerStatsData
	if err := decode(resp, err, &data, action); err != nil {
		return nil, err
	}
	return &data, nil
}
