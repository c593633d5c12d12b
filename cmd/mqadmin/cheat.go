package main

import (
	"io"

	"github.com/spf13/cobra"
)

// cheatSheet is what people want to do, by the command that does it. Its lines
// are run by a test.
const cheatSheet = `Start and look
  mqadmin local up                              three brokers on this machine
  mqadmin cluster ls                            who is there, who leads
  mqadmin cluster top                           what is going on, again and again
  mqadmin doctor                                what is wrong, and what to do about it
  mqadmin health --wait 60s                     for scripts: exit code 0 when all is ready

Topics and messages
  mqadmin topic create orders --queues 8
  mqadmin topic ls
  mqadmin topic describe orders
  mqadmin topic alter orders --perm r           no new messages
  mqadmin send orders hello                     or lines from standard input, or --file
  mqadmin send orders hello --tags paid --keys order-1 --delay 10s
  mqadmin tail orders -f                        --format '%t %q %o %k %b\n'
  mqadmin msg query orders order-1              by key; then msg get ID, trace ID, resend ID

Consumer groups
  mqadmin group ls
  mqadmin group lag                             all groups; of one by queue: group lag GROUP
  mqadmin group describe GROUP
  mqadmin group reset-offset GROUP --topic orders --to 30m --dry-run

Settings
  mqadmin config explain flushDiskType          meaning, default, where it was set
  mqadmin config ls --file broker.conf
  mqadmin profile add prod --namesrv mq1:9876;mq2:9876 --prod

Everywhere: -n HOST:PORT, -o json, --watch 2s on lists, --timeout 10s; mqadmin COMMAND --help
RocketMQ's own sub-commands work too: mqadmin topicList, mqadmin clusterList
`

func cheatCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cheat", Short: "The commands people need most, on one screen", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), cheatSheet)
			return err
		},
	}
}
