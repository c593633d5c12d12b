package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// orderNamespace holds the order configuration of topics on the name servers.
const orderNamespace = "ORDER_TOPIC_CONFIG"

// ErrNoKV says that a name server has no such setting.
var ErrNoKV = errors.New("no such setting on the name server")

// onEach runs an action on every name server; they do not copy settings to each
// other. Those that fail are named together.
func (c *Client) onEach(do func(addr string) error) error {
	var failures []error
	for _, addr := range c.cfg.NameServers {
		failures = append(failures, do(addr))
	}
	return errors.Join(failures...)
}

// PutKV sets a setting on every name server.
func (c *Client) PutKV(ctx context.Context, namespace, key, value string) error {
	return c.onEach(func(addr string) error {
		req := protocol.NewRequest(protocol.CodePutKVConfig).SetHeader(protocol.Pairs{{"namespace", namespace}, {"key", key}, {"value", value}})
		_, err := c.call(ctx, addr, fmt.Sprintf("set %s in %s", key, namespace), req)
		return err
	})
}

// DeleteKV removes a setting from every name server.
func (c *Client) DeleteKV(ctx context.Context, namespace, key string) error {
	return c.onEach(func(addr string) error {
		req := protocol.NewRequest(protocol.CodeDeleteKVConfig).SetHeader(protocol.Pairs{{"namespace", namespace}, {"key", key}})
		_, err := c.call(ctx, addr, fmt.Sprintf("delete %s in %s", key, namespace), req)
		return err
	})
}

// KV returns a setting; the error is ErrNoKV when there is none.
func (c *Client) KV(ctx context.Context, namespace, key string) (string, error) {
	action := fmt.Sprintf("look up %s in %s", key, namespace)
	resp, err := c.callNamesrv(ctx, action, func() *protocol.Command {
		return protocol.NewRequest(protocol.CodeGetKVConfig).SetHeader(protocol.Pairs{{"namespace", namespace}, {"key", key}})
	})
	if IsStatus(err, protocol.StatusQueryNotFound) {
		return "", fmt.Errorf("%s: %w", action, ErrNoKV)
	}
	if err != nil {
		return "", err
	}
	return resp.Str("value"), nil
}

// PutOrder replaces a topic's order configuration: "broker-a:4;broker-b:4".
func (c *Client) PutOrder(ctx context.Context, topic, conf string) error {
	return c.PutKV(ctx, orderNamespace, topic, conf)
}

// Order returns a topic's order configuration.
func (c *Client) Order(ctx context.Context, topic string) (string, error) {
	return c.KV(ctx, orderNamespace, topic)
}

// DeleteOrder removes a topic's order configuration.
func (c *Client) DeleteOrder(ctx context.Context, topic string) error {
	return c.DeleteKV(ctx, orderNamespace, topic)
}

// MergeOrder puts one broker's entry into a topic's order configuration and
// leaves those of other brokers.
func (c *Client) MergeOrder(ctx context.Context, topic, entry string) error {
	old, err := c.Order(ctx, topic)
	if err != nil && !errors.Is(err, ErrNoKV) {
		return err
	}
	broker, _, _ := strings.Cut(entry, ":")
	entries := slices.DeleteFunc(strings.Split(old, ";"), func(e string) bool {
		name, _, _ := strings.Cut(e, ":")
		return e == "" || name == broker
	})
	entries = append(entries, entry)
	slices.Sort(entries)
	return c.PutOrder(ctx, topic, strings.Join(entries, ";"))
}
