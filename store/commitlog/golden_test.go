package commitlog

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/vfs"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// TestGolden compares every file of a small, cleanly closed log with the ones
// an earlier release wrote, and reads those.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "log-v1")
	entries := []Entry{
		{Index: 1, Term: 1, Kind: 3, AppendedAt: 1700000000123456789, Data: []byte("first")},
		{Index: 2, Term: 1, Extensions: []byte{0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0}, Data: []byte("hello, world")},
		{Index: 3, Term: 2, Kind: 255},
		{Index: 4, Term: 2, Data: make([]byte, 50)},
	}
	cfg := Config{FS: vfs.NewMem(), Dir: "log", SegmentSize: 192, Sync: true, inline: true}
	l := openTest(t, cfg)
	require.NoError(t, l.Append(entries))
	require.NoError(t, l.Close())
	names, err := cfg.FS.ReadDir("log")
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	for _, name := range names {
		got, err := vfs.ReadFile(cfg.FS, filepath.Join("log", name), 1<<20)
		require.NoError(t, err)
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), got, 0o644))
		}
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, got, "%s; if the format is meant to change, raise its version and use -update", name)
	}

	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	requireEntries(t, openTest(t, Config{Dir: copied, SegmentSize: 192, Sync: true, CacheEntries: 1}), entries)
}

// TestUnknownVersionsAreNamed: bytes of a later release are refused as such.
func TestUnknownVersionsAreNamed(t *testing.T) {
	e := testEntry(1, 1, 10)
	b := e.appendHeader(nil)
	_, reason := parseHeader(b, 1<<10)
	require.Empty(t, reason)
	b[13] = 2
	_, reason = parseHeader(b, 1<<10)
	require.Contains(t, reason, "entry version 2 is not known")
}
