package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// refusals are the reasons for which draining does not begin: messages would be
// lost, or producers would have nowhere to go. All of them are named at once.
func (d *drainer) refusals(ctx context.Context) error {
	var errs []error
	settings, err := d.client.BrokerSettings(ctx, d.leader)
	if err != nil {
		return err
	}
	if err := everyMember(settings["dLegerPeers"], len(d.members)); err != nil {
		errs = append(errs, err)
	}
	stay, err := d.serving(ctx)
	if err != nil {
		return err
	}
	topics, err := d.client.TopicConfigs(ctx, d.leader)
	if err != nil {
		return err
	}
	if len(stay) == 0 {
		errs = append(errs, fmt.Errorf("cluster %s has no other broker group that takes messages; add one first", d.cluster))
	} else {
		missing, err := d.onlyHere(ctx, topics, stay)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			errs = append(errs, fmt.Errorf("no other group has the %s, so that sends would fail: mqadmin cluster spread, or --discard it if nobody needs it", someOf("topic", missing)))
		}
	}
	orders, err := d.client.OrderConfigs(ctx)
	if err != nil {
		return err
	}
	if configured := orderedHere(orders, d.broker); len(configured) > 0 {
		errs = append(errs, fmt.Errorf("the order configuration of %s names %s, and producers follow it whatever the permission is; take it out first: mqadmin updateOrderConf -m put -t TOPIC -v OTHER:QUEUES",
			someOf("topic", configured), d.broker))
	}
	if ordered := orderTopics(topics); len(ordered) > 0 && !d.ordered {
		errs = append(errs, fmt.Errorf("%s has order=true: keys move to other queues, and the order of their messages holds over the move only if producers pause until all is consumed; if that is so, say --ordered",
			someOf("topic", ordered)))
	}
	left, err := d.left(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if l.Topic != "" && l.Group == "" {
			errs = append(errs, errors.New(l.String()))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s is not drained, nothing was changed:\n%w", d.broker, errors.Join(errs...))
	}
	return nil
}

// serving returns the leaders of other groups that take messages.
func (d *drainer) serving(ctx context.Context) ([]string, error) {
	var out []string
	for _, addr := range d.others {
		settings, err := d.client.BrokerSettings(ctx, addr)
		if err != nil {
			return nil, err
		}
		if state, err := stateOf(settings); err != nil {
			return nil, fmt.Errorf("%s: %w", addr, err)
		} else if state == stateServing {
			out = append(out, addr)
		}
	}
	return out, nil
}

// onlyHere lists users' topics that none of the other leaders takes.
func (d *drainer) onlyHere(ctx context.Context, topics map[string]*protocol.TopicConfig, stay []string) ([]string, error) {
	elsewhere := map[string]bool{}
	for _, addr := range stay {
		list, err := d.client.TopicConfigs(ctx, addr)
		if err != nil {
			return nil, err
		}
		for name, t := range list {
			if t.Perm&protocol.PermWrite != 0 {
				elsewhere[name] = true
			}
		}
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if d.users(name) && topics[name].Perm&protocol.PermWrite != 0 && !elsewhere[name] && !slices.Contains(d.discard, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// users tells topics that people made, from those that each group makes itself.
func (d *drainer) users(topic string) bool {
	return usersTopic(topic) && topic != d.broker && topic != d.cluster && topic != d.cluster+message.ReplySuffix
}

func usersTopic(topic string) bool {
	return !message.IsSystemTopic(topic) && !message.IsTimerTopic([]byte(topic)) && !message.IsRetryTopic(topic) && !message.IsDLQTopic(topic)
}

// everyMember refuses while members are missing: one that comes back later would
// not know, and would take messages again as soon as it leads.
func everyMember(peers string, registered int) error {
	n := len(strings.FieldsFunc(peers, func(r rune) bool { return r == ';' }))
	if registered < n {
		return fmt.Errorf("%d of %d members are registered; the others would not hear of it: start them, or set %s=4 in their files", registered, n, keyPermission)
	}
	return nil
}

// orderedHere lists topics whose order configuration names a broker.
func orderedHere(orders map[string]string, broker string) []string {
	var out []string
	for _, topic := range slices.Sorted(maps.Keys(orders)) {
		for _, part := range strings.Split(orders[topic], ";") {
			if name, _, _ := strings.Cut(part, ":"); strings.TrimSpace(name) == broker {
				out = append(out, topic)
				break
			}
		}
	}
	return out
}

func orderTopics(topics map[string]*protocol.TopicConfig) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if topics[name].Order && usersTopic(name) {
			out = append(out, name)
		}
	}
	return out
}

// someOf names a few of many: "topic a" or "topics a, b, c and 12 more".
func someOf(noun string, names []string) string {
	const shown = 5
	if len(names) == 1 {
		return noun + " " + names[0]
	}
	text := noun + "s " + strings.Join(names[:min(shown, len(names))], ", ")
	if len(names) > shown {
		text += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	return text
}
