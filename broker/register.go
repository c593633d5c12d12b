package broker

import (
	"context"
	"sync"
	"time"

	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// registrar keeps the name servers informed: when the role changes, when
// topics change, and every RegisterPeriod. It always tells the whole present
// state, so that rounds may be merged and repeated at will.
type registrar struct {
	b      *Broker
	client *remoting.Client

	// kicks holds one token: somebody wants a round.
	kicks chan struct{}

	mu      sync.Mutex
	asked   uint64 // rounds asked for
	told    uint64 // asked, as of the start of the last finished round
	changed chan struct{}
	reached map[string]bool // name server to whether its last answer was good
}

// registerGap is the least time between two rounds. Auto-creation of many
// topics asks for many, and each tells of all topics.
const registerGap = 50 * time.Millisecond

func newRegistrar(b *Broker, client *remoting.Client) *registrar {
	return &registrar{b: b, client: client, kicks: make(chan struct{}, 1), changed: make(chan struct{}), reached: map[string]bool{}}
}

// kick asks for a round and returns its number for wait.
func (g *registrar) kick() uint64 {
	g.mu.Lock()
	g.asked++
	n := g.asked
	g.mu.Unlock()
	select {
	case g.kicks <- struct{}{}:
	default:
	}
	return n
}

// waitRound returns when a round that began after this call is finished, or
// with ctx. The caller goes on either way: a name server that is down must not
// stop topics from being created, and hears of them when it is back.
func (g *registrar) waitRound(ctx context.Context) {
	if len(g.b.cfg().nameServers()) > 0 {
		g.wait(ctx, g.kick())
	}
}

func (g *registrar) wait(ctx context.Context, round uint64) bool {
	for {
		g.mu.Lock()
		done, changed := g.told >= round, g.changed
		g.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// run makes rounds until ctx ends.
func (g *registrar) run(ctx context.Context) {
	for {
		timer := time.NewTimer(g.b.cfg().registerPeriod())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.kicks:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		g.round(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(registerGap):
		}
	}
}

// round tells all name servers at the same time.
func (g *registrar) round(ctx context.Context) {
	g.mu.Lock()
	asked := g.asked
	g.mu.Unlock()
	head, body := g.registration()
	ctx, cancel := context.WithTimeout(ctx, g.b.cfg().RegisterTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, addr := range g.b.cfg().nameServers() {
		wg.Go(func() { g.tell(ctx, addr, head, body) })
	}
	wg.Wait()
	g.mu.Lock()
	g.told = asked
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
}

// registration is what this member is at the moment: the leader, as broker id
// 0 with its term in the data version so that name servers can tell it from an
// older one, or a follower.
func (g *registrar) registration() (protocol.BrokerHeader, []byte) {
	b := g.b
	head := b.registrationHeader()
	var w protocol.RegisterBrokerBody
	w.TopicConfigs.TopicConfigTable = map[string]*protocol.TopicConfig{}
	if head.BrokerID == protocol.MasterID {
		w.TopicConfigs = b.topicTable()
		w.TopicConfigs.DataVersion.StateVersion = int64(b.term.Load())
		capPermissions(w.TopicConfigs.TopicConfigTable, b.cfg().Permission)
	}
	head.Compressed = b.cfg().CompressedRegister
	body := protocol.Encode(&w)
	if head.Compressed {
		short, err := w.AppendCompressed(nil)
		if err != nil {
			b.log.Warn("registering uncompressed", "error", err)
			head.Compressed = false
		} else {
			body = short
		}
	}
	head.BodyCRC32 = protocol.BodyCRC32(body)
	return head, body
}

// registrationHeader names this member as its role wants it.
func (b *Broker) registrationHeader() protocol.BrokerHeader {
	id := b.followerID
	if b.leading.Load() {
		id = protocol.MasterID
	}
	return protocol.BrokerHeader{
		ClusterName: b.cfg().ClusterName, BrokerName: b.brokerName, BrokerAddr: b.addr.String(), BrokerID: id,
		HAServerAddr: b.haAddr(), ExternalAddr: b.external,
	}
}

// capPermissions lowers the permission of all topics to the broker's own.
func capPermissions(topics map[string]*protocol.TopicConfig, perm int32) {
	if perm&(protocol.PermRead|protocol.PermWrite) == protocol.PermRead|protocol.PermWrite {
		return
	}
	for name, t := range topics {
		c := *t
		c.Perm &= perm
		topics[name] = &c
	}
}

// tell registers with one name server.
func (g *registrar) tell(ctx context.Context, addr string, head protocol.BrokerHeader, body []byte) {
	resp, err := g.client.Invoke(ctx, addr, protocol.NewRequest(protocol.CodeRegisterBroker).SetHeader(&head).SetBody(body))
	good := err == nil && resp.Code == protocol.StatusSuccess
	g.mu.Lock()
	was, known := g.reached[addr]
	g.reached[addr] = good
	g.mu.Unlock()
	log := g.b.log.With("name-server", addr, "broker-id", head.BrokerID)
	switch {
	case err != nil && (was || !known):
		log.Warn("cannot reach name server, will try again; is mqnamesrv running there?", "error", err)
	case err == nil && !good:
		log.Warn("name server refused the registration", "code", resp.Code, "remark", resp.Remark)
	case good && !was:
		log.Info("registered")
	}
	if err == nil {
		resp.Release()
	}
}

// anyReached reports whether some name server took the last registration.
func (g *registrar) anyReached() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ok := range g.reached {
		if ok {
			return true
		}
	}
	return false
}

// unregister takes this member off all name servers, at stop.
func (g *registrar) unregister(ctx context.Context) {
	head := g.b.registrationHeader()
	var wg sync.WaitGroup
	for _, addr := range g.b.cfg().nameServers() {
		wg.Go(func() {
			resp, err := g.client.Invoke(ctx, addr, protocol.NewRequest(protocol.CodeUnregisterBroker).SetHeader(&head))
			if err != nil {
				g.b.log.Debug("not unregistered", "name-server", addr, "error", err)
				return
			}
			resp.Release()
		})
	}
	wg.Wait()
}

// topicsChanged makes the name servers hear of a changed topic table soon.
func (b *Broker) topicsChanged() { b.register.kick() }
