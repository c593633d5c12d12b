package admin

import (
	"context"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// TopicConfig returns a topic's configuration on one broker. Brokers of RocketMQ
// 4 do not know the request (StatusRequestCodeNotSupported).
func (c *Client) TopicConfig(ctx context.Context, addr, topic string) (*protocol.TopicConfig, error) {
	action := "ask for the settings of topic " + topic
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetTopicConfig).SetField("topic", topic))
	var cfg protocol.TopicConfig
	if err := decode(resp, err, &cfg, action); err != nil {
		return nil, err
	}
	return &cfg, nil
}
