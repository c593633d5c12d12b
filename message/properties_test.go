package message

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type kv struct{ K, V string }

func list(props string) (got []kv) {
	EachProperty([]byte(props), func(k, v []byte) bool {
		got = append(got, kv{string(k), string(v)})
		return true
	})
	return got
}

func TestPropertyParserIsAsTolerantAsJavas(t *testing.T) {
	for props, want := range map[string][]kv{
		"":                              nil,
		"\x02":                          nil,
		"a\x01b":                        {{"a", "b"}},
		"a\x01b\x02":                    {{"a", "b"}},
		"a\x01b\x02c\x01d":              {{"a", "b"}, {"c", "d"}},
		"a\x01b\x02\x02\x02c\x01d\x02":  {{"a", "b"}, {"c", "d"}},
		"a\x01\x02c\x01d":               {{"c", "d"}}, // empty value
		"\x01b\x02c\x01d":               {{"c", "d"}}, // empty name
		"abc\x02c\x01d":                 {{"c", "d"}}, // no separator
		"a\x01\x02":                     nil,
		"long\x01\x02c\x01d":            {{"c", "d"}},
		"a\x01b\x01c\x02d\x01e":         {{"a", "b\x01c"}, {"d", "e"}},
		"a\x01b\x02a\x01c":              {{"a", "b"}, {"a", "c"}},
		"KEYS\x01k1 k2\x02TAGS\x01标签":   {{"KEYS", "k1 k2"}, {"TAGS", "标签"}},
		"unfinished\x01v\x02unfinished": {{"unfinished", "v"}},
	} {
		require.Equal(t, want, list(props), "%q", props)
	}
	v, ok := Property([]byte("a\x01b\x02a\x01c\x02z\x01y"), "a")
	require.True(t, ok)
	require.Equal(t, "c", string(v), "of two the last wins")
	_, ok = Property([]byte("ab\x01c"), "a")
	require.False(t, ok)
	n := 0
	EachProperty([]byte("a\x01b\x02c\x01d"), func(_, _ []byte) bool { n++; return false })
	require.Equal(t, 1, n, "stops when told")
}

func TestChangingProperties(t *testing.T) {
	const props = "UNIQ_KEY\x01A\x02WAIT\x01true\x02broken\x02TAGS\x01T\x02"
	require.Equal(t, "UNIQ_KEY\x01A\x02broken\x02TAGS\x01T", string(DeleteProperty(nil, []byte(props), "WAIT")))
	require.Equal(t, "UNIQ_KEY\x01A\x02broken\x02TAGS\x01T\x02WAIT\x01no", string(SetProperty(nil, []byte(props), "WAIT", "no")))
	require.Equal(t, "k\x01v", string(SetProperty(nil, nil, "k", []byte("v"))))
	// dst may hold something else: the separator belongs to the properties only.
	require.Equal(t, "headk\x01v", string(SetProperty([]byte("head"), nil, "k", "v")))
	require.Equal(t, "head", string(DeleteProperty([]byte("head"), []byte("k\x01v"), "k")))
	require.Equal(t, "a\x01b\x02c\x01d", string(AppendProperty([]byte("a\x01b\x02"), "c", "d")))
}

func TestPropertiesRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[^\x01\x02]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(word, word).Draw(t, "properties")
		var props []byte
		for k, v := range m {
			props = AppendProperty(props, k, v)
		}
		got := make(map[string]string)
		for _, p := range list(string(props)) {
			got[p.K] = p.V
		}
		require.Equal(t, m, got)
		for k := range m {
			rest := DeleteProperty(nil, props, k)
			_, ok := Property(rest, k)
			require.False(t, ok)
			require.Len(t, list(string(rest)), len(m)-1)
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("UNIQ_KEY\x01ABC\x02TAGS\x01TagA"), "TAGS")
	f.Add([]byte("\x01\x02\x02\x01a\x01\x02"), "a")
	f.Fuzz(func(t *testing.T, props []byte, key string) {
		want := javaProperties(string(props))
		got := make(map[string]string)
		for _, p := range list(string(props)) {
			got[p.K] = p.V
		}
		require.Equal(t, want, got)
		v, ok := Property(props, key)
		w, has := want[key]
		require.Equal(t, has, ok)
		require.Equal(t, w, string(v))
		_, ok = Property(DeleteProperty(nil, props, key), key)
		require.False(t, ok)
	})
}

// javaProperties is the tolerance of RocketMQ's parser said in another way:
// first the segments, then their first separator, over strings.
func javaProperties(props string) map[string]string {
	m := make(map[string]string)
	for _, segment := range strings.Split(props, "\x02") {
		i := strings.Index(segment, "\x01")
		if len(segment) >= 3 && i > 0 && i < len(segment)-1 {
			m[segment[:i]] = segment[i+1:]
		}
	}
	return m
}
