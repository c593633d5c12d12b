package message

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHashesOfKnownStrings(t *testing.T) {
	for s, want := range map[string]int32{
		"":                   0,
		"a":                  97,
		"TagA":               2598919,
		"Aa":                 2112,
		"BB":                 2112,
		"标签":                 0x6807*31 + 0x7B7E,
		"polygenelubricants": -2147483648,
	} {
		require.Equal(t, want, HashCode(s), s)
		require.EqualValues(t, want, TagsCode([]byte(s)), s)
	}
	// U+1F600 is the surrogates D83D DE00.
	require.EqualValues(t, 0xD83D*31+0xDE00, HashCode("\U0001F600"))
	require.EqualValues(t, 0xD83D*31+0xDE00, TagsCode([]byte("\U0001F600")))
}

func TestHashIsOverUTF16(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var want int32
		for _, c := range utf16.Encode([]rune(s)) {
			want = 31*want + int32(c)
		}
		require.Equal(t, want, HashCode(s))
		require.EqualValues(t, want, TagsCode([]byte(s)))
	})
}

func TestOffsetMessageIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := drawHost(t, "host")
		p := PhyOffset(rapid.Int64Min(0).Draw(t, "offset"))
		id := OffsetMsgID(host, p)
		require.Contains(t, []int{32, 56}, len(id))
		require.Equal(t, strings.ToUpper(id), id)
		for _, form := range []string{id, strings.ToLower(id)} {
			h, o, err := ParseOffsetMsgID(form)
			require.NoError(t, err)
			require.Equal(t, host, h)
			require.Equal(t, p, o)
		}
	})
}

func TestOtherTextsAreNoOffsetMessageIDs(t *testing.T) {
	good := OffsetMsgID(netip.MustParseAddrPort("10.1.2.3:10911"), 4711)
	for _, bad := range []string{
		"", good[1:], good + "0", "X" + good[1:],
		good[:8] + "00010000" + good[16:], // port 65536
		good[:16] + "8000000000000000",    // negative offset
	} {
		_, _, err := ParseOffsetMsgID(bad)
		require.ErrorIs(t, err, ErrMessageID, bad)
	}
}

func FuzzParseOffsetMsgID(f *testing.F) {
	f.Add("7F000001000051AF0000000000000000")
	f.Fuzz(func(t *testing.T, id string) {
		host, p, err := ParseOffsetMsgID(id)
		if err != nil || host.Addr().Is4In6() {
			return
		}
		require.Equal(t, strings.ToUpper(id), OffsetMsgID(host, p))
	})
}

func TestNames(t *testing.T) {
	for _, good := range []string{"T1", "%RETRY%g", "a|b", strings.Repeat("x", 127)} {
		require.NoError(t, ValidTopic(good))
		require.NoError(t, ValidGroup(good))
	}
	for name, want := range map[string]string{
		"":                       "The specified topic is blank.",
		" \t":                    "The specified topic is blank.",
		"a.b":                    "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"..":                     "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"a/b":                    "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		"标签":                     "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		strings.Repeat("x", 128): "The specified topic is longer than topic max length.",
	} {
		err := ValidTopic(name)
		require.ErrorIs(t, err, ErrName)
		require.EqualError(t, err, want)
	}
	require.EqualError(t, ValidGroup(""), "the specified group is blank")
	require.EqualError(t, ValidGroup("a b"), "the specified group[a b] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
	require.EqualError(t, ValidGroup(strings.Repeat("x", 256)), "the specified group is longer than group max length 255.")

	require.Equal(t, "%RETRY%g", RetryTopic("g"))
	require.Equal(t, "%DLQ%g", DLQTopic("g"))
	require.True(t, IsRetryTopic(RetryTopic("g")) && IsDLQTopic(DLQTopic("g")))
	require.False(t, IsRetryTopic("g") || IsDLQTopic("%RETRY%g"))
	require.True(t, IsSystemTopic("TBW102") && IsSystemTopic("rmq_sys_x"))
	require.False(t, IsSystemTopic("T1"))
}
