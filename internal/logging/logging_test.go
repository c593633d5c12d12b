package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, o Options) (*Log, *bytes.Buffer) {
	t.Helper()
	var stderr bytes.Buffer
	o.Stderr = &stderr
	if o.FileBytesMax == 0 {
		o.FileBytesMax, o.FilesMax = 1<<20, 3
	}
	l, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, &stderr
}

func TestLevelsByPart(t *testing.T) {
	t.Parallel()
	l, out := open(t, Options{Format: Text, Levels: "warn,dledger=debug,dledger.raft=error"})
	root := l.Logger()
	raft, node := root.Named("dledger").Named("raft"), root.Named("dledger").With("group", "g")
	deep := raft.Named("net").With("peer", "n1")
	all := func() {
		root.Named("broker").Info("1")
		root.Named("broker").Warn("2")
		node.Debug("3")
		raft.Warn("4")
		deep.Warn("5")
		deep.Error("6")
		root.Named("dledgerx").Info("7")
	}
	lines := func() (got string) {
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSpace(line)
			head, _, _ := strings.Cut(line, ": peer=")
			head, _, _ = strings.Cut(head, ": group=")
			got += head[len(head)-1:]
		}
		out.Reset()
		return got
	}
	all()
	require.Equal(t, "236", lines())
	require.True(t, node.IsDebug())
	require.False(t, raft.IsWarn())
	require.Equal(t, hclog.Debug, node.GetLevel())

	require.NoError(t, l.SetLevels("info"))
	all()
	require.Equal(t, "124567", lines(), "loggers that were made before follow")
	require.NoError(t, l.SetLevels("off,broker=trace"))
	all()
	require.Equal(t, "12", lines())
	require.ErrorContains(t, l.SetLevels("loud"), `"loud"`)
	require.ErrorContains(t, l.SetLevels("info,broker=loud"), "trace, debug, info, warn, error, off")
	node.SetLevel(hclog.Trace)
	all()
	require.Equal(t, "12", lines(), "a refused change changes nothing")
}

func TestJSONLines(t *testing.T) {
	t.Parallel()
	l, out := open(t, Options{Format: JSON, Levels: "info"})
	l.Logger().Named("broker").Warn("slow", "took", 3*time.Second)
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "slow", line["@message"])
	require.Equal(t, "warn", line["@level"])
	require.Equal(t, "broker", line["@module"])
	require.Contains(t, line, "took")
}

func TestFilesRotateBySize(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	l, stderr := open(t, Options{Format: Text, Dir: dir, Name: "broker.log", FileBytesMax: 1000, FilesMax: 3})
	for i := range 100 {
		l.Logger().Info("line", "n", fmt.Sprintf("%03d", i))
	}
	files := map[string]string{}
	for _, name := range []string{"broker.log", "otherdays/broker.1.log", "otherdays/broker.2.log", "otherdays/broker.3.log"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.LessOrEqual(t, len(b), 1000, name)
		files[name] = string(b)
	}
	require.NoFileExists(t, filepath.Join(dir, "otherdays/broker.4.log"))
	// The newest lines are there without a gap, in order.
	text := files["otherdays/broker.3.log"] + files["otherdays/broker.2.log"] + files["otherdays/broker.1.log"] + files["broker.log"]
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		require.Contains(t, line, fmt.Sprintf("n=%03d", 100-len(lines)+i))
	}
	require.Empty(t, stderr.String())

	_, err := Open(Options{Dir: dir, Name: "broker.log", FileBytesMax: 1000, FilesMax: 3, Stderr: stderr})
	require.ErrorContains(t, err, "isolateLogEnable", "two processes must not write one file")
	require.NoError(t, l.Close())
	l.Logger().Info("after the end")
	require.Contains(t, stderr.String(), "after the end")
}

func TestUnwritableFileFallsBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, stderr := open(t, Options{Format: Text, Dir: dir, Name: "broker.log", FileBytesMax: 200, FilesMax: 3})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "otherdays"), nil, 0o600)) // in the way of the directory
	for i := range 20 {
		l.Logger().Info("line", "n", fmt.Sprintf("%03d", i))
	}
	b, err := os.ReadFile(filepath.Join(dir, "broker.log"))
	require.NoError(t, err)
	require.Contains(t, string(b), "n=019", "it goes on in the file that it has")
	require.Contains(t, stderr.String(), "cannot rotate")
	_, err = Open(Options{Dir: filepath.Join(dir, "broker.log"), Name: "x.log", Stderr: stderr})
	require.ErrorContains(t, err, "log directory")
}

func TestEarlyLinesAreReplayed(t *testing.T) {
	t.Parallel()
	early := NewEarly()
	early.Warn("configuration", "problem", "unknown key x")
	early.Debug("not kept")
	early.Info("using", "file", "y")
	l, out := open(t, Options{Format: Text, Levels: "warn"})
	early.Replay(l.Logger())
	early.Replay(l.Logger())
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out)
	require.Contains(t, out.String(), "unknown key x")
}

func TestLimitedCountsWhatItHides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLimited(hclog.New(&hclog.LoggerOptions{Output: &out}), time.Minute)
		for range 5 {
			l.Warn("slow", "took", 1)
		}
		require.Equal(t, 1, strings.Count(out.String(), "slow"))
		require.NotContains(t, out.String(), "hidden")
		time.Sleep(time.Minute)
		l.Warn("slow", "took", 2)
		require.Contains(t, out.String(), "hidden-since-last=4")
		(*Limited)(nil).Warn("nothing")
	})
}
