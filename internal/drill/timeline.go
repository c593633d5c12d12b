package drill

import (
	"fmt"
	"sync"
	"time"
)

// bucket is the width of one column of a timeline.
const bucket = 100 * time.Millisecond

// Timeline is what happened when, in ms since the first acknowledgement.
type Timeline struct {
	BucketMs int64   `json:"bucketMs"`
	Events   []Event `json:"events"`
	// Acks are acknowledgements in each bucket, one row a client.
	Acks []TimelineRow `json:"acks"`
}

// Event is something a drill did or saw.
type Event struct {
	AtMs int64  `json:"atMs"`
	What string `json:"what"`
	Kind string `json:"kind"` // fault, heal, election or ack
}

// TimelineRow is the acknowledgements of one client.
type TimelineRow struct {
	Client string `json:"client"`
	Counts []int  `json:"counts"`
}

// Kinds of events.
const (
	eventFault    = "fault"
	eventHeal     = "heal"
	eventElection = "election"
	eventAck      = "ack"
)

// journal collects events while a trial runs.
type journal struct {
	mu     sync.Mutex
	events []timedEvent
}

type timedEvent struct {
	at   time.Time
	kind string
	what string
}

func (j *journal) note(kind, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, timedEvent{time.Now(), kind, fmt.Sprintf(format, args...)})
}

// timeline counts what each client was acknowledged.
func (j *journal) timeline(start time.Time, clients []string, acks map[string][]Ack) Timeline {
	t := Timeline{BucketMs: bucket.Milliseconds()}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		t.Events = append(t.Events, Event{AtMs: e.at.Sub(start).Milliseconds(), What: e.what, Kind: e.kind})
	}
	for _, name := range clients {
		row := TimelineRow{Client: name, Counts: []int{}}
		for _, a := range acks[name] {
			at := int(a.At.Sub(start) / bucket)
			if at < 0 {
				continue // of a client that was ready before the others
			}
			for len(row.Counts) <= at {
				row.Counts = append(row.Counts, 0)
			}
			row.Counts[at]++
		}
		t.Acks = append(t.Acks, row)
	}
	return t
}
