//go:build chaos

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// awaitVoters waits until the group consists of these voters, who all have everything.
func (c *cluster) awaitVoters(t *testing.T, ids ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		g, err := c.members()
		if err != nil || len(g.Members) != len(ids) {
			return false
		}
		for i, m := range g.Members {
			if m.ID != ids[i] || !m.Voter || m.State != "ok" {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "never voters: %v", ids)
}

// run starts a member's broker by hand.
func (c *cluster) run(t *testing.T, id string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "logs", id+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	cmd := exec.Command(bin("mqbroker"), "-c", filepath.Join(c.dir, "broker-"+id+".conf"))
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
		log.Close()
	})
}

// TestChaosMembers: a fourth member comes in, the leader of the beginning leaves for good, and a member loses its disk, one
// after the other while unmodified clients send and consume. Rows 27 and 34.
func TestChaosMembers(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	topic, group := uniqueName("members"), uniqueName("g")
	c.createTopic(t, topic, 4)
	box := newConsumer(t, c.namesrv, group, topic, consumer.MessageSelector{}, nil)
	p := newProducer(t, c.namesrv)
	var mu sync.Mutex
	acked := map[string]bool{}
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf("%d-%d", w, i)
				for ctx.Err() == nil { // as an application would: again until it is acknowledged
					if r, err := p.SendSync(ctx, primitive.NewMessage(topic, []byte(body))); err == nil && r.Status == primitive.SendOK {
						mu.Lock()
						acked[body] = true
						mu.Unlock()
						sent.Add(1)
						break
					}
				}
			}
		})
	}
	goesOn := func(what string) {
		t.Helper()
		before := sent.Load()
		require.Eventually(t, func() bool { return sent.Load() >= before+300 }, 90*time.Second, 10*time.Millisecond, "nothing is stored after %s", what)
	}
	goesOn("the start")

	out, err := command("mqadmin", "local", "add-member", "--dir", c.dir)
	require.NoError(t, err)
	require.Contains(t, out, "n3 votes")
	c.awaitVoters(t, "n0", "n1", "n2", "n3")
	goesOn("a member came in")

	old := c.leader(t)
	out, err = command("mqadmin", "group", "remove", old.ID, "-n", c.namesrv)
	require.NoError(t, err)
	require.Contains(t, out, old.ID+" is no member any more")
	var rest []string
	for _, id := range []string{"n0", "n1", "n2", "n3"} {
		if id != old.ID {
			rest = append(rest, id)
		}
	}
	c.awaitVoters(t, rest...)
	goesOn("the leader left the group")
	_, err = command("mqadmin", "local", "remove-member", old.ID, "--dir", c.dir)
	require.NoError(t, err)
	goesOn("its process ended")

	wiped := c.follower(t)
	require.NoError(t, syscall.Kill(wiped.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool { return ended(wiped.PID) }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.RemoveAll(filepath.Join(c.dir, wiped.ID)))
	c.run(t, wiped.ID)
	out, err = command("mqadmin", "group", "replace", wiped.ID, "-n", c.namesrv, "--wait", "1m")
	require.NoError(t, err)
	require.Contains(t, out, wiped.ID+" votes")
	c.awaitVoters(t, rest...)
	goesOn("a disk was lost")

	// What it got back counts: the group goes on without one of the others.
	other := c.leader(t)
	require.NoError(t, syscall.Kill(other.PID, syscall.SIGKILL))
	goesOn("the leader died after that")
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d messages acknowledged", len(acked))
	box.waitFor(t, acked, 2*time.Minute)
}

// TestChaosRecoverGroup: two disks of three are gone. The third one is made a group of its own, offline, and the two others
// join again with empty stores.
func TestChaosRecoverGroup(t *testing.T) {
	t.Parallel()
	c := ownCluster(t)
	topic := uniqueName("recover")
	c.createTopic(t, topic, 1)
	p := newProducer(t, c.namesrv)
	for i := range 20 {
		sendSync(t, p, primitive.NewMessage(topic, fmt.Append(nil, i)))
	}
	kept := c.follower(t)
	store := filepath.Join(c.dir, kept.ID)
	_, err := command("mqadmin", "store", "recover-group", "--dir", store, "--id", kept.ID)
	require.ErrorContains(t, err, "in use")
	_, err = command("mqadmin", "local", "down", "--dir", c.dir)
	require.NoError(t, err)

	out, err := command("mqadmin", "store", "recover-group", "--dir", store, "--id", kept.ID)
	require.ErrorContains(t, err, "nothing was changed")
	require.Contains(t, out, "What is lost")
	out, err = command("mqadmin", "store", "recover-group", "--dir", store, "--id", kept.ID, "--yes")
	require.NoError(t, err)
	require.Contains(t, out, "is a group of its own now")
	_, err = command("mqadmin", "store", "verify", "--dir", store)
	require.NoError(t, err)

	var lost []string
	for _, id := range []string{"n0", "n1", "n2"} {
		if id == kept.ID {
			continue
		}
		lost = append(lost, id)
		require.NoError(t, os.RemoveAll(filepath.Join(c.dir, id)))
		f, err := os.OpenFile(filepath.Join(c.dir, "broker-"+id+".conf"), os.O_APPEND|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		_, err = f.WriteString("raftJoin=true\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	_, port, _ := strings.Cut(c.namesrv, ":")
	_, err = command("mqadmin", "local", "up", "--dir", c.dir, "--base-port", port)
	require.NoError(t, err)
	require.Equal(t, kept.ID, c.leader(t).ID)
	s, err := c.status()
	require.NoError(t, err)
	for _, b := range s.Brokers {
		if b.ID == kept.ID {
			continue
		}
		_, err = command("mqadmin", "group", "add", b.ID, b.RaftAddr, "--promote", "-n", c.namesrv, "--wait", "1m")
		require.NoError(t, err)
	}
	c.awaitVoters(t, append([]string{kept.ID}, lost...)...)
	box := newConsumer(t, c.namesrv, uniqueName("g"), topic, consumer.MessageSelector{}, nil)
	want := map[string]bool{}
	for i := range 20 {
		want[fmt.Sprint(i)] = true
	}
	box.waitFor(t, want, time.Minute)
	require.NoError(t, syscall.Kill(c.leader(t).PID, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		r, err := newProducer(t, c.namesrv).SendSync(context.Background(), primitive.NewMessage(topic, []byte("after")))
		return err == nil && r.Status == primitive.SendOK
	}, time.Minute, time.Second)
}
