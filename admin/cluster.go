package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// Cluster returns all brokers that the name server knows.
func (c *Client) Cluster(ctx context.Context) (*protocol.ClusterInfo, error) {
	const action = "list the cluster"
	resp, err := c.callNamesrv(ctx, action, func() *protocol.Command {
		return protocol.NewRequest(protocol.CodeGetBrokerCluster)
	})
	var info protocol.ClusterInfo
	if err := decode(resp, err, &info, action); err != nil {
		return nil, err
	}
	return &info, nil
}

// Leaders returns the address of each broker's leader, sorted by broker name;
// cluster "" means all clusters.
func (c *Client) Leaders(ctx context.Context, cluster string) ([]string, error) {
	info, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for name, members := range info.ClusterAddrTable {
		if cluster == "" || name == cluster {
			names = append(names, members...)
		}
	}
	if len(names) == 0 {
		return nil, noBroker(cluster)
	}
	sort.Strings(names)
	var addrs []string
	for _, name := range names {
		addr := info.BrokerAddrTable[name].BrokerAddrs[0]
		if addr == "" {
			return nil, fmt.Errorf("broker %s: %w", name, ErrNoLeader)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// Runtime returns the runtime table of one broker: RocketMQ's keys, and of a
// CometMQ broker the RuntimeKey… ones.
func (c *Client) Runtime(ctx context.Context, addr string) (map[string]string, error) {
	action := "ask " + addr + " for its runtime information"
	resp, err := c.call(ctx, addr, action, protocol.NewRequest(protocol.CodeGetBrokerRuntimeInfo))
	var table protocol.KVTable
	if err := decode(resp, err, &table, action); err != nil {
		return nil, err
	}
	return table.Table, nil
}

// Keys that a CometMQ broker adds to its runtime table.
const (
	RuntimeKeyRole = "raftRole" // leader, follower or candidate
	RuntimeKeyTerm = "raftTerm"
	// RuntimeKeyLeader is the id of the group's leader, "" while there is none.
	RuntimeKeyLeader = "raftLeaderId"
	// RuntimeKeyRegistered is "true" when some name server took the last
	// registration, or when none is configured.
	RuntimeKeyRegistered = "registered"
)

// Member is what one member of a replica group says of itself.
type Member struct {
	Role string // leader, follower or candidate
	Term uint64
}

// ErrNotCometMQ says that a broker answers, but is none of ours.
var ErrNotCometMQ = errors.New("the broker does not report a Raft role")

// Member asks one broker for its place in its group.
func (c *Client) Member(ctx context.Context, addr string) (Member, error) {
	table, err := c.Runtime(ctx, addr)
	if err != nil {
		return Member{}, err
	}
	role, ok := table[RuntimeKeyRole]
	if !ok {
		return Member{}, fmt.Errorf("%s: %w", addr, ErrNotCometMQ)
	}
	term, err := strconv.ParseUint(table[RuntimeKeyTerm], 10, 64)
	if err != nil {
		return Member{}, fmt.Errorf("%s reports the term %q: %w", addr, table[RuntimeKeyTerm], err)
	}
	return Member{Role: role, Term: term}, nil
}

// Broker is one member of a broker group as the name servers know it.
type Broker struct {
	Cluster, Name string
	ID            int64 // protocol.MasterID: the leader
	Addr          string
}

// Brokers returns the registered members of a cluster ("" means of all), by
// cluster, broker name and id.
func (c *Client) Brokers(ctx context.Context, cluster string) ([]Broker, error) {
	info, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	var list []Broker
	for name, members := range info.ClusterAddrTable {
		if cluster != "" && name != cluster {
			continue
		}
		for _, broker := range members {
			for id, addr := range info.BrokerAddrTable[broker].BrokerAddrs {
				list = append(list, Broker{Cluster: name, Name: broker, ID: id, Addr: addr})
			}
		}
	}
	if len(list) == 0 {
		return nil, noBroker(cluster)
	}
	slices.SortFunc(list, func(a, b Broker) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

func noBroker(cluster string) error {
	if cluster == "" {
		return errors.New("the name server knows no broker; see: mqadmin clusterList")
	}
	return fmt.Errorf("cluster %q has no broker that the name server knows; see: mqadmin clusterList", cluster)
}
