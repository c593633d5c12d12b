package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// GroupMembers asks a broker for the members of its replica group; the leader's
// view if there is a leader, else that broker's own.
func (c *Client) GroupMembers(ctx context.Context, addr string) (*protocol.GroupMembers, error) {
	action := "ask " + addr + " for the members of its group"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGroupMembers))
	var g protocol.GroupMembers
	if err := decode(resp, err, &g, action); err != nil {
		return nil, err
	}
	return &g, nil
}

// ChangeMembers takes one step of a change of the members of a broker's group.
// Any member passes it on to the leader. When its outcome is unknown, look at the
// members: steps are not repeated by themselves.
func (c *Client) ChangeMembers(ctx context.Context, addr string, h protocol.ChangeMembersHeader) (*protocol.MemberStep, error) {
	action := strings.TrimSpace(h.Step + " " + h.ID)
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeChangeMembers).SetHeader(&h))
	var s protocol.MemberStep
	if err := decode(resp, err, &s, action); err != nil {
		return nil, err
	}
	return &s, nil
}

// GroupAddrs returns where the members of a replica group can be asked, the
// leader first. The name "" is allowed when the name servers know one broker
// name only.
func (c *Client) GroupAddrs(ctx context.Context, brokerName string) ([]string, error) {
	info, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(info.BrokerAddrTable))
	if brokerName == "" {
		if len(names) > 1 {
			return nil, fmt.Errorf("there are several broker names: choose one with --brokerName (%s)", strings.Join(names, ", "))
		}
		if len(names) == 0 {
			return nil, errors.New("the name server knows no broker; is mqbroker running with this namesrvAddr? A member can be asked with -b HOST:PORT")
		}
		brokerName = names[0]
	}
	data, ok := info.BrokerAddrTable[brokerName]
	if !ok {
		return nil, fmt.Errorf("the name server knows no broker %q, only %s", brokerName, strings.Join(names, ", "))
	}
	var addrs []string
	for _, id := range slices.Sorted(maps.Keys(data.BrokerAddrs)) {
		addrs = append(addrs, data.BrokerAddrs[id])
	}
	return addrs, nil
}
