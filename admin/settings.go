package admin

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// NamesrvSettings returns the settings of one name server.
func (c *Client) NamesrvSettings(ctx context.Context, addr string) (map[string]string, error) {
	resp, err := c.call(ctx, addr, "read the settings of a name server", protocol.NewRequest(protocol.CodeGetNamesrvConfig))
	if err != nil {
		return nil, err
	}
	return config.ParseText(resp.Body)
}

// ChangeNamesrvSettings changes settings of one name server while it runs.
func (c *Client) ChangeNamesrvSettings(ctx context.Context, addr string, values map[string]string) error {
	req := protocol.NewRequest(protocol.CodeUpdateNamesrvConfig).SetBody(config.EditText(nil, values))
	_, err := c.call(ctx, addr, "change settings of a name server", req)
	return err
}

// WipeWritePerm makes one name server tell clients not to write to a broker, and
// returns in how many topics.
func (c *Client) WipeWritePerm(ctx context.Context, addr, broker string) (int, error) {
	return c.perm(ctx, addr, broker, protocol.CodeWipeWritePermOfBroker, "wipeTopicCount")
}

// AddWritePerm undoes WipeWritePerm.
func (c *Client) AddWritePerm(ctx context.Context, addr, broker string) (int, error) {
	return c.perm(ctx, addr, broker, protocol.CodeAddWritePermOfBroker, "addTopicCount")
}

func (c *Client) perm(ctx context.Context, addr, broker string, code int32, count string) (int, error) {
	action := "change the write permission of broker " + broker
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(code).SetField("brokerName", broker))
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(resp.Str(count))
	if err != nil {
		return 0, fmt.Errorf("%s: %s answered without %s", action, addr, count)
	}
	return n, nil
}

// CleanQueues makes a broker drop consume queues of topics that are gone.
func (c *Client) CleanQueues(ctx context.Context, addr string) error {
	return c.clean(ctx, addr, "clean the consume queues", protocol.CodeCleanExpiredConsumeQueue)
}

// CleanTopics makes a broker drop what is left of topics that are gone.
func (c *Client) CleanTopics(ctx context.Context, addr string) error {
	return c.clean(ctx, addr, "clean unused topics", protocol.CodeCleanUnusedTopic)
}

// CleanLog makes a broker delete messages that are old enough.
func (c *Client) CleanLog(ctx context.Context, addr string) error {
	return c.clean(ctx, addr, "delete expired messages", protocol.CodeDeleteExpiredCommitLog)
}

func (c *Client) clean(ctx context.Context, addr, action string, code int32) error {
	_, err := c.call(ctx, addr, action, protocol.NewRequest(code))
	return err
}
