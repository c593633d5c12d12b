package namesrv

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cometmq/cometmq/internal/vfs"
)

var kvPath = filepath.Join("home", "namesrv", "kvConfig.json")

func TestKVIsKeptInRocketMQsForm(t *testing.T) {
	disk := vfs.NewMem()
	kv, err := OpenKV(disk, kvPath, nil)
	require.NoError(t, err)
	require.NoError(t, kv.Put("ORDER_TOPIC_CONFIG", "T1", "broker-a:4"))
	require.NoError(t, kv.Put("n", "k", "v"))
	text, err := vfs.ReadFile(disk, kvPath, 1<<20)
	require.NoError(t, err)
	golden(t, "kvConfig.json", text)

	// A crash right after the answer keeps what was answered.
	told := map[string]map[string]string{}
	kv, err = OpenKV(disk.CrashClone(vfs.CrashOptions{}), kvPath, func(ns string, table map[string]string) { told[ns] = table })
	require.NoError(t, err)
	require.Equal(t, map[string]map[string]string{"ORDER_TOPIC_CONFIG": {"T1": "broker-a:4"}, "n": {"k": "v"}}, told)
	require.NoError(t, kv.Delete("n", "k"))
	require.NoError(t, kv.Delete("n", "k"))
	require.Nil(t, kv.Namespace("n"))
	require.Empty(t, told["n"])
	require.Len(t, kv.table, 1)
}

func TestKVDamagedFileIsNotOverwritten(t *testing.T) {
	disk := vfs.NewMem()
	require.NoError(t, disk.MkdirAll(filepath.Dir(kvPath), 0o755))
	require.NoError(t, vfs.WriteFileAtomic(disk, kvPath, []byte(`{"configTable":{`)))
	_, err := OpenKV(disk, kvPath, nil)
	require.ErrorContains(t, err, kvPath)
	require.ErrorContains(t, err, "nothing was changed")
}

func TestKVBound(t *testing.T) {
	kv, err := OpenKV(nil, "", nil)
	require.NoError(t, err)
	half := strings.Repeat("x", kvBytesMax/2)
	require.NoError(t, kv.Put("n", "a", half))
	require.ErrorIs(t, kv.Put("n", "b", half), ErrKVFull)
	require.ErrorIs(t, kv.Put("n", "a", half+half), ErrLimit)
	v, _ := kv.Get("n", "a")
	require.Equal(t, half, v, "a refused change leaves the old value")
	require.NoError(t, kv.Delete("n", "a"))
	require.Zero(t, kv.bytes)
	require.NoError(t, kv.Put("n", "b", half))
}

// TestKVAgainstMap also fails any write at random: memory must then be as
// before, because the caller was told so.
func TestKVAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		broken := false
		disk := vfs.NewMem()
		fault := vfs.NewFault(disk, func(op vfs.Op) error {
			if broken && op.Kind == vfs.OpSync {
				return errors.New("disk broke")
			}
			return nil
		})
		kv, err := OpenKV(fault, kvPath, nil)
		require.NoError(t, err)
		want := map[string]map[string]string{}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				ns, key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "ns"), rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
				broken = rapid.IntRange(0, 3).Draw(t, "broken") == 0
				old, had := want[ns][key]
				if rapid.Bool().Draw(t, "put") {
					value := rapid.SampledFrom([]string{"", "1", "\"\x01ü"}).Draw(t, "value")
					err := kv.Put(ns, key, value)
					require.Equal(t, broken && !(had && old == value), err != nil)
					if err == nil {
						if want[ns] == nil {
							want[ns] = map[string]string{}
						}
						want[ns][key] = value
					}
				} else if err := kv.Delete(ns, key); err == nil {
					delete(want[ns], key)
					if len(want[ns]) == 0 {
						delete(want, ns)
					}
				} else {
					require.True(t, broken && had)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, want, kv.table)
				again, err := OpenKV(disk, kvPath, nil)
				require.NoError(t, err)
				require.Equal(t, want, again.table)
				require.Equal(t, kv.bytes, again.bytes)
				for ns := range want {
					require.True(t, maps.Equal(want[ns], kv.Namespace(ns)))
				}
			},
		})
	})
}
