package broker

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Mark returns a valid mark of a forwarded request, as another member would
// make it.
func (b *Broker) Mark(member, session string, conn uint64, client netip.AddrPort, waited time.Duration) string {
	return mark(b.meta.Secret(), member, session, conn, client, waited)
}

// AskForNameServers asks the address server before it is time.
func (b *Broker) AskForNameServers() { b.askAgain <- struct{}{} }

// Codes returns the codes that a member sends on to the leader, and those that
// it always serves itself.
func Codes() (forwarded, local []int32) {
	table := routes()
	for _, code := range slices.Sorted(maps.Keys(table)) {
		if table[code].leader {
			forwarded = append(forwarded, code)
		} else {
			local = append(local, code)
		}
	}
	return forwarded, local
}

// DisableSlow is what the leader does every three minutes.
func (b *Broker) DisableSlow(ctx context.Context) { b.disableSlow(ctx) }

// PutSetting replicates a setting unchecked, as a leader of another build might.
func (b *Broker) PutSetting(ctx context.Context, key, value string) error {
	_, err := b.command(ctx, metadata.AppendPutSettings(nil, []metadata.Setting{{Key: key, Value: value}}))
	return err
}

// SetMemory pretends that the machine has so many bytes of memory. It is for the
// time before the first request.
func (b *Broker) SetMemory(n int64) { b.memory.Store(n) }

// StoredOffset is what the replicated table of this member has.
func (b *Broker) StoredOffset(group, topic string, queue int32) (int64, bool) {
	return b.meta.Offset(group, topic, queue)
}

// MarkDoubtful is Mark for a send that may be stored already.
func (b *Broker) MarkDoubtful(client netip.AddrPort, term uint64, since int64) string {
	return markDoubtful(b.Mark("n9", "s", 1, client, 0), doubt{term: term, since: since})
}

// IsStranger tells the answer of a member that does not understand a mark.
func IsStranger(resp *protocol.Command) bool { return isStranger(resp) }
