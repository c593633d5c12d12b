package metadata

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettings(t *testing.T) {
	w := newWorld()
	var heard []map[string]string
	w.settings.tell = func(values map[string]string) { heard = append(heard, values) }
	put := func(changes ...Setting) any { return w.apply(t, 1, AppendPutSettings(nil, changes)) }

	require.Equal(t, 2, put(Setting{Key: "a", Value: "1"}, Setting{Key: "b"}))
	require.Equal(t, 0, put(Setting{Key: "a", Value: "1"}, Setting{Key: "none", Reset: true}))
	before := w.Settings()
	require.Equal(t, map[string]string{"a": "1", "b": ""}, before)
	require.Equal(t, map[string]string{"a": "1", "b": ""}, w.settingsAfterReload(t, nil))
	require.Equal(t, 2, put(Setting{Key: "a", Reset: true}, Setting{Key: "b", Value: "2"}))
	require.Equal(t, map[string]string{"b": "2"}, w.settingsAfterReload(t, nil))
	require.Equal(t, map[string]string{"a": "1", "b": ""}, before, "what readers have does not change")
	require.Len(t, heard, 2, "of changes only")

	// All or nothing, and bounded.
	for _, bad := range [][]Setting{
		{{Key: "c", Value: "3"}, {Value: "no key"}}, {{Key: "a\x00b"}}, {{Key: strings.Repeat("k", 256)}},
		{{Key: "c"}, {Key: "d", Value: strings.Repeat("v", SettingsBytesMax)}},
	} {
		require.Implements(t, (*error)(nil), put(bad...))
	}
	require.Equal(t, map[string]string{"b": "2"}, w.Settings())
	require.Empty(t, w.Changes())
	require.ErrorIs(t, put(Setting{Key: "b", Value: strings.Repeat("v", SettingsBytesMax)}).(error), ErrFull)

	// A member that is brought up hears of what it loads, also of nothing.
	var loaded []map[string]string
	require.Equal(t, map[string]string{"b": "2"}, w.settingsAfterReload(t, func(values map[string]string) { loaded = append(loaded, maps.Clone(values)) }))
	require.Equal(t, []map[string]string{{"b": "2"}}, loaded)
	loaded = nil
	old := newWorld() // a checkpoint from before there were settings
	old.settingsAfterReload(t, func(values map[string]string) { loaded = append(loaded, maps.Clone(values)) })
	require.Equal(t, []map[string]string{{}}, loaded)
}

// settingsAfterReload loads what is checkpointed into another state and returns its settings.
func (w *world) settingsAfterReload(t *testing.T, tell func(map[string]string)) map[string]string {
	t.Helper()
	stored := w.checkpoint()
	cfg := testConfig()
	cfg.OnSettings = tell
	s := New(cfg)
	require.NoError(t, s.Load(func(yield func(k, v []byte) bool) {
		for _, k := range sortedKeys(stored) {
			if !yield([]byte(k), stored[k]) {
				return
			}
		}
	}))
	return s.Settings()
}
