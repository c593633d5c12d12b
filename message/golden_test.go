package message

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// hello is the message of the first record ever taken from a 4.9.4 broker: 143
// bytes, body checksum 0x3610a686.
func hello() Message {
	return Message{
		Topic:          "T1",
		BornTimestamp:  1700000000000,
		StoreTimestamp: 1700000000123,
		BornHost:       netip.MustParseAddrPort("127.0.0.1:54321"),
		StoreHost:      netip.MustParseAddrPort("127.0.0.1:20911"),
		Body:           []byte("hello"),
		Properties:     []byte("UNIQ_KEY\x01ABC\x02CLUSTER\x01DefaultCluster\x02TAGS\x01TagA"),
	}
}

func TestStoredFormOfARealMessage(t *testing.T) {
	m := hello()
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	require.Len(t, b, 0x8f)
	golden(t, "hello.record", b)

	s, err := ParseStored(b)
	require.NoError(t, err)
	require.EqualValues(t, 0x3610a686, s.BodyCRC())
	require.Equal(t, "T1", string(s.Topic()))
	require.Equal(t, "hello", string(s.Body()))
	tag, ok := s.Property(PropertyTags)
	require.True(t, ok)
	require.EqualValues(t, 2598919, TagsCode(tag))
	require.EqualValues(t, 2598919, s.TagsCode())
	require.Equal(t, m, s.Decode())
}

func TestStoredFormWithIPv6Hosts(t *testing.T) {
	m := hello()
	m.BornHost = netip.MustParseAddrPort("[2001:db8::1]:54321")
	m.StoreHost = netip.MustParseAddrPort("[2001:db8::2]:10911")
	m.QueueID, m.Flag, m.ReconsumeTimes, m.PreparedTransactionOffset = 3, -7, 2, 1<<40
	m.SysFlag = SysFlagTransactionCommit
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	require.Len(t, b, 0x8f+24)
	golden(t, "hello-v6.record", b)

	s, err := ParseStored(b)
	require.NoError(t, err)
	require.EqualValues(t, SysFlagTransactionCommit|SysFlagBornHostV6|SysFlagStoreHostV6, s.SysFlag())
	require.Equal(t, m.BornHost, s.BornHost())
	require.Equal(t, m.StoreHost, s.StoreHost())
	require.Equal(t, m.StoreTimestamp, s.StoreTimestamp())
	require.EqualValues(t, 2, s.ReconsumeTimes())
	require.EqualValues(t, 1<<40, s.PreparedTransactionOffset())
	require.EqualValues(t, -7, s.Flag())
	require.EqualValues(t, 3, s.QueueID())
}

// The stored properties of an item sent with "UNIQ_KEY=Ub1" in a batch whose
// outer properties were CLUSTER and WAIT, as a 4.9.4 broker made them.
func TestBatchItemPropertiesOfARealBroker(t *testing.T) {
	outer := []byte("CLUSTER\x01DefaultCluster\x02WAIT\x01true")
	const want = "UNIQ_KEY\x01Ub1\x02CLUSTER\x01DefaultCluster\x02WAIT\x01true"
	for _, own := range []string{"UNIQ_KEY\x01Ub1", "UNIQ_KEY\x01Ub1\x02"} {
		require.Equal(t, want, string(AppendProperties([]byte(own), outer)))
	}
	require.Equal(t, string(outer), string(AppendProperties(nil, outer)))
	require.Equal(t, "a\x01b", string(AppendProperties([]byte("a\x01b"), nil)))
}

func TestOffsetMessageIDOfARealBroker(t *testing.T) {
	host := netip.MustParseAddrPort("127.0.0.1:20911")
	require.Equal(t, "7F000001000051AF0000000000000000", OffsetMsgID(host, 0))
}
