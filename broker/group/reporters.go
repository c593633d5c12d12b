package group

import (
	"sync"
	"time"
)

// Reporters tells reports of consumer offsets that come late. A report that was
// on its way to a leader when it stopped, lost its network or was deposed gets to
// the next one by the old one, perhaps seconds after newer ones that its client
// sent there. By the wire it looks like a consumer that goes back on purpose; but
// one that does uses the connection by which it has reported before.
//
// It holds what was reported in the last one to two windows, of bounded number.
type Reporters struct {
	window time.Duration
	now    func() time.Time

	mu             sync.Mutex
	recent, before map[offsetKey]reporter // before: of the window before
	turned         time.Time              // when recent began
	began          time.Time              // of this leader's term
}

type reporter struct {
	conn uint64
	at   time.Time
}

// reportersMax bounds the queues of one window. Beyond it reports are not told
// late that are.
const reportersMax = 200_000

// NewReporters returns an empty table. window is for how long a report of another
// connection speaks against an earlier one; now nil = time.Now.
func NewReporters(window time.Duration, now func() time.Time) *Reporters {
	if now == nil {
		now = time.Now
	}
	r := &Reporters{window: window, now: now}
	r.Restart()
	return r
}

// Restart forgets everything: this broker begins to lead. What others reported to
// the leader before it is not known.
func (r *Reporters) Restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = r.now()
	r.turned, r.recent, r.before = r.began, map[offsetKey]reporter{}, nil
}

// Took notes that a report was taken which came by a connection.
func (r *Reporters) Took(c Commit, conn uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.turned) > r.window {
		r.turned, r.before, r.recent = now, r.recent, map[offsetKey]reporter{}
	}
	key := offsetKey{c.Group, c.Topic, c.Queue}
	if _, known := r.recent[key]; known || len(r.recent) < reportersMax {
		r.recent[key] = reporter{conn, now}
	}
}

// Late reports whether one that would take the queue's offset back, and came by
// way of another member, is older than what is stored: within the window another
// connection has reported, or this leader began.
func (r *Reporters) Late(c Commit, conn uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := offsetKey{c.Group, c.Topic, c.Queue}
	last, known := r.recent[key]
	if !known {
		last, known = r.before[key]
	}
	if !known {
		return r.now().Sub(r.began) < r.window
	}
	return last.conn != conn && r.now().Sub(last.at) < r.window
}
