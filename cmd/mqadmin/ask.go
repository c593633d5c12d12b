package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cometmq/cometmq/admin"
)

// askAtOnce bounds how many servers one command asks at the same time.
const askAtOnce = 16

// target is a server that a command asks: a broker by its leader, or while there
// is none by a follower, which sends on or answers itself.
type target struct {
	Cluster, Broker string
	ID              int64 // 0 is the leader
	Addr            string
}

// String names the server for people.
func (t target) String() string { return fmt.Sprintf("%s (%s)", t.Broker, t.Addr) }

// groupTargets returns one target for each broker name that the name server
// knows, sorted; cluster "" means all clusters.
func groupTargets(ctx context.Context, client *admin.Client, cluster string) ([]target, error) {
	all, err := memberTargets(ctx, client, cluster)
	if err != nil {
		return nil, err
	}
	return slices.CompactFunc(all, func(a, b target) bool { return a.Broker == b.Broker }), nil
}

// memberTargets returns every member of every broker name, leaders first.
func memberTargets(ctx context.Context, client *admin.Client, cluster string) ([]target, error) {
	info, err := client.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	var out []target
	for _, c := range slices.Sorted(maps.Keys(info.ClusterAddrTable)) {
		if cluster != "" && c != cluster {
			continue
		}
		for _, broker := range slices.Sorted(slices.Values(info.ClusterAddrTable[c])) {
			addrs := info.BrokerAddrTable[broker].BrokerAddrs
			for _, id := range slices.Sorted(maps.Keys(addrs)) {
				out = append(out, target{c, broker, id, addrs[id]})
			}
		}
	}
	if len(out) == 0 && cluster != "" {
		return nil, fmt.Errorf("cluster %q has no broker that the name server knows; see: mqadmin cluster ls", cluster)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no broker is registered with %s; is mqbroker running with this namesrvAddr?", strings.Join(client.NameServers(), ";"))
	}
	return out, nil
}

// partialError says that some of the servers that were asked did not answer:
// what was printed is not the whole truth.
type partialError struct{ failures []error }

// Error names each of them.
func (e *partialError) Error() string {
	lines := make([]string, len(e.failures))
	for i, f := range e.failures {
		lines[i] = f.Error()
	}
	return fmt.Sprintf("incomplete, %d did not answer: %s", len(lines), strings.Join(lines, "; "))
}

// Unwrap gives the failures to errors.Is.
func (e *partialError) Unwrap() []error { return e.failures }

// askAll asks all targets at the same time, within the one deadline of ctx, and
// returns the answers in the order of the targets. When some are missing it
// returns the others with a *partialError; when all are, only an error.
func askAll[T any](ctx context.Context, targets []target, ask func(context.Context, target) (T, error)) ([]T, error) {
	answers, failures := make([]T, len(targets)), make([]error, len(targets))
	slots := make(chan struct{}, askAtOnce)
	var wg sync.WaitGroup
	for i, t := range targets {
		slots <- struct{}{}
		wg.Go(func() {
			answers[i], failures[i] = ask(ctx, t)
			<-slots
		})
	}
	wg.Wait()
	var got []T
	var missing []error
	for i, err := range failures {
		if err == nil {
			got = append(got, answers[i])
		} else {
			missing = append(missing, fmt.Errorf("%s: %w", targets[i], err))
		}
	}
	switch {
	case len(missing) == 0:
		return got, nil
	case len(got) == 0:
		return nil, errors.Join(missing...)
	}
	return got, &partialError{missing}
}

// lacking tells a *partialError, with which a command prints what it has and
// fails in the end, from other errors.
func lacking(err error) bool {
	var p *partialError
	return errors.As(err, &p)
}

// unanswered tells that there is nothing to print, of an error of askAll.
func unanswered(err error) bool { return err != nil && !lacking(err) }
