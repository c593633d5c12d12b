package metadata

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
)

// OnceKey is what makes two sends the same: a hash of topic, producer group and
// the client's unique id.
type OnceKey [16]byte

// MakeOnceKey hashes the identity of a send. count is the number of messages in
// it, so that the answer to a batch is never given to something of another size.
// The hash is one that nobody can make collide at will, because a collision
// would swallow a message.
func MakeOnceKey[T string | []byte](topic string, group, unique T, count int) OnceKey {
	var room [192]byte
	b := append(append(room[:0], topic...), 0)
	b = append(binary.AppendUvarint(b, uint64(len(group))), group...)
	b = append(binary.AppendUvarint(b, uint64(count)), unique...)
	sum := sha256.Sum256(b)
	return OnceKey(sum[:16])
}

// OnceKind says what a send that is stored once does with its messages.
type OnceKind uint8

const (
	// OncePublish publishes them.
	OncePublish OnceKind = 0
	// OncePrepare makes the one message a pending half message, see
	// AppendPrepare.
	OncePrepare OnceKind = 1
)

// OnceLimits come with each command, so that all replicas use those of the
// leader that proposed it.
type OnceLimits struct {
	// WindowMillis is how long a send is remembered, on the group's clock.
	WindowMillis int64
	// EntriesMax is how many messages are remembered at most. When more arrive
	// within the window, the oldest are forgotten early.
	EntriesMax int32
}

// Bounds of OnceLimits.
const (
	OnceWindowMax  = 24 * 60 * 60 * 1000
	OnceEntriesMax = 20_000_000
)

// OncePayloadSize is the length of what AppendOncePayload appends, and
// onceKeyPos is where the key stands in it.
const (
	OncePayloadSize = 1 + 1 + 16 + 8 + 4 + 4
	onceKeyPos      = 2
)

// AppendOnce stores nested, the messages of one send, unless a send of the same
// key was stored within the window. queue is what the producer is told. Result
// value: a Sent, or an error.
func AppendOnce(dst []byte, kind OnceKind, key OnceKey, limits OnceLimits, queue int32, nested ...[]byte) []byte {
	p := AppendOncePayload(nil, kind, limits, queue)
	SetOnceKey(p, key)
	return store.AppendCommand(dst, OpOnce, p, nested...)
}

// AppendOncePayload is AppendOnce for who encodes the command in place. The key
// is set when it is known, by SetOnceKey.
func AppendOncePayload(dst []byte, kind OnceKind, limits OnceLimits, queue int32) []byte {
	dst = append(dst, formatVersion, byte(kind))
	dst = append(dst, make([]byte, len(OnceKey{}))...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(limits.WindowMillis))
	dst = binary.BigEndian.AppendUint32(dst, uint32(limits.EntriesMax))
	return binary.BigEndian.AppendUint32(dst, uint32(queue))
}

// SetOnceKey sets the key in a payload.
func SetOnceKey(payload []byte, key OnceKey) { copy(payload[onceKeyPos:], key[:]) }

// AppendForgetOnce forgets sends stored before a group time (ms). Result value:
// an int, how many messages are still remembered, or an error.
func AppendForgetOnce(dst []byte, before int64) []byte {
	return store.AppendCommand(dst, OpForgetOnce, binary.BigEndian.AppendUint64([]byte{formatVersion}, uint64(before)))
}

// onceBuckets is the number of parts of the window. The oldest part is forgotten
// as a whole, so that memory holds up to one part more than the window.
const onceBuckets = 5

// oncePage is the number of entries stored under one key: a checkpoint writes
// the pages that are new or were not full.
const oncePage = 1024

// onceTable remembers recent sends, so that a producer that did not hear our
// answer and sends again, perhaps to the next leader, gets that answer instead
// of a second copy. It is only asked and filled by sends to topics with
// de-duplication.
//
// Entries live in buckets by group time. A bucket only grows, until the next one
// begins, and is dropped as a whole: nothing is moved and nothing is searched to
// forget. All but entries is the business of the applying goroutine alone.
type onceTable struct {
	half *halfTable
	log  hclog.Logger

	buckets []*onceBucket // oldest first
	seq     uint64        // of the next bucket
	dirty   dirty         // keys are bucket and page, "" is seq
	marked  pageID        // the page last marked, to mark it once for all its entries

	entries atomic.Int64 // messages remembered
	newest  atomic.Int64 // group time of the last one
}

// pageID names a page; no bucket has page -1.
type pageID struct {
	bucket uint64
	page   int
}

var noPage = pageID{page: -1}

type onceBucket struct {
	seq     uint64
	start   int64 // group time
	weight  int   // messages in it
	index   map[OnceKey]uint32
	entries []onceEntry
	batches [][]int32
	hosts   []netip.AddrPort // where messages of the bucket are looked up: its leaders
}

// onceEntry is 48 bytes; with its place in the index about 85.
type onceEntry struct {
	key    OnceKey
	phy    message.PhyOffset
	offset message.QueueOffset
	after  uint32 // ms since the bucket's start
	queue  int32
	host   uint16 // place in hosts
	// batch is 0, or 1 plus the place in batches of how far behind phy the
	// second and later messages lie.
	batch uint32
}

func newOnceTable(half *halfTable, log hclog.Logger) *onceTable {
	return &onceTable{half: half, log: log, dirty: dirty{}, marked: noPage}
}

func (t *onceTable) reset() {
	t.buckets, t.seq, t.marked = nil, 0, noPage
	t.entries.Store(0)
	t.newest.Store(0)
	clear(t.dirty)
}

func (t *onceTable) apply(ctx *store.ApplyContext, verb byte, r *reader) (any, error) {
	switch uint16(tableOnce)<<8 | uint16(verb) {
	case OpOnce:
		return t.send(ctx, r)
	case OpForgetOnce:
		before := r.i64()
		if err := r.done(); err != nil {
			return nil, err
		}
		t.forget(before)
		return int(t.entries.Load()), nil
	}
	return nil, unknownVerb("once", verb)
}

func (t *onceTable) send(ctx *store.ApplyContext, r *reader) (any, error) {
	kind := OnceKind(r.u8())
	var key OnceKey
	copy(key[:], r.take(len(key)))
	limits := OnceLimits{WindowMillis: r.i64(), EntriesMax: int32(r.u32())}
	queue := int32(r.u32())
	if err := r.done(); err != nil {
		return nil, err
	}
	if kind > OncePrepare || ctx.NestedCount() == 0 {
		return nil, fmt.Errorf("%w: send of kind %d with %d messages", ErrInvalid, kind, ctx.NestedCount())
	}
	if limits.WindowMillis < 1 || limits.WindowMillis > OnceWindowMax || limits.EntriesMax < 1 || limits.EntriesMax > OnceEntriesMax {
		return nil, fmt.Errorf("%w: de-duplication of %d messages within %d ms", ErrInvalid, limits.EntriesMax, limits.WindowMillis)
	}
	if first, ok := t.lookup(key, ctx.Time-limits.WindowMillis); ok {
		return first, nil
	}
	var group []byte
	if kind == OncePrepare {
		var err error
		if group, err = t.half.admit(ctx); err != nil {
			return nil, err
		}
	}
	sent := Sent{Queue: queue, Host: ctx.Nested(0).StoreHost(), Results: make([]store.Result, ctx.NestedCount())}
	if kind == OncePrepare {
		sent.Results[0] = t.half.add(ctx, group)
	} else {
		for i := range sent.Results {
			sent.Results[i] = ctx.Publish(i)
		}
	}
	t.forget(ctx.Time - limits.WindowMillis)
	t.remember(ctx.Time, key, &sent, limits)
	return sent, nil
}

// lookup returns the answer to a send that was stored after a group time.
func (t *onceTable) lookup(key OnceKey, after int64) (Sent, bool) {
	for i := len(t.buckets) - 1; i >= 0; i-- {
		b := t.buckets[i]
		n, ok := b.index[key]
		if !ok {
			continue
		}
		e := &b.entries[n]
		if b.at(e) <= after {
			return Sent{}, false // older buckets hold older ones
		}
		sent := Sent{Duplicate: true, Queue: e.queue, Host: b.hosts[e.host], Results: []store.Result{{Phy: e.phy, Queue: e.offset}}}
		if e.batch > 0 {
			for j, behind := range b.batches[e.batch-1] {
				sent.Results = append(sent.Results, store.Result{Phy: e.phy + message.PhyOffset(behind), Queue: e.offset + 1 + message.QueueOffset(j)})
			}
		}
		return sent, true
	}
	return Sent{}, false
}

func (t *onceTable) remember(now int64, key OnceKey, sent *Sent, limits OnceLimits) {
	b := t.bucket(now, limits)
	e := onceEntry{
		key: key, phy: sent.Results[0].Phy, offset: sent.Results[0].Queue, after: uint32(now - b.start), queue: sent.Queue,
		host: t.hostIn(b, sent.Host),
	}
	if len(sent.Results) > 1 {
		behind := make([]int32, 0, len(sent.Results)-1)
		for _, r := range sent.Results[1:] {
			behind = append(behind, int32(r.Phy-e.phy))
		}
		b.batches = append(b.batches, behind)
		e.batch = uint32(len(b.batches))
	}
	b.add(e, len(sent.Results))
	t.entries.Add(int64(len(sent.Results)))
	t.newest.Store(now)
	if page := (pageID{b.seq, (len(b.entries) - 1) / oncePage}); t.marked != page {
		t.marked = page
		t.dirty.mark(pageKey(b.seq, len(b.entries)-1))
	}
}

// hostsMax is more leaders than a bucket can see; those beyond it are told as
// the last.
const hostsMax = 1000

func (t *onceTable) hostIn(b *onceBucket, host netip.AddrPort) uint16 {
	if i := slices.Index(b.hosts, host); i >= 0 {
		return uint16(i)
	}
	if len(b.hosts) < hostsMax {
		b.hosts = append(b.hosts, host)
		t.dirty.mark(bucketKey(b.seq))
	}
	return uint16(len(b.hosts) - 1)
}

// at is the group time of an entry.
func (b *onceBucket) at(e *onceEntry) int64 { return b.start + int64(e.after) }

func (b *onceBucket) add(e onceEntry, weight int) {
	b.index[e.key] = uint32(len(b.entries))
	b.entries = append(b.entries, e)
	b.weight += weight
}

// bucket returns the bucket for an entry of now, a new one when the last is old
// or full.
func (t *onceTable) bucket(now int64, limits OnceLimits) *onceBucket {
	room := max(int(limits.EntriesMax)/onceBuckets, 1)
	if n := len(t.buckets); n > 0 {
		last := t.buckets[n-1]
		if now-last.start < max(limits.WindowMillis/(onceBuckets-1), 1) && last.weight < room {
			return last
		}
	}
	for len(t.buckets) >= onceBuckets {
		early := t.buckets[0].last() + limits.WindowMillis - now
		t.log.Warn("forgetting sends before the end of the de-duplication window, raise deduplicateEntriesMax",
			"messages", t.buckets[0].weight, "early-ms", early)
		t.drop()
	}
	b := &onceBucket{seq: t.seq, start: now, index: map[OnceKey]uint32{}}
	t.seq++
	t.buckets = append(t.buckets, b)
	t.dirty.mark("")
	t.dirty.mark(bucketKey(b.seq))
	return b
}

// last is the group time of the bucket's last entry.
func (b *onceBucket) last() int64 {
	if len(b.entries) == 0 {
		return b.start
	}
	return b.at(&b.entries[len(b.entries)-1])
}

// forget drops the buckets whose entries are all from before a group time, or
// from that very time.
func (t *onceTable) forget(before int64) {
	for len(t.buckets) > 0 && t.buckets[0].last() <= before {
		t.drop()
	}
}

// drop drops the oldest bucket.
func (t *onceTable) drop() {
	b := t.buckets[0]
	t.buckets[0] = nil
	t.buckets = t.buckets[1:]
	t.entries.Add(-int64(b.weight))
	t.dirty.mark(bucketKey(b.seq))
	for i := 0; i < len(b.entries); i += oncePage {
		t.dirty.mark(pageKey(b.seq, i))
	}
}

func bucketKey(seq uint64) string { return string(binary.BigEndian.AppendUint64(nil, seq)) }

// pageKey is the key of the page that holds an entry.
func pageKey(seq uint64, entry int) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, seq), uint32(entry/oncePage)))
}

func (t *onceTable) find(seq uint64) *onceBucket {
	for _, b := range t.buckets {
		if b.seq == seq {
			return b
		}
	}
	return nil
}

func (t *onceTable) changes(dst []store.KV) []store.KV {
	be := binary.BigEndian
	t.marked = noPage
	return t.dirty.drain(dst, tableOnce, func(key string) []byte {
		if key == "" {
			return be.AppendUint64([]byte{formatVersion}, t.seq)
		}
		b := t.find(be.Uint64([]byte(key)))
		switch {
		case b == nil:
			return nil
		case len(key) == 8:
			v := binary.AppendUvarint(be.AppendUint64([]byte{formatVersion}, uint64(b.start)), uint64(len(b.hosts)))
			for _, h := range b.hosts {
				v = appendString(v, h.String())
			}
			return v
		}
		first := int(be.Uint32([]byte(key[8:]))) * oncePage
		return b.page(first)
	})
}

func (b *onceBucket) page(first int) []byte {
	be := binary.BigEndian
	entries := b.entries[first:min(first+oncePage, len(b.entries))]
	v := make([]byte, 1, 4+len(entries)*48)
	v[0] = formatVersion
	v = binary.AppendUvarint(v, uint64(len(entries)))
	for i := range entries {
		e := &entries[i]
		v = append(v, e.key[:]...)
		v = be.AppendUint32(v, e.after)
		v = be.AppendUint64(v, uint64(e.phy))
		v = be.AppendUint64(v, uint64(e.offset))
		v = be.AppendUint32(v, uint32(e.queue))
		v = binary.AppendUvarint(v, uint64(e.host))
		var behind []int32
		if e.batch > 0 {
			behind = b.batches[e.batch-1]
		}
		v = binary.AppendUvarint(v, uint64(len(behind)))
		for _, n := range behind {
			v = appendI32(v, n)
		}
	}
	return v
}

// load takes over the seq, a bucket, or a page. Pairs come in the order of their
// keys, so that a bucket precedes its pages and they follow each other.
func (t *onceTable) load(key, value []byte) error {
	r := newReader(value)
	be := binary.BigEndian
	switch len(key) {
	case 0:
		t.seq = r.u64()
		return r.done()
	case 8:
		b := &onceBucket{seq: be.Uint64(key), start: r.i64(), index: map[OnceKey]uint32{}}
		for range r.count(1) {
			host, err := netip.ParseAddrPort(r.string())
			if err != nil {
				r.fail("a host that is no address")
			}
			b.hosts = append(b.hosts, host)
		}
		if n := len(t.buckets); n > 0 && t.buckets[n-1].seq >= b.seq {
			r.fail("buckets in disorder")
		}
		if r.err == nil {
			t.buckets = append(t.buckets, b)
		}
		return r.done()
	case 12:
		b := t.find(be.Uint64(key))
		if b == nil || len(b.entries) != int(be.Uint32(key[8:]))*oncePage {
			return fmt.Errorf("%w: a page of sends without its bucket or the page before", ErrFormat)
		}
		return t.loadPage(b, r)
	}
	return fmt.Errorf("%w: key of %d bytes for sends", ErrFormat, len(key))
}

func (t *onceTable) loadPage(b *onceBucket, r *reader) error {
	for range r.count(16 + 4 + 8 + 8 + 4 + 1 + 1) {
		var e onceEntry
		copy(e.key[:], r.take(len(e.key)))
		e.after, e.phy, e.offset = r.u32(), message.PhyOffset(r.i64()), message.QueueOffset(r.i64())
		e.queue = int32(r.u32())
		host := r.uvarint()
		if host >= uint64(len(b.hosts)) {
			r.fail("an entry without a host")
		}
		e.host = uint16(host)
		behind := make([]int32, r.count(1))
		for i := range behind {
			behind[i] = r.i32()
		}
		if r.err != nil {
			break
		}
		if len(behind) > 0 {
			b.batches = append(b.batches, behind)
			e.batch = uint32(len(b.batches))
		}
		b.add(e, 1+len(behind))
		t.entries.Add(int64(1 + len(behind)))
		t.newest.Store(max(t.newest.Load(), b.at(&e)))
	}
	return r.done()
}

// OnceEntries is the number of messages whose repetition would be noticed, and
// the group time (ms) of the last of them.
func (s *State) OnceEntries() (count int, newest int64) {
	return int(s.once.entries.Load()), s.once.newest.Load()
}
