package broker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// registrar keeps the name servers informed: when the role changes, when
// topics change, and every RegisterPeriod. It always tells the whole present
// state, so that rounds may be merged and repeated at will.
//
// A name server that could not be told is tried again after a second, and then
// at doubling intervals; so is one whose connection ended. A name server keeps
// nothing over a restart, and RocketMQ's brokers leave it without routes for up
// to 30 s.
type registrar struct {
	b      *Broker
	client *remoting.Client

	// kicks holds one token: somebody wants a round. So does losses: a
	// connection to a name server ended.
	kicks, losses chan struct{}

	telling sync.Mutex // held while name servers are told something

	mu      sync.Mutex
	asked   uint64 // rounds asked for
	told    uint64 // asked, as of the start of the last finished round
	changed chan struct{}
	reached map[string]bool              // name server to whether its last answer was good
	orders  map[string]map[string]string // name server to its order configurations by topic, see ordered
}

// registerGap is the least time between two rounds. Auto-creation of many
// topics asks for many, and each tells of all topics.
const registerGap = 50 * time.Millisecond

// registerRetry is the first pause before a name server is tried again.
const registerRetry = time.Second

func newRegistrar(b *Broker, client *remoting.Client) *registrar {
	return &registrar{b: b, client: client, kicks: make(chan struct{}, 1), losses: make(chan struct{}, 1), changed: make(chan struct{}), reached: map[string]bool{}, orders: map[string]map[string]string{}}
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

// run makes rounds until ctx ends: of all name servers when it is time or
// somebody asks, of the missing ones in between.
func (g *registrar) run(ctx context.Context) {
	next, retry := time.Now().Add(g.b.cfg().registerPeriod()), registerRetry
	for {
		pause := time.Until(next)
		if len(g.missing()) > 0 {
			pause = min(pause, retry)
		}
		timer := time.NewTimer(max(pause, 0))
		full := false
		select {
		case <-ctx.Done():
		case <-timer.C:
			full = !time.Now().Before(next)
		case <-g.kicks:
			full = true
		case <-g.losses:
			retry = registerRetry
			timer.Stop()
			continue
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		if full {
			next = time.Now().Add(g.b.cfg().registerPeriod())
			g.round(ctx)
		} else {
			retry *= 2
			g.tellAll(ctx, g.missing())
		}
		if len(g.missing()) == 0 {
			retry = registerRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(registerGap):
		}
	}
}

// missing lists the name servers that were told something once, or not yet, and
// do not know what is true now.
func (g *registrar) missing() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, addr := range g.b.cfg().nameServers() {
		if good, tried := g.reached[addr]; tried && !good {
			out = append(out, addr)
		}
	}
	return out
}

// lost notes that a connection to a name server ended: it has forgotten us, or
// will as soon as it notices.
func (g *registrar) lost(addr string) {
	g.mu.Lock()
	was := g.reached[addr]
	g.reached[addr] = false
	g.mu.Unlock()
	if was && g.b.ctx.Err() == nil {
		g.b.log.Warn("the connection to a name server ended, registering again", "name-server", addr)
	}
	select {
	case g.losses <- struct{}{}:
	default:
	}
}

// tellAll tells the given name servers the present state at the same time.
func (g *registrar) tellAll(ctx context.Context, nameServers []string) {
	g.telling.Lock()
	defer g.telling.Unlock()
	if g.b.leaving.Load() && !g.b.leading.Load() {
		return // they were told that we leave
	}
	if !g.b.belongs() {
		if g.anyReached() {
			g.b.log.Info("leaving the name servers: this member is not one of its group at the moment", "standing", g.b.node.Standing())
			g.forgetUs(ctx)
		}
		return
	}
	head, body := g.registration()
	ctx, cancel := context.WithTimeout(ctx, g.b.cfg().RegisterTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, addr := range nameServers {
		wg.Go(func() { g.tell(ctx, addr, head, body) })
	}
	wg.Wait()
}

// round tells all name servers.
func (g *registrar) round(ctx context.Context) {
	nameServers := g.b.cfg().nameServers()
	g.mu.Lock()
	asked := g.asked
	maps.DeleteFunc(g.orders, func(addr string, _ map[string]string) bool { return !slices.Contains(nameServers, addr) })
	g.mu.Unlock()
	g.tellAll(ctx, nameServers)
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
		perm := b.cfg().Permission
		capPermissions(w.TopicConfigs.TopicConfigTable, perm)
		// A name server passes over a table whose version it has, and our permission
		// is part of what we tell: with another one it is another version.
		w.TopicConfigs.DataVersion.Timestamp += int64(perm ^ (protocol.PermRead | protocol.PermWrite))
		if b.hidden(message.TopicAutoCreate) {
			w.TopicConfigs.DataVersion.Timestamp += 8 // above all permissions; the template is left out
		}
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
		ClusterName: b.cfg().ClusterName, BrokerName: b.brokerName, BrokerAddr: b.Addr().String(), BrokerID: id,
		HAServerAddr: b.haAddr(), ExternalAddr: b.external,
		StandIns: int32(b.cfg().StandIns),
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
	var orders map[string]string
	if good {
		orders = g.ordersOf(addr, resp.Body)
	}
	g.mu.Lock()
	was, known := g.reached[addr]
	g.reached[addr] = good
	if good {
		g.orders[addr] = orders
	}
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

// ordersOf reads what a name server answers a registration with: the order
// configurations it keeps, or nothing when it has none.
func (g *registrar) ordersOf(addr string, body []byte) map[string]string {
	if len(body) == 0 {
		return nil
	}
	var table protocol.KVTable
	if err := table.Decode(body); err != nil {
		g.b.log.Warn("cannot read the order configurations of a name server", "name-server", addr, "error", err)
	}
	return table.Table
}

// ordered reports whether a topic is one of strict order: it was made so, or a
// name server has an order configuration for it. RocketMQ's brokers write the
// second into their topics, and out of them again as soon as another topic is
// configured, also where somebody set it. Here it is looked up, so that it holds
// exactly as long as the configuration does, as of the last registration there.
func (g *registrar) ordered(t *protocol.TopicConfig) bool {
	if t.Order {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, orders := range g.orders {
		if _, ok := orders[t.TopicName]; ok {
			return true
		}
	}
	return false
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

// states says of each name server whether it took the last registration.
func (g *registrar) states() map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.reached)
}

// unregister takes this member off all name servers, at stop.
func (g *registrar) unregister(ctx context.Context) {
	g.telling.Lock()
	defer g.telling.Unlock()
	g.forgetUs(ctx)
}

// forgetUs is unregister for who holds telling.
func (g *registrar) forgetUs(ctx context.Context) {
	g.mu.Lock()
	clear(g.reached)
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, g.b.cfg().RegisterTimeout)
	defer cancel()
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
