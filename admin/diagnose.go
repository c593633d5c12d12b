package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// unreachable words the error of a request that got no answer. Of a name server
// callNamesrv says more, when it has tried all.
func (c *Client) unreachable(addr, action string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && !slices.Contains(c.cfg.NameServers, addr) {
		return fmt.Errorf("%s: %w", action, explain.BrokerUnreachable(err, "the broker", addr))
	}
	if errors.Is(err, remoting.ErrFrameLength) {
		return fmt.Errorf("%s: %w", action, explain.NotRemoting(err, addr))
	}
	return fmt.Errorf("%s: %s: %w", action, addr, err)
}

// Requests that one kind of server answers and the other does not know.
var onlyNameServers = []int32{
	protocol.CodeGetBrokerCluster, protocol.CodeGetRouteInfoByTopic, protocol.CodeGetAllTopicListFromNamesrv,
}

// whoElse looks closer at a server that does not know a request: it may be a
// broker where a name server was meant, or the other way round.
func (c *Client) whoElse(ctx context.Context, addr string, code int32, refused error) error {
	if !IsStatus(refused, protocol.StatusRequestCodeNotSupported) {
		return refused
	}
	if !slices.Contains(onlyNameServers, code) {
		resp, err := c.exchange(ctx, addr, "ask who is there", protocol.NewRequest(protocol.CodeGetBrokerCluster))
		if err == nil && resp.Code == protocol.StatusSuccess {
			return explain.BrokerIsNameServer(refused, addr)
		}
		return refused
	}
	settings, err := c.BrokerSettings(ctx, addr)
	if err != nil || settings["brokerName"] == "" {
		return refused
	}
	return explain.NameServerIsBroker(refused, addr, settings["brokerName"], settings["namesrvAddr"])
}
