package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/remoting/protocol"
)

// ErrNoACL says that a broker has no access control of RocketMQ 4 (ACL 1.0).
var ErrNoACL = errors.New("the broker does not know RocketMQ 4's access control (ACL 1.0)")

// acl sends a request of ACL 1.0.
func (c *Client) acl(ctx context.Context, addr, action string, req *protocol.Command) (*protocol.Command, error) {
	resp, err := c.call(ctx, addr, action, req)
	if IsStatus(err, protocol.StatusRequestCodeNotSupported) {
		return nil, fmt.Errorf("%w: %w", ErrNoACL, err)
	}
	return resp, err
}

// PutAccess creates an account on one broker, or changes it there.
func (c *Client) PutAccess(ctx context.Context, addr string, a protocol.PlainAccessConfig) error {
	header := protocol.Pairs{{"accessKey", a.AccessKey}, {"admin", strconv.FormatBool(a.Admin)}}
	for _, f := range [][2]string{
		{"secretKey", a.SecretKey}, {"whiteRemoteAddress", a.WhiteRemoteAddress},
		{"defaultTopicPerm", a.DefaultTopicPerm}, {"defaultGroupPerm", a.DefaultGroupPerm},
		{"topicPerms", strings.Join(a.TopicPerms, ",")}, {"groupPerms", strings.Join(a.GroupPerms, ",")},
	} {
		if f[1] != "" {
			header = append(header, f)
		}
	}
	_, err := c.acl(ctx, addr, "change account "+a.AccessKey, protocol.NewRequest(protocol.CodeUpdateAndCreateACLConfig).SetHeader(header))
	return err
}

// DeleteAccess removes an account from one broker.
func (c *Client) DeleteAccess(ctx context.Context, addr, accessKey string) error {
	_, err := c.acl(ctx, addr, "delete account "+accessKey, protocol.NewRequest(protocol.CodeDeleteACLConfig).SetField("accessKey", accessKey))
	return err
}

// PutWhiteAddrs replaces the addresses that need no account, separated by
// commas; file "" is the broker's main one.
func (c *Client) PutWhiteAddrs(ctx context.Context, addr, addrs, file string) error {
	req := protocol.NewRequest(protocol.CodeUpdateGlobalWhiteAddrs).SetField("globalWhiteAddrs", addrs)
	if file != "" {
		req.SetField("aclFileFullPath", file)
	}
	_, err := c.acl(ctx, addr, "change the global white addresses", req)
	return err
}

// Access returns the accounts of one broker.
func (c *Client) Access(ctx context.Context, addr string) (*protocol.AccessConfigs, error) {
	const action = "ask for the accounts"
	resp, err := c.acl(ctx, addr, action, protocol.NewRequest(protocol.CodeGetBrokerClusterACLConfig))
	var configs protocol.AccessConfigs
	if err := decode(resp, err, &configs, action); err != nil {
		return nil, err
	}
	return &configs, nil
}

// AccessVersion is which state of its access files a broker has.
type AccessVersion struct {
	Cluster, Broker, Addr string
	Files                 map[string]protocol.DataVersion
}

// AccessVersion asks one broker for the state of its access files.
func (c *Client) AccessVersion(ctx context.Context, addr string) (*AccessVersion, error) {
	const action = "ask for the version of the access files"
	resp, err := c.acl(ctx, addr, action, protocol.NewRequest(protocol.CodeGetBrokerClusterACLInfo))
	if err != nil {
		return nil, err
	}
	v := &AccessVersion{Cluster: resp.Str("clusterName"), Broker: resp.Str("brokerName"), Addr: resp.Str("brokerAddr")}
	files := protocol.DataVersions{}
	if text := resp.Str("allAclFileVersion"); text != "" {
		if err := files.Decode([]byte(text)); err != nil {
			return nil, fmt.Errorf("%s: read the answer of %s: %w", action, addr, err)
		}
	}
	v.Files = files.Versions
	return v, nil
}
