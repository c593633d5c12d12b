//go:build refill

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// refillSenders send one small message each 10 ms at most, and wait for the answer.
	refillSenders = 8
	refillPause   = 10 * time.Millisecond
	// refillBaseline is how long the load alone is measured.
	refillBaseline = 20 * time.Second
	refillKills    = 5
	// refillNear is how far behind the log's end a member that has everything may be seen under load.
	refillNear = 1 << 20
)

// refill is a group one of whose followers is wiped again and again.
type refill struct {
	*cluster
	victim node
	asked  string // the follower that is left alone
	cmd    *exec.Cmd
}

// TestRefill: a follower of a group with a log of 5 GB (REFILL_MB) loses its disk under a steady load of the official client
// and gets everything back: once undisturbed, which may at most double the 99th percentile of the senders' times; and once
// killed at five random moments (REFILL_SEED). Each time it votes again. In the end all logs are equal, and the refilled
// member leads and has every acknowledged message. Rows 27 and 32 of the fault matrix. `make refill` runs it.
func TestRefill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("REFILL_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("REFILL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := &refill{cluster: ownCluster(t, refillSettings()...)}
	big := fillLog(t, r.cluster, megabytes(t, "REFILL_MB", 5<<10))
	r.victim = r.follower(t)
	s, err := r.status()
	require.NoError(t, err)
	for _, n := range s.Brokers {
		if n.Role == "follower" && n.ID != r.victim.ID {
			r.asked = n.Addr
		}
	}

	topic := uniqueName("steady")
	r.createTopic(t, topic, 4)
	stop := make(chan struct{})
	wait := steadySends(newProducer(t, r.namesrv), topic, refillSenders, refillPause, stop)
	<-time.After(refillBaseline)
	calm := time.Now()

	wiped := time.Now()
	r.wipe(t)
	r.start(t)
	size := r.converge(t)
	whole := time.Now()
	t.Logf("%s was refilled with %d MiB in %v, %.0f MiB/s", r.victim.ID, size>>20, whole.Sub(wiped).Round(100*time.Millisecond),
		float64(size>>20)/whole.Sub(wiped).Seconds())

	disturbed := time.Now()
	r.wipe(t)
	r.start(t)
	moments := make([]float64, refillKills)
	for i := range moments {
		moments[i] = 0.02 + 0.93*random.Float64()
	}
	slices.Sort(moments)
	for _, part := range moments {
		var had int64
		require.Eventually(t, func() bool {
			had, _ = r.position(t)
			return float64(had) >= part*float64(size)
		}, 10*time.Minute, 5*time.Millisecond, "never at %.2f of the log", part)
		r.kill(t)
		r.start(t)
		resumed := r.holds(t)
		t.Logf("killed at %.2f with %d MiB, went on with %d MiB", part, had>>20, resumed>>20)
		require.GreaterOrEqual(t, resumed, had/2, "a cut costs what came last, not what came before")
	}
	r.converge(t)
	again := time.Now()
	t.Logf("killed %d times and whole again after %v", refillKills, again.Sub(disturbed).Round(100*time.Millisecond))

	close(stop)
	all := wait()
	before := slowest(t, "load alone", all, calm.Add(-refillBaseline), calm)
	during := slowest(t, "refill", all, wiped, whole)
	slowest(t, "refill with kills", all, disturbed, again)
	t.Logf("p99 during the refill is %.2f times that of the load alone", during.Seconds()/before.Seconds())

	_, err = command("mqadmin", "store", "compare", "-n", r.namesrv)
	require.NoError(t, err, "all members have the same log")
	_, err = command("mqadmin", "group", "transfer-leader", r.victim.ID, "-n", r.namesrv)
	require.NoError(t, err, "the refilled member can lead")
	require.Equal(t, "leader", raftRole(r.victim.Addr))
	big.audit(t, r.victim.Addr)
	want := acknowledged(all)
	for _, m := range readTopic(t, r.victim.Addr, topic, 4) {
		delete(want, string(m.Body))
	}
	require.Empty(t, want, "acknowledged and lost")
	failed, _, _, first := outcome(all, time.Time{})
	require.Zero(t, failed, "sends failed, the first with: %v", first)
	require.LessOrEqual(t, during, 2*before, "the refill costs the senders too much")
}

// wipe kills the member and empties its disk.
func (r *refill) wipe(t *testing.T) {
	t.Helper()
	r.kill(t)
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, r.victim.ID)))
}

func (r *refill) kill(t *testing.T) {
	t.Helper()
	if r.cmd == nil {
		require.NoError(t, syscall.Kill(r.victim.PID, syscall.SIGKILL))
	} else {
		require.NoError(t, r.cmd.Process.Kill())
		_ = r.cmd.Wait() // killed
	}
	r.victim.awaitPorts(t)
}

func (r *refill) start(t *testing.T) {
	t.Helper()
	r.cmd = r.member(t, r.victim.ID)
}

// position is what the wiped member says of itself: how much of the log it has, or has received aside, and whether it votes.
func (r *refill) position(t *testing.T) (bytes int64, votes bool) {
	t.Helper()
	h, err := health(r.victim.Addr)
	if err != nil {
		return 0, false // not up yet
	}
	end, err := strconv.ParseInt(h["commitLogMaxOffset"], 10, 64)
	require.NoError(t, err)
	aside, _ := strconv.ParseInt(h["refillBytes"], 10, 64) // absent when nothing is received that way
	return max(end, aside), h["votes"] == "true" && h["refillFrom"] == ""
}

// converge waits until the member has everything and votes, and returns how much that is.
func (r *refill) converge(t *testing.T) (size int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		has, votes := r.position(t)
		h, err := health(r.asked)
		require.NoError(t, err)
		size, err = strconv.ParseInt(h["commitLogMaxOffset"], 10, 64)
		require.NoError(t, err)
		return votes && size-has <= refillNear
	}, 20*time.Minute, 50*time.Millisecond, "%s never had everything", r.victim.ID)
	return size
}

// holds is how much of the log the member has when it first answers after a start.
func (r *refill) holds(t *testing.T) (bytes int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		bytes, _ = r.position(t)
		return bytes > 0
	}, time.Minute, 5*time.Millisecond, "%s does not answer, or begins anew", r.victim.ID)
	return bytes
}

// refillSettings are those of the brokers that the environment asks for (REFILL_SET, as in mqadmin local up --set).
func refillSettings() []string {
	if s := os.Getenv("REFILL_SET"); s != "" {
		return []string{"--set", s}
	}
	return nil
}

// slowest prints what the sends of a while took and returns the 99th percentile.
func slowest(t *testing.T, what string, all []attempt, from, to time.Time) time.Duration {
	t.Helper()
	var took []time.Duration
	for _, a := range all {
		if a.begin.After(from) && a.begin.Before(to) {
			took = append(took, a.end.Sub(a.begin))
		}
	}
	require.NotEmpty(t, took, what)
	slices.Sort(took)
	at := func(part float64) time.Duration { return took[int(part*float64(len(took)-1))] }
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("%s: %s", what, strings.Join([]string{
		fmt.Sprintf("%d sends in %v", len(took), to.Sub(from).Round(time.Second)), fmt.Sprintf("p50 %v", at(0.5).Round(10*time.Microsecond)),
		fmt.Sprintf("p99 %v", at(0.99).Round(10*time.Microsecond)), fmt.Sprintf("longest %v", at(1).Round(10*time.Microsecond)),
		"load average " + strings.TrimSpace(string(load)),
	}, ", "))
	return at(0.99)
}
