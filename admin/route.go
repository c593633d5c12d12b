package admin

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Queue is one queue of a topic at one broker (replica group).
type Queue struct {
	Broker string // broker name
	ID     int32
}

// Route is where a topic lives. It does not change after it was made.
type Route struct {
	Topic    string
	Readable []Queue // in order of broker name and id
	Writable []Queue // only of brokers with a leader
	brokers  map[string]map[int64]string
}

// Leader returns the address that takes a broker's writes.
func (r *Route) Leader(broker string) (string, error) {
	if addr := r.brokers[broker][0]; addr != "" {
		return addr, nil
	}
	return "", fmt.Errorf("broker %s of topic %s: %w", broker, r.Topic, ErrNoLeader)
}

// Any returns an address that reads of a broker may go to: its leader, or while
// there is none another member, which forwards as soon as it knows one.
func (r *Route) Any(broker string) (string, error) {
	addrs := r.brokers[broker]
	best := int64(-1)
	for id := range addrs {
		if best < 0 || id < best {
			best = id
		}
	}
	if best < 0 {
		return "", fmt.Errorf("broker %s of topic %s: %w", broker, r.Topic, ErrNoLeader)
	}
	return addrs[best], nil
}

// routeCell is the cached route of one topic. Whoever finds it empty fetches;
// the others wait for that fetch.
type routeCell struct {
	route atomic.Pointer[Route] // nil: unknown, or found useless

	fetching sync.Mutex // serialises fetches, guards fetched
	fetched  time.Time
}

// refreshPause keeps many failing senders from flooding a name server while a
// group has no leader.
const refreshPause = 5 * time.Millisecond

// Route returns the route of a topic, from the cache when it is there.
func (c *Client) Route(ctx context.Context, topic string) (*Route, error) {
	cell := c.cell(topic)
	if route := cell.route.Load(); route != nil {
		return route, nil
	}
	cell.fetching.Lock()
	defer cell.fetching.Unlock()
	if route := cell.route.Load(); route != nil {
		return route, nil
	}
	if wait := refreshPause - time.Since(cell.fetched); wait > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	route, err := c.fetchRoute(ctx, topic)
	cell.fetched = time.Now()
	if err != nil {
		return nil, err
	}
	cell.route.Store(route)
	return route, nil
}

func (c *Client) cell(topic string) *routeCell {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.routes[topic]
	if cell == nil {
		cell = &routeCell{}
		c.routes[topic] = cell
	}
	return cell
}

// drop makes the next caller of Route fetch a new one, unless somebody has
// done so since this route was handed out.
func (c *Client) drop(route *Route) {
	c.cell(route.Topic).route.CompareAndSwap(route, nil)
}

// RouteData asks for the route of a topic as the name server has it. The error
// for a topic that is not there names similar ones.
func (c *Client) RouteData(ctx context.Context, topic string) (*protocol.TopicRouteData, error) {
	data, err := c.routeData(ctx, topic)
	if errors.Is(err, ErrNoTopic) {
		if names, lerr := c.Topics(ctx); lerr == nil {
			err = explain.UnknownTopic(ErrNoTopic, topic, len(c.cfg.NameServers), explain.Similar(topic, names))
		}
	}
	return data, err
}

func (c *Client) routeData(ctx context.Context, topic string) (*protocol.TopicRouteData, error) {
	action := "look up topic " + topic
	resp, err := c.callNamesrv(ctx, action, func() *protocol.Command {
		return protocol.NewRequest(protocol.CodeGetRouteInfoByTopic).SetField("topic", topic)
	})
	if IsStatus(err, protocol.StatusTopicNotExist) {
		return nil, explain.UnknownTopic(ErrNoTopic, topic, len(c.cfg.NameServers), nil)
	}
	var data protocol.TopicRouteData
	if err := decode(resp, err, &data, action); err != nil {
		return nil, err
	}
	return &data, nil
}

// templateQueues is how many queues producers expect of a topic that the broker
// creates for them, whatever the template has.
const templateQueues = 4

func (c *Client) fetchRoute(ctx context.Context, topic string) (*Route, error) {
	data, err := c.routeData(ctx, topic)
	if errors.Is(err, ErrNoTopic) && topic != message.TopicAutoCreate {
		// As producers do: send it where topics are created on first use.
		template, terr := c.routeData(ctx, message.TopicAutoCreate)
		if terr != nil {
			return nil, err
		}
		for i := range template.QueueDatas {
			q := &template.QueueDatas[i]
			q.WriteQueueNums, q.ReadQueueNums = min(q.WriteQueueNums, templateQueues), 0
		}
		data, err = template, nil
	}
	if err != nil {
		return nil, err
	}
	return newRoute(topic, data), nil
}

const (
	permRead  = 4
	permWrite = 2
)

func newRoute(topic string, data *protocol.TopicRouteData) *Route {
	r := &Route{Topic: topic, brokers: map[string]map[int64]string{}}
	for _, b := range data.BrokerDatas {
		r.brokers[b.BrokerName] = b.BrokerAddrs
	}
	queues := append([]protocol.QueueData(nil), data.QueueDatas...)
	sort.Slice(queues, func(i, j int) bool { return queues[i].BrokerName < queues[j].BrokerName })
	for _, q := range queues {
		for id := range q.ReadQueueNums {
			if q.Perm&permRead != 0 {
				r.Readable = append(r.Readable, Queue{q.BrokerName, id})
			}
		}
		for id := range q.WriteQueueNums {
			if _, err := r.Leader(q.BrokerName); err == nil && q.Perm&permWrite != 0 {
				r.Writable = append(r.Writable, Queue{q.BrokerName, id})
			}
		}
	}
	return r
}
