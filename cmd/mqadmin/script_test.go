package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/testcluster"
)

// TestScripts runs the transcripts in testdata/script, a file each, all at the
// same time against one cluster: a name server and a group of one in this
// process, whose addresses are $NAMESRV_ADDR and $BROKER. A script uses topics
// and groups of names of its own.
//
// Beside testscript's commands there is "exits CODE mqadmin …", for commands
// that shall end with a code other than 0.
func TestScripts(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, testcluster.Options{})
	path, err := filepath.Abs(bin)
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", path+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("NAMESRV_ADDR", c.Namesrv)
			env.Setenv("BROKER", c.Nodes[0].Addr)
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
	})
}

// exits runs a program that shall end with the given code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d", code, want)
	}
}
