package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImportsGoDownwards(t *testing.T) {
	ours := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, module+"/"+n)
		}
		return paths
	}
	for _, row := range []struct {
		name string
		pkg  listed
		want string // part of the one finding, or empty for none
	}{
		{"a child", listed{ImportPath: module + "/broker", Imports: ours("broker/group", "dledger")}, ""},
		{"upwards", listed{ImportPath: module + "/store", Imports: ours("dledger")}, "store imports dledger"},
		{"a sibling", listed{ImportPath: module + "/broker/group", Imports: ours("broker/delay")}, "may import only broker/filter, message"},
		{"the bottom", listed{ImportPath: module + "/message", Imports: ours("internal/vfs")}, "nothing of ours"},
		{"not in the table", listed{ImportPath: module + "/util"}, "a new package"},
		{"raft in dledger", listed{ImportPath: module + "/dledger", Imports: []string{"github.com/hashicorp/raft"}}, ""},
		{"raft elsewhere", listed{ImportPath: module + "/store", Imports: []string{"github.com/hashicorp/raft"}}, "speak of index"},
		{"raft in a test elsewhere", listed{ImportPath: module + "/broker", XTestImports: []string{"github.com/hashicorp/raft"}}, "speak of index"},
		{"assert", listed{ImportPath: module + "/message", TestImports: []string{"github.com/stretchr/testify/assert"}}, "testify/require"},
		{"log in a library", listed{ImportPath: module + "/message", Imports: []string{"log"}}, "hclog.Logger"},
		{"log/slog is another package", listed{ImportPath: module + "/message", Imports: []string{"log/slog"}}, ""},
		{"a test package in a library", listed{ImportPath: module + "/broker", Imports: ours("internal/testcluster")}, "is for tests"},
		{"a test package in a test", listed{ImportPath: module + "/broker", XTestImports: ours("internal/testcluster")}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			found := checkImports([]listed{row.pkg})
			if row.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Contains(t, found[0], row.want)
		})
	}
}

// The table itself must have no cycle: an arrow up would make the rest useless.
func TestTableHasNoCycle(t *testing.T) {
	const walking, done = 1, 2
	state := map[string]int{}
	var walk func(name string, path []string)
	walk = func(name string, path []string) {
		require.NotEqual(t, walking, state[name], "a cycle: %s", strings.Join(append(path, name), " → "))
		if state[name] == done {
			return
		}
		state[name] = walking
		for _, to := range mayImport[name] {
			for candidate := range mayImport {
				if candidate == to || strings.HasSuffix(to, "/*") && strings.HasPrefix(candidate, strings.TrimSuffix(to, "*")) {
					walk(candidate, append(path, name))
				}
			}
		}
		state[name] = done
	}
	for name := range mayImport {
		walk(name, nil)
	}
}

func TestGoFiles(t *testing.T) {
	for _, row := range []struct {
		name, file, src, want string
	}{
		{"clean", "a.go", "package a\n", ""},
		{"format", "a.go", "package  a\n", "gofmt -w a.go"},
		{"syntax", "a.go", "package", "does not parse"},
		{"note", "a.go", "package a\n\n// TO" + "DO: later.\n", "a.go:3: TO" + "DO"},
		{"sleep", "a_test.go", "package a\n\nfunc f() {\n\ttime.Sleep(1)\n}\n", "a_test.go:4: time.Sleep"},
		{"sleep with a reason", "a_test.go", "package a\n\nfunc f() {\n\t// The kernel tells nobody.\n\ttime.Sleep(1)\n}\n", ""},
		{"sleep in fake time", "a_test.go", "package a\n\nimport \"testing/synctest\"\n\nfunc f() {\n\ttime.Sleep(1)\n}\n", ""},
		{"sleep in code", "a.go", "package a\n\nfunc f() {\n\ttime.Sleep(1)\n}\n", ""},
		{"wall clock", "broker/a.go", "package a\n\nvar at = time.Now().UnixNano()\n", "broker/a.go:3: a unix time"},
		{"wall clock later", "store/b/a.go", "package a\n\nvar at = time.Now().Add(1).UnixMilli()\n", "a unix time"},
		{"wall clock of a tool", "admin/a.go", "package a\n\nvar at = time.Now().UnixNano()\n", ""},
		{"skip", "a_test.go", "package a\n\nfunc f() {\n\tt.Skip()\n}\n", "hides a failure"},
	} {
		t.Run(row.name, func(t *testing.T) {
			found := strings.Join(checkGoFile(row.file, []byte(row.src)), "\n")
			if row.want == "" {
				require.Empty(t, found)
				return
			}
			require.Contains(t, found, row.want)
		})
	}
}

func TestLeaks(t *testing.T) {
	for _, bad := range []string{"cd /wo" + "rk/main", "see /tm" + "p/x", "GOPROXY=https://proxy.go" + "lang.org"} {
		require.Len(t, checkLeaks("README.md", []byte("first\n"+bad+"\n")), 1, bad)
	}
	for _, good := range []string{"the network/work is done", "/home/rocketmq/store", "work/x", "https://pkg.go.dev/x"} {
		require.Empty(t, checkLeaks("README.md", []byte(good)), good)
	}
}

func TestLinks(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "docs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "docs", "a.md"), nil, 0o644))
	require.Empty(t, checkLinks(root, "README.md", []byte("[a](docs/a.md) [b](docs/a.md#x) [c](https://example.org/x) [d](#here)")))
	require.Empty(t, checkLinks(root, "docs/b.md", []byte("[a](a.md) [up](../docs/a.md)")))
	require.Len(t, checkLinks(root, "README.md", []byte("[a](docs/none.md)")), 1)
}

func TestFuzzTargetsAreFound(t *testing.T) {
	dir := t.TempDir()
	src := "package a\n\nfunc FuzzOne(f *testing.F) {}\n\n// func FuzzNot(f *testing.F)\nfunc FuzzTwo(f *testing.F) {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a_test.go"), []byte(src), 0o644))
	got, err := fuzzTargets([]listed{{ImportPath: "p", Dir: dir, TestGoFiles: []string{"a_test.go"}}})
	require.NoError(t, err)
	require.Equal(t, []target{{"p", "FuzzOne"}, {"p", "FuzzTwo"}}, got)
}

func TestFuzzTimeRanOut(t *testing.T) {
	const before = "fuzz: elapsed: 30s, execs: 131492 (0/sec), new interesting: 4 (total: 18)\n"
	require.True(t, timeRanOut(before+"--- FAIL: FuzzPieces (30.18s)\n    context deadline exceeded\nFAIL\nexit status 1\n"))
	for _, out := range []string{
		"",
		before + "PASS\n",
		before + "--- FAIL: FuzzX (1.00s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:1: context deadline exceeded\n    \n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n",
		before + "--- FAIL: FuzzX (1.00s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n",
		before + "--- FAIL: FuzzX (1.00s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n",
	} {
		require.False(t, timeRanOut(out), out)
	}
}
