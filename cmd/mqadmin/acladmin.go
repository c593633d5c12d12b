package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// aclCommands are RocketMQ's sub-commands for the access control of release 4
// (ACL 1.0), which 5.3 has dropped.
func aclCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		updateACLConfigCommand(o), deleteACLConfigCommand(o), updateGlobalWhiteAddrCommand(o),
		clusterACLConfigVersionCommand(o), getACLConfigCommand(o),
	}
}

func updateACLConfigCommand(o *options) *cobra.Command {
	var at scope
	var a protocol.PlainAccessConfig
	var topics, groups string
	cmd := rocketmq("updateAclConfig", "Create or change an account")
	at.flags(cmd)
	needText(cmd, &a.AccessKey, "accessKey", "a", "name of the account")
	text(cmd, &a.SecretKey, "secretKey", "s", "its secret")
	text(cmd, &a.WhiteRemoteAddress, "whiteRemoteAddress", "w", "addresses that need no signature")
	text(cmd, &a.DefaultTopicPerm, "defaultTopicPerm", "i", "what it may do with topics that are not listed")
	text(cmd, &a.DefaultGroupPerm, "defaultGroupPerm", "u", "what it may do with groups that are not listed")
	text(cmd, &topics, "topicPerms", "t", "topics: topicA=DENY,topicD=SUB")
	text(cmd, &groups, "groupPerms", "g", "groups: groupA=DENY,groupD=SUB")
	trueFalse(cmd, &a.Admin, "admin", "m", "may use administration requests")
	return o.run(cmd, ordinary, func(s *session) error {
		a.TopicPerms, a.GroupPerms = listed(topics), listed(groups)
		addrs, err := at.everyone(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.PutAccess(s.ctx, addr, a); err != nil {
				return err
			}
			s.printf("create or update plain access config to %s success.\n", addr)
		}
		secret := ""
		if a.SecretKey != "" {
			secret = "******" // terminals and logs remember
		}
		s.printf("PlainAccessConfig{accessKey='%s', secretKey='%s', whiteRemoteAddress='%s', admin=%t, defaultTopicPerm='%s', defaultGroupPerm='%s', topicPerms=%s, groupPerms=%s}\n",
			a.AccessKey, secret, a.WhiteRemoteAddress, a.Admin, a.DefaultTopicPerm, a.DefaultGroupPerm, listText(a.TopicPerms), listText(a.GroupPerms))
		return nil
	})
}

// listed splits at commas; nothing is an empty list.
func listed(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// listText prints a list as Java does: [a, b].
func listText(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

func deleteACLConfigCommand(o *options) *cobra.Command {
	var at scope
	var key string
	cmd := rocketmq("deleteAclConfig", "Delete an account", "deleteAccessConfig")
	at.flags(cmd)
	needText(cmd, &key, "accessKey", "a", "name of the account")
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.everyone(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.DeleteAccess(s.ctx, addr, key); err != nil {
				return err
			}
			s.printf("delete plain access config account from %s success.\n", addr)
		}
		s.printf("account's accesskey is:%s\n", key)
		return nil
	})
}

func updateGlobalWhiteAddrCommand(o *options) *cobra.Command {
	var at scope
	var addresses, file string
	cmd := rocketmq("updateGlobalWhiteAddr", "Replace the addresses that need no account")
	at.flags(cmd)
	needText(cmd, &addresses, "globalWhiteRemoteAddresses", "g", "addresses: 10.10.103.*,192.168.0.*")
	text(cmd, &file, "aclFileFullPath", "p", "access file of the broker, if not the main one")
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.everyone(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			if err := s.client.PutWhiteAddrs(s.ctx, addr, addresses, file); err != nil {
				return err
			}
			s.printf("update global white remote addresses to %s success.\n", addr)
		}
		return nil
	})
}

func clusterACLConfigVersionCommand(o *options) *cobra.Command {
	var at scope
	cmd := rocketmq("clusterAclConfigVersion", "Show which version of its access files each broker has")
	at.flags(cmd)
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		const line columns = "%-16v  %-22v  %-22v  %-20v  %-22v  %-22v"
		if at.cluster != "" {
			s.row(line, "#Cluster Name", "#Broker Name", "#Broker Addr", "#AclFilePath", "#AclConfigVersionNum", "#AclLastUpdateTime")
		}
		for _, addr := range addrs {
			v, err := s.client.AccessVersion(s.ctx, addr)
			if err != nil {
				return err
			}
			for _, file := range sorted(v.Files) {
				s.row(line, v.Cluster, v.Broker, v.Addr, file, v.Files[file].Counter, secondText(v.Files[file].Timestamp))
			}
		}
		if at.cluster != "" {
			s.print("get cluster's plain access config version success.\n")
		} else {
			s.print("get broker's plain access config version success.\n")
		}
		return nil
	})
}

func getACLConfigCommand(o *options) *cobra.Command {
	var at scope
	cmd := rocketmq("getAclConfig", "Show the accounts", "getAccessConfigSubCommand")
	at.flags(cmd)
	return o.run(cmd, ordinary, func(s *session) error {
		addrs, err := at.leaders(s)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			configs, err := s.client.Access(s.ctx, addr)
			if err != nil {
				return err
			}
			s.printf("\n%-20s: %s\n\naccounts:\n", "globalWhiteRemoteAddresses", listText(configs.GlobalWhiteAddrs))
			for _, a := range configs.Accounts {
				for _, f := range [][2]string{
					{"accessKey", a.AccessKey}, {"secretKey", a.SecretKey}, {"whiteRemoteAddress", a.WhiteRemoteAddress},
					{"admin", fmt.Sprint(a.Admin)}, {"defaultTopicPerm", a.DefaultTopicPerm}, {"defaultGroupPerm", a.DefaultGroupPerm},
					{"topicPerms", listText(a.TopicPerms)}, {"groupPerms", listText(a.GroupPerms)},
				} {
					s.printf("%-1s %-18s: %s\n", "", f[0], f[1])
				}
				s.print("\n")
			}
		}
		return nil
	})
}
