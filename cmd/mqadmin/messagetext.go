package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/message"
)

// Messages as RocketMQ's tools print them.

// propertyMap is a message's properties as the tools show them: {KEYS=k, TAGS=t}.
func propertyMap(m message.Stored, more ...[2]string) string {
	props := map[string]string{}
	message.EachProperty(m.Properties(), func(key, value []byte) bool {
		props[string(key)] = string(value)
		return true
	})
	for _, kv := range more {
		props[kv[0]] = kv[1]
	}
	var parts []string
	for _, key := range sorted(props) {
		parts = append(parts, key+"="+props[key])
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// property is a property's value, or "null".
func property(m message.Stored, key string) string {
	if v, ok := m.Property(key); ok {
		return string(v)
	}
	return "null"
}

func hostText(a netip.AddrPort) string { return "/" + a.String() }

func offsetMsgID(m message.Stored) string { return message.OffsetMsgID(m.StoreHost(), m.PhyOffset()) }

// ends are the ends of a message's queue, which consumers add to its properties.
func ends(p *admin.Pulled) [][2]string {
	return [][2]string{{message.PropertyMinOffset, fmt.Sprint(p.Min)}, {message.PropertyMaxOffset, fmt.Sprint(p.Max)}}
}

// messageText is all of a message on one line. broker is the name of the broker
// that it was pulled from.
func messageText(m message.Stored, broker string, p *admin.Pulled) (string, error) {
	body, err := admin.Body(m)
	if err != nil {
		return "", fmt.Errorf("message %s: %w", offsetMsgID(m), err)
	}
	transaction := "null"
	if v, _ := m.Property(message.PropertyTransactionPrepared); string(v) == "true" {
		transaction = property(m, message.PropertyUniqKey)
	}
	return fmt.Sprintf("MessageExt [brokerName=%s, queueId=%d, storeSize=%d, queueOffset=%d, sysFlag=%d, bornTimestamp=%d, bornHost=%s, "+
		"storeTimestamp=%d, storeHost=%s, msgId=%s, commitLogOffset=%d, bodyCRC=%d, reconsumeTimes=%d, preparedTransactionOffset=%d, "+
		"toString()=Message{topic='%s', flag=%d, properties=%s, body=%s, transactionId='%s'}]",
		broker, m.QueueID(), m.Size(), m.QueueOffset(), m.SysFlag(), m.BornTimestamp(), hostText(m.BornHost()),
		m.StoreTimestamp(), hostText(m.StoreHost()), offsetMsgID(m), m.PhyOffset(), m.BodyCRC(), m.ReconsumeTimes(), m.PreparedTransactionOffset(),
		m.Topic(), m.Flag(), propertyMap(m, ends(p)...),
		signedText(body), transaction), nil
}

// signedText prints bytes as Java does: signed, [104, -28].
func signedText(b []byte) string {
	var out strings.Builder
	out.WriteByte('[')
	for i, v := range b {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(&out, "%d", int8(v))
	}
	out.WriteByte(']')
	return out.String()
}

// decodeText turns bytes of a character set into text.
func decodeText(b []byte, charset string) (string, error) {
	switch strings.ToUpper(charset) {
	case "UTF-8", "UTF8":
		return strings.ToValidUTF8(string(b), "\uFFFD"), nil
	case "US-ASCII", "ASCII", "ISO-8859-1", "LATIN1":
		runes := make([]rune, len(b))
		for i, v := range b {
			runes[i] = rune(v)
		}
		return string(runes), nil
	case "UTF-16", "UTF-16BE":
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		return string(utf16.Decode(units)), nil
	}
	return "", fmt.Errorf("the character set %s is not known: UTF-8, US-ASCII, ISO-8859-1 or UTF-16", charset)
}

// bodyFile writes a message's body to where RocketMQ's tools put it, and returns
// the path. The name is made of a client's id, which must not lead elsewhere.
func bodyFile(m message.Stored, name string) (string, error) {
	body, err := admin.Body(m)
	if err != nil {
		return "", fmt.Errorf("message %s: %w", offsetMsgID(m), err)
	}
	dir := filepath.Join(os.TempDir(), "rocketmq", "msgbodys")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, strings.NewReplacer("/", "_", "\x00", "_").Replace(name))
	// A new file in place of an old one, so that a link left there by somebody
	// else is not followed.
	f, err := os.CreateTemp(dir, ".body-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return path, nil
}

// sendStatusText names the answer to a send.
func sendStatusText(status int32) string {
	if name, ok := map[int32]string{10: "FLUSH_DISK_TIMEOUT", 11: "SLAVE_NOT_AVAILABLE", 12: "FLUSH_SLAVE_TIMEOUT"}[status]; ok {
		return name
	}
	return "SEND_OK"
}
