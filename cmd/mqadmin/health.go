package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
)

// errUnhealthy says that something that was asked for is not ready; what it is
// has been printed.
var errUnhealthy = errors.New("not healthy")

// healthOptions are the flags of mqadmin health.
type healthOptions struct {
	*options
	broker      string
	namesrvOnly bool
	wait        time.Duration
}

// healthPoll is the pause between two looks while waiting.
const healthPoll = 200 * time.Millisecond

// healthCommand is also the health check of the container images, which have no
// shell to check anything with.
func healthCommand(o *options) *cobra.Command {
	h := &healthOptions{options: o}
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether name servers and brokers are ready, by exit code",
		Long: `Say whether name servers and brokers are ready, by exit code: 0 yes, 10 no.

Without options every name server must answer, every broker name must have a
leader, and every member must answer, know its leader and be registered.`,
		Args: cobra.NoArgs,
		RunE: h.run,
	}
	f := cmd.Flags()
	f.StringVarP(&h.broker, "brokerAddr", "b", "", "check this one broker and no name server")
	f.BoolVar(&h.namesrvOnly, "namesrv-only", false, "check the name servers only")
	f.DurationVar(&h.wait, "wait", 0, "keep trying for so long")
	return cmd
}

func (h *healthOptions) run(cmd *cobra.Command, _ []string) error {
	if err := h.source().err; err != nil {
		return err
	}
	deadline := time.Now().Add(h.wait)
	for {
		ctx, cancel := context.WithTimeout(cmd.Context(), h.timeout)
		lines, healthy := h.look(ctx)
		cancel()
		if left := time.Until(deadline); !healthy && left > 0 && cmd.Context().Err() == nil {
			select {
			case <-cmd.Context().Done():
			case <-time.After(min(healthPoll, left)):
			}
			continue
		}
		for _, line := range lines {
			if _, err := io.WriteString(cmd.OutOrStdout(), line+"\n"); err != nil {
				return err
			}
		}
		if !healthy {
			return errUnhealthy
		}
		return nil
	}
}

// look checks once and returns a line about everything it looked at.
func (h *healthOptions) look(ctx context.Context) (lines []string, healthy bool) {
	healthy = true
	note := func(what string, err error, good string) {
		if err != nil {
			healthy, good = false, err.Error()
		}
		lines = append(lines, what+": "+good)
	}
	if h.broker != "" {
		state, err := h.member(ctx, h.broker)
		note("broker "+h.broker, err, state)
		return lines, healthy
	}
	var addrs []string
	for _, ns := range h.nameServers() {
		leaderless, members, err := h.registered(ctx, ns)
		if err == nil && !h.namesrvOnly {
			for _, name := range leaderless {
				note("broker "+name, fmt.Errorf("name server %s: %w", ns, admin.ErrNoLeader), "")
			}
			addrs = append(addrs, members...)
		}
		note("name server "+ns, err, "answers")
	}
	if h.namesrvOnly {
		return lines, healthy
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	if len(addrs) == 0 && healthy {
		note("brokers", errors.New("none is registered; is mqbroker running with this namesrvAddr?"), "")
	}
	for _, addr := range addrs {
		state, err := h.member(ctx, addr)
		note("broker "+addr, err, state)
	}
	return lines, healthy
}

// registered asks one name server for the brokers it knows.
func (h *healthOptions) registered(ctx context.Context, ns string) (leaderless, members []string, err error) {
	client, err := admin.New(admin.Config{NameServers: []string{ns}, Timeout: h.timeout})
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	info, err := client.Cluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(info.BrokerAddrTable)) {
		addrs := info.BrokerAddrTable[name].BrokerAddrs
		if addrs[0] == "" {
			leaderless = append(leaderless, name)
		}
		members = append(members, slices.Collect(maps.Values(addrs))...)
	}
	return leaderless, members, nil
}

// member asks one broker for its state. It is ready when its group has a leader
// and some name server knows it; a Java broker is ready when it answers.
func (h *healthOptions) member(ctx context.Context, addr string) (string, error) {
	client, err := admin.New(admin.Config{NameServers: []string{defaultNamesrv}, Timeout: h.timeout})
	if err != nil {
		return "", err
	}
	defer client.Close()
	table, err := client.Runtime(ctx, addr)
	if err != nil {
		return "", err
	}
	role, ours := table[admin.RuntimeKeyRole]
	if !ours {
		return "answers", nil
	}
	leader := table[admin.RuntimeKeyLeader]
	state := fmt.Sprintf("%s of term %s", role, table[admin.RuntimeKeyTerm])
	switch {
	case leader == "":
		return "", fmt.Errorf("%s; its group has no leader", state)
	case table[admin.RuntimeKeyRegistered] == "false":
		return "", fmt.Errorf("%s; no name server took its registration yet", state)
	}
	return state + ", leader is " + leader, nil
}
