package message

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseStoredRefusesEveryWrongLength(t *testing.T) {
	m := hello()
	rec, err := m.AppendStored(nil)
	require.NoError(t, err)
	for n := range rec {
		_, err := ParseStored(rec[:n])
		require.ErrorIs(t, err, ErrMalformed, "cut to %d bytes", n)
	}
	change := func(name string, pos int, b ...byte) {
		bad := append([]byte{}, rec...)
		copy(bad[pos:], b)
		_, err := ParseStored(append(bad, make([]byte, 1<<10)...))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	body := 84
	require.EqualValues(t, 5, binary.BigEndian.Uint32(rec[body:]))
	change("size one less", 0, 0, 0, 0, 0x8e)
	change("size one more", 0, 0, 0, 0, 0x90)
	change("size zero", 0, 0, 0, 0, 0)
	change("size negative", 0, 0xff, 0xff, 0xff, 0xff)
	change("format V2", 4, 0xDA, 0xA3, 0x20, 0xAB)
	change("body checksum", 8, 0)
	change("body byte", body+4, 'H')
	change("hosts wider than they are", 39, SysFlagBornHostV6|SysFlagStoreHostV6)
	change("body length zero", body, 0, 0, 0, 0)
	change("body length huge", body, 0x7f, 0xff, 0xff, 0xff)
	change("body length negative", body, 0xff, 0xff, 0xff, 0xf0)
	change("topic empty", body+9, 0)
	change("topic length negative", body+9, 0x80)
	change("topic one longer", body+9, 3)
	change("properties negative", body+12, 0xff, 0xff)
	change("properties shorter", body+12, 0, 1)
}

func TestParseStoredIgnoresWhatFollows(t *testing.T) {
	m := hello()
	rec, err := m.AppendStored([]byte("before"))
	require.NoError(t, err)
	rec = rec[len("before"):]
	s, err := ParseStored(append(rec, "after"...))
	require.NoError(t, err)
	require.Equal(t, len(rec), s.Size())
	require.Equal(t, s.Size(), cap(s), "an append to the view must not reach the next record")
}

func TestAppendStoredRefusesWhatHasNoStoredForm(t *testing.T) {
	dst := []byte("kept")
	m := hello()
	m.Topic = strings.Repeat("t", 128)
	got, err := m.AppendStored(dst)
	require.ErrorIs(t, err, ErrTopicLength)
	require.Equal(t, dst, got)
	m.Topic = ""
	_, err = m.AppendStored(nil)
	require.ErrorIs(t, err, ErrTopicLength)
	m = hello()
	m.Properties = make([]byte, PropertiesBytesMax+1)
	_, err = m.AppendStored(nil)
	require.ErrorIs(t, err, ErrPropertiesLength)
}

func TestIPv4InIPv6AndMissingHostsAreIPv4(t *testing.T) {
	m := hello()
	m.SysFlag = SysFlagBornHostV6 | SysFlagStoreHostV6 | SysFlagCompressed
	m.BornHost = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1000")
	m.StoreHost = netip.AddrPort{}
	b, err := m.AppendStored(nil)
	require.NoError(t, err)
	require.Equal(t, m.StoredSize(), len(b))
	s, err := ParseStored(b)
	require.NoError(t, err)
	require.EqualValues(t, SysFlagCompressed, s.SysFlag())
	require.Equal(t, "10.0.0.1:1000", s.BornHost().String())
	require.Equal(t, "0.0.0.0:0", s.StoreHost().String())
}

func TestPatchedFieldsAreTheOnesReadBack(t *testing.T) {
	m := hello()
	rec, err := m.AppendStored(nil)
	require.NoError(t, err)
	PatchOffsets(rec, 7, 1<<33)
	binary.BigEndian.PutUint64(rec[StoreTimestampPos(rec):], 99)
	s, err := ParseStored(rec)
	require.NoError(t, err)
	require.EqualValues(t, 7, s.QueueOffset())
	require.EqualValues(t, 1<<33, s.PhyOffset())
	require.EqualValues(t, 99, s.StoreTimestamp())
	m.StoreTimestamp = 99
	require.Equal(t, m, s.Decode(), "nothing else changed")
}

func drawHost(t *rapid.T, label string) netip.AddrPort {
	port := rapid.Uint16().Draw(t, label+" port")
	if rapid.Bool().Draw(t, label+" v6") {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)
		if a := netip.AddrFrom16([16]byte(b)); !a.Is4In6() {
			return netip.AddrPortFrom(a, port)
		}
	}
	b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port)
}

func drawMessage(t *rapid.T) Message {
	bytesOf := func(label string, n int) []byte {
		if b := rapid.SliceOfN(rapid.Byte(), 0, n).Draw(t, label); len(b) > 0 {
			return b
		}
		return nil
	}
	m := Message{
		Topic:                     rapid.StringMatching(`[%|a-zA-Z0-9_-]{1,127}`).Draw(t, "topic"),
		QueueID:                   rapid.Int32().Draw(t, "queue"),
		Flag:                      rapid.Int32().Draw(t, "flag"),
		SysFlag:                   rapid.Int32().Draw(t, "sysFlag") &^ (SysFlagBornHostV6 | SysFlagStoreHostV6),
		ReconsumeTimes:            rapid.Int32().Draw(t, "reconsumeTimes"),
		BornTimestamp:             rapid.Int64().Draw(t, "born"),
		StoreTimestamp:            rapid.Int64().Draw(t, "stored"),
		BornHost:                  drawHost(t, "bornHost"),
		StoreHost:                 drawHost(t, "storeHost"),
		PreparedTransactionOffset: PhyOffset(rapid.Int64().Draw(t, "prepared")),
		Body:                      bytesOf("body", 300),
		Properties:                bytesOf("properties", 300),
	}
	if isV6(m.BornHost) {
		m.SysFlag |= SysFlagBornHostV6
	}
	if isV6(m.StoreHost) {
		m.SysFlag |= SysFlagStoreHostV6
	}
	return m
}

func TestStoredRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, err := m.AppendStored(nil)
		require.NoError(t, err)
		require.Equal(t, m.StoredSize(), len(b))
		other := m
		other.Topic = "ignored"
		again, err := other.AppendStoredTopic(nil, []byte(m.Topic))
		require.NoError(t, err)
		require.Equal(t, b, again)
		s, err := ParseStored(b)
		require.NoError(t, err)
		require.Equal(t, m, s.Decode())
	})
}

func FuzzParseStored(f *testing.F) {
	m := hello()
	rec, err := m.AppendStored(nil)
	require.NoError(f, err)
	f.Add(rec)
	m.StoreHost = netip.MustParseAddrPort("[::2]:1")
	rec, err = m.AppendStored(nil)
	require.NoError(f, err)
	f.Add(rec)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, strict := ParseStored(b)
		s, err := ViewStored(b)
		if err != nil {
			require.Error(t, strict)
			return
		}
		require.Equal(t, BodyCRC(s.Body()) == s.BodyCRC(), strict == nil)
		d := s.Decode()
		if d.BornHost.Addr().Is4In6() || d.StoreHost.Addr().Is4In6() {
			return // written as IPv4
		}
		again, err := d.AppendStored(nil)
		require.NoError(t, err)
		// Decode drops the offsets, and of a port what 16 bits cannot hold.
		require.Len(t, again, len(s))
		as, err := ParseStored(again)
		require.NoError(t, err)
		require.Equal(t, d, as.Decode())
		require.Less(t, StoreTimestampPos(b)+8, len(s))
	})
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	m := hello()
	topic := []byte(m.Topic)
	buf, idBuf := make([]byte, 0, 1<<10), make([]byte, 0, 56)
	var sink int
	require.Zero(t, testing.AllocsPerRun(100, func() {
		rec, _ := m.AppendStoredTopic(buf, topic)
		s, err := ParseStored(rec)
		if err != nil {
			t.Error(err)
		}
		tag, _ := s.Property(PropertyTags)
		sink += len(tag) + int(s.TagsCode()) + len(s.Topic()) + int(s.StoreHost().Port())
		PatchOffsets(rec, 1, 2)
		buf2 := AppendOffsetMsgID(idBuf, m.StoreHost, 5)
		sink += len(buf2)
	}))
	require.NotZero(t, sink)
}

func BenchmarkAppendStored(b *testing.B) {
	m := hello()
	m.Body = make([]byte, 128)
	topic := []byte("BenchTopic")
	buf := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	b.SetBytes(int64(m.StoredSize()))
	for b.Loop() {
		_, _ = m.AppendStoredTopic(buf, topic)
	}
}

func BenchmarkParseStored(b *testing.B) {
	m := hello()
	m.Body = make([]byte, 128)
	rec, err := m.AppendStored(nil)
	require.NoError(b, err)
	b.Run("checked", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ParseStored(rec)
		}
	})
	b.Run("lengths only", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ViewStored(rec)
		}
	})
	b.Run("tags code", func(b *testing.B) {
		s, _ := ViewStored(rec)
		b.ReportAllocs()
		for b.Loop() {
			_ = s.TagsCode()
		}
	})
}

// Marks reads what Property reads, in whatever string.
func TestMarksAreProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var props []byte
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			props = append(props, rapid.SampledFrom([]string{
				"TAGS", "KEYS", "UNIQ_KEY", "\x01", "\x02", "x", "a b", "TAGS\x01t\x02", "KEYS\x01k1 k2\x02", "UNIQ_KEY\x01u\x02", "CLUSTER\x01c\x02",
			}).Draw(t, "piece")...)
		}
		m := hello()
		m.Properties = props
		rec, err := m.AppendStored(nil)
		require.NoError(t, err)
		tags, unique, keys := Stored(rec).Marks()
		for name, got := range map[string][]byte{PropertyTags: tags, PropertyUniqKey: unique, PropertyKeys: keys} {
			want, _ := Property(props, name)
			require.Equal(t, want, got, "%s in %q", name, props)
		}
		require.Equal(t, Stored(rec).TagsCode(), TagsCode(tags))
	})
}

func BenchmarkMarks(b *testing.B) {
	m := hello()
	m.Properties = []byte("UNIQ_KEY\x017F00000100002A9F0000000000000000\x02WAIT\x01true\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster\x02")
	rec, err := m.AppendStored(nil)
	require.NoError(b, err)
	b.Run("marks", func(b *testing.B) {
		for b.Loop() {
			_, _, _ = Stored(rec).Marks()
		}
	})
	b.Run("tags code", func(b *testing.B) {
		for b.Loop() {
			_ = Stored(rec).TagsCode()
		}
	})
}
