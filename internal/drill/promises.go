package drill

import "fmt"

// What single drills promise beyond the audit that all share. Each returns "" or
// the promise that was broken; promises_test.go breaks each.

// checkOffsets holds for every drill.
func checkOffsets(r *Trial) string {
	if r.OffsetsBehindMs > offsetsBound.Milliseconds() {
		return fmt.Sprintf("consumer offsets confirmed %d ms before the fault are gone (bound: %d ms)", r.OffsetsBehindMs, offsetsBound.Milliseconds())
	}
	return ""
}

func checkElection(r *Trial) string {
	if r.ElectionMs > pauseElection.Milliseconds() {
		return fmt.Sprintf("the new leader took %d ms (bound: %d ms)", r.ElectionMs, pauseElection.Milliseconds())
	}
	if r.OldLeaderAcks > 0 && !r.OldLeaderLeads {
		return fmt.Sprintf("the old leader acknowledged %d messages itself after it was deposed", r.OldLeaderAcks)
	}
	return ""
}

func checkSameTerm(r *Trial) string {
	if r.TermAfter != r.TermBefore {
		return fmt.Sprintf("the term went from %d to %d: a member that nobody needs disturbed the group", r.TermBefore, r.TermAfter)
	}
	return ""
}

func checkUnnoticed(r *Trial) string {
	if text := checkSameTerm(r); text != "" {
		return text
	}
	if r.Errors > 0 {
		return fmt.Sprintf("%d attempts of senders failed, the first with: %s", r.Errors, r.FirstError)
	}
	return ""
}

// checkNoErrors: no client may see an error, those of others included.
func checkNoErrors(r *Trial) string {
	if r.Errors > 0 {
		return fmt.Sprintf("%d attempts of senders failed, the first with: %s", r.Errors, r.FirstError)
	}
	for _, c := range r.Clients {
		if c.Failed > 0 {
			return fmt.Sprintf("%d sends of the %s client failed, the first with: %s", c.Failed, c.Client, c.FirstError)
		}
	}
	return ""
}

func checkClock(r *Trial) string {
	for _, s := range r.Steps {
		if s.Name == stepLeaderClock && s.NewTerm {
			return "the step of the leader's clock caused an election"
		}
	}
	return ""
}

// watchdogBound is the watchdog's time in slow-fsync plus what an election may
// take after it.
const watchdogBound = 2000 + 2000

func checkWatchdog(r *Trial) string {
	for _, s := range r.Steps {
		if s.Name == stepHang && s.ElectionMs > watchdogBound {
			return fmt.Sprintf("the leader whose fsync hung was replaced after %d ms (bound: %d ms)", s.ElectionMs, watchdogBound)
		}
		if s.Name == stepSlowFollower && s.NewTerm {
			return "a follower's slow fsync caused an election"
		}
	}
	return ""
}

// resumeBound is how soon sends must be taken again once a full disk has room.
const resumeBound = 5000

func checkResumed(r *Trial) string {
	for _, s := range r.Steps {
		if s.ResumedMs > resumeBound {
			return fmt.Sprintf("%s: sends were taken again %d ms after there was space (bound: %d ms)", s.Name, s.ResumedMs, resumeBound)
		}
	}
	return ""
}
