package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// namesrvCommands are RocketMQ's sub-commands for name servers.
func namesrvCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		getNamesrvConfigCommand(o), updateNamesrvConfigCommand(o), updateKvConfigCommand(o), deleteKvConfigCommand(o),
		writePermCommand(o, "wipeWritePerm", "wipe", "Make clients stop writing to a broker"),
		writePermCommand(o, "addWritePerm", "add", "Let clients write to a broker again"),
	}
}

// settingColumns is how settings of brokers and name servers are printed.
const settingColumns columns = "%-50v=  %v"

func getNamesrvConfigCommand(o *options) *cobra.Command {
	cmd := rocketmq("getNamesrvConfig", "Show the settings of the name servers")
	return o.run(cmd, ordinary, func(s *session) error {
		var failures []error
		for _, addr := range s.client.NameServers() {
			settings, err := s.client.NamesrvSettings(s.ctx, addr)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			s.printf("============%s============\n", addr)
			printSettings(s, settings)
		}
		return errors.Join(failures...)
	})
}

func printSettings(s *session, settings map[string]string) {
	for _, key := range sorted(settings) {
		s.row(settingColumns, key, settings[key])
	}
}

func updateNamesrvConfigCommand(o *options) *cobra.Command {
	var key, value string
	cmd := rocketmq("updateNamesrvConfig", "Change a setting of the name servers")
	needText(cmd, &key, "key", "k", "name of the setting")
	needText(cmd, &value, "value", "v", "its value")
	return o.run(cmd, ordinary, func(s *session) error {
		var failures []error
		for _, addr := range s.client.NameServers() {
			failures = append(failures, s.client.ChangeNamesrvSettings(s.ctx, addr, map[string]string{key: value}))
		}
		if err := errors.Join(failures...); err != nil {
			return err
		}
		s.printf("update name server config success![%s]\n%s : %s\n", strings.Join(s.client.NameServers(), ", "), key, value)
		return nil
	})
}

func updateKvConfigCommand(o *options) *cobra.Command {
	var namespace, key, value string
	cmd := rocketmq("updateKvConfig", "Set a value that name servers keep")
	needText(cmd, &namespace, "namespace", "s", "namespace")
	needText(cmd, &key, "key", "k", "key")
	needText(cmd, &value, "value", "v", "value")
	return o.run(cmd, ordinary, func(s *session) error {
		if err := s.client.PutKV(s.ctx, namespace, key, value); err != nil {
			return err
		}
		s.print("create or update kv config to namespace success.\n")
		return nil
	})
}

func deleteKvConfigCommand(o *options) *cobra.Command {
	var namespace, key string
	cmd := rocketmq("deleteKvConfig", "Delete a value that name servers keep")
	needText(cmd, &namespace, "namespace", "s", "namespace")
	needText(cmd, &key, "key", "k", "key")
	return o.run(cmd, ordinary, func(s *session) error {
		if err := s.client.DeleteKV(s.ctx, namespace, key); err != nil {
			return err
		}
		s.print("delete kv config from namespace success.\n")
		return nil
	})
}

func writePermCommand(o *options, name, verb, short string) *cobra.Command {
	var broker string
	cmd := rocketmq(name, short)
	needText(cmd, &broker, "brokerName", "b", "name of the broker")
	return o.run(cmd, ordinary, func(s *session) error {
		change := map[string]func(ctx context.Context, addr, broker string) (int, error){
			"wipe": s.client.WipeWritePerm, "add": s.client.AddWritePerm}[verb]
		var failures []error
		topics := 0
		for _, addr := range s.client.NameServers() {
			n, err := change(s.ctx, addr, broker)
			if err != nil {
				failures = append(failures, err)
				s.printf("%s write perm of broker[%s] in name server[%s] Failed\n", verb, broker, addr)
				continue
			}
			topics += n
			s.printf("%s write perm of broker[%s] in name server[%s] OK, %d\n", verb, broker, addr, n)
		}
		if topics == 0 && len(failures) == 0 {
			s.warn("no topic was changed: %s", fmt.Sprintf("does a broker %s exist? See: mqadmin clusterList", broker))
		}
		return errors.Join(failures...)
	})
}
