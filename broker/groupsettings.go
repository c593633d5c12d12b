package broker

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cometmq/cometmq/broker/metadata"
	"github.com/cometmq/cometmq/dledger"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Group-wide settings. A key with the tag group has, once it was changed while the
// group ran, one value for all members, which is part of the replicated state: it
// survives elections and restarts, and a new member has it like its topics. Each
// member lays these values over its own configuration (config.Set.Overlay), so
//
//	the group's value  >  options  >  environment  >  file  >  default
//
// until the key is reset, which removes the group's value on all members.

// Fields of our own: keys to reset in an UPDATE_BROKER_CONFIG, separated by
// commas, and those with a value of the group in the answer to GET_BROKER_CONFIG.
const (
	fieldResetKeys = "resetKeys"
	fieldGroupKeys = "groupKeys"
)

// SourceGroup is the config.Set.Source of a value of the group.
const SourceGroup = "the group"

// GroupSettingsFile is where a member notes the group's settings for those who
// look while it does not run (mqbroker -p). The broker itself never reads it.
func GroupSettingsFile(storeRoot string) string {
	return filepath.Join(storeRoot, "config", "group.properties")
}

const groupSettingsHead = "# The group's settings as this member last knew them. Changing this file changes nothing:\n" +
	"# mqadmin updateBrokerConfig sets a value, mqadmin config reset takes it back.\n"

// resets splits the field of keys to reset.
func (b *Broker) resets(field string) ([]string, error) {
	var keys []string
	for _, key := range strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == ' ' }) {
		f, known := b.settings.Field(key)
		switch _, replicated := b.meta.Settings()[key]; {
		case known && f.Group:
			keys = append(keys, f.Key)
		case replicated: // by a member of another build
			keys = append(keys, key)
		case known:
			return nil, refuse(protocol.StatusSystemError, "%s cannot be reset: it is each member's own; change it in the configuration file", key)
		default:
			_, _, err := b.settings.Check(map[string]string{key: ""})
			return nil, refuse(protocol.StatusSystemError, "%v; nothing was changed", err)
		}
	}
	return keys, nil
}

// divide tells what of a checked update is for the group and what for this member.
// A group-wide key is proposed when its value changes, and also when it does not
// but is asked for by itself: the member that was asked may have it from its own
// file, and others not. Among keys of a member, it stands in a whole table that a
// tool has read and sends back, which must not pin everything.
func (b *Broker) divide(texts map[string]string, changed, resets []string) (changes []metadata.Setting, own map[string]string) {
	own, present := map[string]string{}, b.meta.Settings()
	for key, value := range texts {
		if f, _ := b.settings.Field(key); !f.Group {
			own[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		if _, member := own[key]; member {
			continue
		}
		was, replicated := present[key]
		if slices.Contains(changed, key) || len(own) == 0 && (!replicated || was != texts[key]) {
			changes = append(changes, metadata.Setting{Key: key, Value: texts[key]})
		}
	}
	for _, key := range resets {
		if _, given := texts[key]; !given {
			changes = append(changes, metadata.Setting{Key: key, Reset: true})
		}
	}
	return changes, own
}

// replicateSettings brings changes into the log, through the leader, and returns
// when they are in force here.
func (b *Broker) replicateSettings(ctx context.Context, r request, changes []metadata.Setting) error {
	for {
		err := b.proposeSettings(ctx, r, changes)
		if err == nil {
			break
		}
		// Setting a value twice does no harm, so an unknown end is a reason to go on.
		again := errors.Is(err, dledger.ErrNotLeader) || errors.Is(err, dledger.ErrUnknown)
		if !again || r.forwarded() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(forwardPoll):
		}
	}
	for !b.settingsHold(changes) {
		select {
		case <-ctx.Done():
			return nil // they hold on a majority, and come here in time
		case <-time.After(forwardPoll):
		}
	}
	if b.leading.Load() && slices.ContainsFunc(changes, func(c metadata.Setting) bool { return slices.Contains(registeredKeys, c.Key) }) {
		b.register.waitRound(ctx)
	}
	return nil
}

// proposeSettings proposes here or asks the leader.
func (b *Broker) proposeSettings(ctx context.Context, r request, changes []metadata.Setting) error {
	if b.leading.Load() {
		_, err := b.command(ctx, metadata.AppendPutSettings(nil, changes))
		if err == nil {
			b.log.Info("settings of the group changed by request", "changes", changes, "from", r.clientAddr())
		}
		return err
	}
	addr, ok := b.leaderAddr()
	if !ok {
		return dledger.ErrNotLeader
	}
	values, resets := map[string]string{}, []string(nil)
	for _, c := range changes {
		if c.Reset {
			resets = append(resets, c.Key)
		} else {
			values[c.Key] = c.Value
		}
	}
	req := protocol.NewRequest(protocol.CodeUpdateBrokerConfig).SetBody(config.EditText(nil, values))
	req.SetField(fieldResetKeys, strings.Join(resets, ","))
	resp, err := b.peerClient.Invoke(ctx, addr, b.forward.marked(req, connID(r.call.Conn()), r.clientAddr(), 0))
	if err != nil {
		return dledger.ErrUnknown
	}
	defer resp.Release()
	if resp.Code == protocol.StatusSuccess {
		return nil
	}
	if _, refused := resp.Field(fieldNotLeader); refused || resp.Code == protocol.StatusServiceNotAvailable {
		return dledger.ErrNotLeader
	}
	return refuse(resp.Code, "%s", resp.Remark)
}

// settingsHold reports whether this member has applied changes.
func (b *Broker) settingsHold(changes []metadata.Setting) bool {
	present := b.meta.Settings()
	for _, c := range changes {
		if value, ok := present[c.Key]; ok == c.Reset || value != c.Value {
			return false
		}
	}
	return true
}

// replicatedKeys are the keys whose value in force is the group's.
func (b *Broker) replicatedKeys() []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(b.meta.Settings())) {
		if _, _, hidden := b.settings.Own(key); hidden {
			keys = append(keys, key)
		}
	}
	return keys
}

// registeredKeys are those that name servers are told of.
var registeredKeys = []string{"brokerPermission", "standInBrokers", "autoCreateTopicEnable"}

// groupSettings is called with the group's settings when they changed or were
// loaded, on the goroutine that applies entries: here they come into force, and
// whatever takes time is left to watchSettings.
func (b *Broker) groupSettings(values map[string]string) {
	changed, refused := b.settings.Overlay(values, SourceGroup)
	for _, err := range refused {
		b.log.Error("a setting of the group cannot be used by this build; this member keeps its own value", "problem", err)
	}
	if len(changed) > 0 {
		b.settingsAreNew()
		b.log.Info("settings of the group are in force", "changed", changed)
		for _, key := range changed {
			if own, source, hidden := b.settings.Own(key); hidden && source != "default" {
				b.log.Info("the group's setting wins over this member's own", "key", key, "own", own, "from", source)
			}
		}
	}
	select {
	case b.settingsWake <- struct{}{}:
	default:
	}
}

// watchSettings does what a change of the group's settings needs beside being read
// next time.
func (b *Broker) watchSettings(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.settingsWake:
		}
		b.held.releaseAll(false) // pulls wait by the old rule
		b.register.kick()
		if err := b.noteGroupSettings(); err != nil {
			b.log.Warn("the group's settings are not noted for mqbroker -p", "error", err)
		}
	}
}

// noteGroupSettings writes GroupSettingsFile, if there is something new to write.
func (b *Broker) noteGroupSettings() error {
	path, values := GroupSettingsFile(b.cfg().StoreRoot), b.meta.Settings()
	was, err := vfs.ReadFile(b.fs, path, settingsFileMax)
	if errors.Is(err, fs.ErrNotExist) && len(values) == 0 {
		return nil
	}
	text := config.EditText([]byte(groupSettingsHead), values)
	if err == nil && bytes.Equal(was, text) {
		return nil
	}
	if err := b.fs.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(b.fs, path, text)
}
