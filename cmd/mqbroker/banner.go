package main

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/banner"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
)

// facts gathers the banner of a broker that has started.
func facts(b *broker.Broker, set *config.Set[broker.Config], file string, warnings []string, began time.Time) []banner.Fact {
	cfg, st, f := set.Current(), b.Status(), b.Facts()
	out := []banner.Fact{{Name: "mqbroker", Text: fmt.Sprintf("%s (%s, %s/%s)   cluster %s   %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cfg.ClusterName, b.Name(), f.Member),
		Pairs: []any{"version", version, "go", runtime.Version(), "platform", runtime.GOOS + "/" + runtime.GOARCH, "cluster", cfg.ClusterName, "broker", b.Name(), "member", f.Member}}}
	out = append(out, configFact(set, file, warnings), storeFact(cfg, f))
	out = append(out, banner.Fact{Name: "recover", Text: fmt.Sprintf("commit log %d … %d, entries %d to %d, %.1f s", f.LogMin, f.LogMax, f.FirstIndex, f.LastIndex, f.Opened.Seconds()),
		Pairs: []any{"from", f.LogMin, "to", f.LogMax, "first", f.FirstIndex, "last", f.LastIndex, "took", f.Opened.Round(time.Millisecond)}})
	leader := "leader " + st.LeaderID
	if st.LeaderID == "" {
		leader = "no leader yet"
	}
	out = append(out, banner.Fact{Name: "raft", Text: fmt.Sprintf("%d members: %s   term %d   %s   %s, %d entries behind", len(f.Members), strings.Join(f.Members, " "), st.Term, leader, st.Role, f.Behind),
		Pairs: []any{"members", len(f.Members), "term", st.Term, "leader", st.LeaderID, "role", st.Role, "behind", f.Behind, "took", time.Since(began).Round(time.Millisecond)}})
	if here, group := strings.Join(f.Configured, ","), strings.Join(f.Members, ","); !sameMembers(f.Configured, f.Members) {
		out = append(out, banner.Fact{Name: "warning", Text: explain.PeersDiffer(here, group), Warning: true})
	}
	out = append(out, listenFact(f))
	return append(out, announceFact(b, cfg)...)
}

func sameMembers(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func configFact(set *config.Set[broker.Config], file string, warnings []string) banner.Fact {
	given := 0
	for _, f := range set.Fields() {
		if set.Source(f.Key) != "default" {
			given++
		}
	}
	text := fmt.Sprintf("no file, %d keys set by options and environment", given)
	if file != "" {
		text = fmt.Sprintf("%s, %d keys set", file, given)
	}
	if len(warnings) > 0 {
		text += "; " + strings.Join(warnings, "; ")
	}
	return banner.Fact{Name: "config", Text: text, Pairs: []any{"file", file, "set", given, "warnings", len(warnings)}}
}

func storeFact(cfg *broker.Config, f broker.Facts) banner.Fact {
	text := cfg.StoreRoot
	if f.Disk.Total > 0 {
		text += fmt.Sprintf("   %s free of %s (writes stop at %d %%)", gib(f.Disk.Free), gib(f.Disk.Total), cfg.DiskLimit)
	}
	return banner.Fact{Name: "store", Text: text + "   " + cfg.FlushDisk, Pairs: []any{"dir", cfg.StoreRoot, "free", gib(f.Disk.Free), "of", gib(f.Disk.Total), "stop-percent", cfg.DiskLimit, "flush", cfg.FlushDisk}}
}

func gib(n uint64) string { return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB" }

func listenFact(f broker.Facts) banner.Fact {
	text := fmt.Sprintf("remoting :%d", f.Port)
	if f.VIP > 0 {
		text += fmt.Sprintf(" (vip :%d)", f.VIP)
	}
	return banner.Fact{Name: "listen", Text: text + "   raft " + f.Raft, Pairs: []any{"remoting", f.Port, "vip", f.VIP, "raft", f.Raft}}
}

// dialBackTimeout bounds how long a start waits for its own address.
const dialBackTimeout = time.Second

// announceFact dials the address that clients will be told. That it answers here
// does not prove that clients reach it; that it does not, nearly always shows a
// wrong brokerIP1, which otherwise looks like a hanging client an hour later.
func announceFact(b *broker.Broker, cfg *broker.Config) []banner.Fact {
	addr := b.Addr().String()
	began := time.Now()
	conn, err := net.DialTimeout("tcp", addr, dialBackTimeout)
	verdict := "answers"
	if err == nil {
		verdict += fmt.Sprintf(" (%s)", time.Since(began).Round(time.Microsecond))
		_ = conn.Close() // it was for the greeting only
	} else {
		verdict = "does not answer from here"
	}
	to := cfg.NamesrvAddr
	if to == "" {
		to = "no name server"
	}
	out := []banner.Fact{{Name: "announce", Text: fmt.Sprintf("%s → %s to %s; that address %s", b.Name(), addr, to, verdict),
		Pairs: []any{"broker", b.Name(), "address", addr, "namesrv", cfg.NamesrvAddr, "dial-back", verdict}}}
	if err != nil {
		out = append(out, banner.Fact{Name: "warning", Text: explain.BrokerUnreachable(err, b.Name(), addr).Error(), Warning: true})
	}
	return out
}
