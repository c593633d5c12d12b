package index

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Files hold hashes: they must not change.
func TestHashIsPinned(t *testing.T) {
	for in, want := range map[[2]string]uint64{
		{"", ""}:   0xeacd64ac9eed413,
		{"T", "k"}: 0xbf7fa182533b2acb,
		{"TopicTest", "7F00000100002A9F0000000000000000"}: 0xb50a6c193452a08f,
	} {
		require.Equal(t, want, Hash([]byte(in[0]), []byte(in[1])), "%q: %#x", in, Hash([]byte(in[0]), []byte(in[1])))
	}
}

// Similar keys must not meet, and fill all places of a file alike.
func TestHashSpreads(t *testing.T) {
	const n = 1 << 16
	seen := make(map[uint64]struct{}, 2*n)
	places := make([]int, 256)
	for i := range n {
		for _, in := range [][2]string{{"T", fmt.Sprintf("%032X", i)}, {fmt.Sprint("T", i), "k"}} {
			h := Hash([]byte(in[0]), []byte(in[1]))
			seen[h] = struct{}{}
			places[h>>56]++
		}
	}
	require.Len(t, seen, 2*n)
	for _, got := range places {
		require.InEpsilon(t, 2*n/256, got, 0.25)
	}
	for _, pair := range [][2][2]string{{{"T", "ab"}, {"Ta", "b"}}, {{"T", "a"}, {"T", "a\x00"}}, {{"T", "a\x00\x00\x00\x00\x00\x00\x00"}, {"T", "a"}}} {
		require.NotEqual(t, Hash([]byte(pair[0][0]), []byte(pair[0][1])), Hash([]byte(pair[1][0]), []byte(pair[1][1])))
	}
}
