package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// SettingsFile is where changed settings of a broker without a configuration
// file are kept; the broker's start reads it.
func SettingsFile(storeRoot string) string {
	return filepath.Join(storeRoot, "config", "broker.properties")
}

// settingsFileMax bounds the property file that an update edits.
const settingsFileMax = 1 << 20

// handleGetConfig serves GET_BROKER_CONFIG: all settings with the values in force,
// and a few that RocketMQ has as settings and that are states here. A header field
// of our own names the keys whose value is the group's.
func (b *Broker) handleGetConfig(context.Context, request) (*protocol.Response, error) {
	b.versionMu.Lock()
	version := b.configVersion
	b.versionMu.Unlock()
	head := b.registrationHeader()
	role := "SLAVE"
	if head.BrokerID == protocol.MasterID {
		role = "SYNC_MASTER"
	}
	cfg := b.cfg()
	states := map[string]string{
		"brokerId": strconv.FormatInt(head.BrokerID, 10), "brokerRole": role, "brokerIP2": b.Addr().Addr().String(),
		"haListenPort": strconv.Itoa(int(b.Addr().Port()) + 1), "storePathCommitLog": filepath.Join(cfg.StoreRoot, "commitlog"),
		// The Java mqadmin's exportConfigs fails on a broker that lacks one of these.
		"filterServerNums": "0", "useTLS": "false",
	}
	// What is worked out from other settings is shown as it is in force.
	inForce := map[string]string{"brokerName": b.brokerName, "brokerIP1": b.Addr().Addr().String()}
	text := config.EditText(b.settings.Text(), inForce)
	for _, key := range slices.Sorted(maps.Keys(states)) {
		if _, ok := b.settings.Value(key); ok {
			continue
		}
		text = fmt.Appendf(text, "%s=%s\n", key, states[key])
	}
	pairs := protocol.Pairs{{"version", string(protocol.Encode(&version))}}
	if group := b.replicatedKeys(); len(group) > 0 {
		pairs = append(pairs, [2]string{fieldGroupKeys, strings.Join(group, ",")})
	}
	return &protocol.Response{Code: protocol.StatusSuccess, Header: pairs, Body: text}, nil
}

// handleUpdateConfig serves UPDATE_BROKER_CONFIG: settings that can change while
// the broker runs take effect at once. What belongs to this member is written to
// the file that it was started with; what belongs to the group goes through the
// log to all members (groupsettings.go), from whichever was asked. All of an update
// is taken or nothing, unless the log takes the one part and the disk not the other.
//
// brokerIP1 and listenPort change what the broker tells others its address is;
// where it listens stays, until it is started again. Who starts a broker behind
// a mapped port learns the port afterwards and sets it so.
func (b *Broker) handleUpdateConfig(ctx context.Context, r request) (*protocol.Response, error) {
	values, err := config.ParseText(r.cmd.Body)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "%v", err)
	}
	resets, err := b.resets(r.cmd.Str(fieldResetKeys))
	if err != nil {
		return nil, err
	}
	if len(values)+len(resets) == 0 {
		return nil, refuse(protocol.StatusSystemError, "string2Properties error: the update names no key")
	}
	texts, changed, err := b.settings.Check(values)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "%v; nothing was changed", err)
	}
	if _, err := b.addrWith(values); err != nil {
		return nil, refuse(protocol.StatusSystemError, "%v", err)
	}
	changes, own := b.divide(texts, changed, resets)
	if r.forwarded() && !b.leading.Load() {
		return nil, dledger.ErrNotLeader
	}
	if len(changes) > 0 {
		if err := b.replicateSettings(ctx, r, changes); err != nil {
			return nil, err
		}
	}
	if len(own) > 0 {
		return b.changeOwnSettings(ctx, r, own)
	}
	return success()
}

// changeOwnSettings changes settings of this member.
func (b *Broker) changeOwnSettings(ctx context.Context, r request, values map[string]string) (*protocol.Response, error) {
	b.configMu.Lock()
	defer b.configMu.Unlock()
	addr, err := b.addrWith(values)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "%v", err)
	}
	changed, err := b.settings.Update(values)
	if err != nil {
		return nil, refuse(protocol.StatusSystemError, "%v; nothing was changed", err)
	}
	if len(changed) == 0 {
		return success()
	}
	b.log.Info("settings changed by request", "keys", changed, "from", r.clientAddr())
	b.settingsAreNew()
	b.configChanged(ctx, addr, changed)
	if err := b.keepSettings(changed); err != nil {
		b.log.Error("changed settings are not kept", "keys", changed, "error", err)
		return nil, refuse(protocol.StatusSystemError, "the change is in force and will be lost at the next start: %v", err)
	}
	return success()
}

// settingsAreNew gives the settings another version.
func (b *Broker) settingsAreNew() {
	b.versionMu.Lock()
	defer b.versionMu.Unlock()
	b.configVersion.Counter++
	b.configVersion.Timestamp = wall.UnixMilli()
}

// addrWith is the address others are told when the given settings hold.
func (b *Broker) addrWith(values map[string]string) (netip.AddrPort, error) {
	cfg, addr := *b.cfg(), b.Addr()
	ip, newIP := values["brokerIP1"]
	port, newPort := values["listenPort"]
	internal, _, _, err := listenersOf(cfg.AdvertisedListeners)
	if err != nil || internal != "" || !newIP && !newPort {
		return addr, err // advertisedListeners decides
	}
	if newIP && ip != cfg.IP1 {
		cfg.IP1 = ip
		resolved, err := cfg.advertisedIP()
		if err != nil {
			return addr, err
		}
		addr = netip.AddrPortFrom(resolved, addr.Port())
	}
	if newPort && port != strconv.Itoa(cfg.ListenPort) {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return addr, fmt.Errorf("listenPort=%q is not allowed: listenPort expects a whole number 1..65535", port)
		}
		addr = netip.AddrPortFrom(addr.Addr(), uint16(n))
	}
	return addr, nil
}

// configChanged does what a changed setting needs beside being read next time.
func (b *Broker) configChanged(ctx context.Context, addr netip.AddrPort, changed []string) {
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(changed, k) })
	}
	if has("brokerIP1", "listenPort") && addr != b.Addr() {
		b.advertised.Store(&addr)
		if b.leading.Load() {
			b.proposeAsync(metadata.AppendAnnounce(nil, metadata.Member{ID: b.selfID, Addr: addr.String(), Term: b.term.Load()}), 1)
		}
	}
	if has("brokerIP1", "listenPort", "namesrvAddr", "registerNameServerPeriod") {
		b.register.waitRound(ctx)
	}
}

// keepSettings writes the present values of keys to the configuration file,
// leaving its other lines as they are.
func (b *Broker) keepSettings(keys []string) error {
	path := b.opts.ConfigFile
	if path == "" {
		path = SettingsFile(b.cfg().StoreRoot)
	}
	if err := b.fs.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", path, err)
	}
	text, err := vfs.ReadFile(b.fs, path, settingsFileMax)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	values := map[string]string{}
	for _, key := range keys {
		values[key], _ = b.settings.Value(key)
	}
	if err := vfs.WriteFileAtomic(b.fs, path, config.EditText(text, values)); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
