package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// step is what the test does with one command of README's first section.
type step struct {
	skip  string // why it is not run
	until string // it stays, and has printed this; an interrupt ends it
	says  string // it ends, and has printed this
	first bool   // what stays so far is ended before
}

// newcomer has every command of README's first section. One that is missing here
// fails the test, so that nothing in it is left untried without a reason.
var newcomer = map[string]step{
	"make run":                               {until: "Ctrl-C stops it."},
	"make test":                              {skip: "it runs this test"},
	"make build":                             {skip: "the binaries under test are made by it"},
	"./mqadmin send orders hello world":      {says: "offset 0"},
	"./mqadmin tail orders -f":               {until: "hello"},
	"./mqadmin local status":                 {says: "leader"},
	"./mqadmin doctor":                       {says: "answer from here"},
	"./mqadmin cheat":                        {says: "mqadmin topic create"},
	"./mqadmin drill kill-leader --trials 3": {skip: "the drills have tests of their own, which take longer than this one may"},
	"./mqnamesrv":                            {until: "The Name Server boot success. serializeType=JSON", first: true},
	"./mqbroker -n localhost:9876":           {until: "boot success. serializeType=JSON and name server is localhost:9876"},
	"make compose-up":                        {skip: "it needs a Docker engine; .ci/run runs it where there is one"},
	"make compose-drill":                     {skip: "it needs a Docker engine; .ci/run runs it where there is one"},
	"make compose-down":                      {skip: "it needs a Docker engine; .ci/run runs it where there is one"},
}

// readmeCommands are the indented lines of a section of README, without comments.
func readmeCommands(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	require.True(t, found, "README has no section %q", heading)
	section, _, _ = strings.Cut(section, "\n## ")
	require.NotContains(t, section, "```", "this test reads indented blocks only")
	var out []string
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			command, _, _ = strings.Cut(command, " #")
			out = append(out, strings.TrimSpace(command))
		}
	}
	return out
}

// recipe is the one command of a target of the Makefile.
func recipe(t *testing.T, target string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^` + target + `:[^\n]*\n\t([^\n]+)\n(?:[^\t]|\z)`).FindSubmatch(text)
	require.NotNil(t, m, "target %s has not one line", target)
	return string(m[1])
}

// TestNewcomersPath types what README says, in its order, on RocketMQ's ports, in
// an empty directory that has the three binaries.
func TestNewcomersPath(t *testing.T) {
	if inOwnNet(t) {
		return
	}
	requireFree(t, 9876, 10911)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	for _, name := range []string{"mqnamesrv", "mqbroker", "mqadmin"} {
		require.NoError(t, os.Symlink(bin(name), filepath.Join(dir, name)))
		require.NoError(t, os.Symlink(bin(name), filepath.Join(dir, "bin", name)))
	}
	typed := func(command string) *exec.Cmd {
		if target, ok := strings.CutPrefix(command, "make "); ok {
			command = recipe(t, target) // without building what is built
		}
		args := strings.Fields(command)
		cmd := exec.Command(filepath.Join(dir, args[0]), args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "NAMESRV_ADDR=")
		return cmd
	}
	var running []*process
	interrupt := func() {
		for i := len(running) - 1; i >= 0; i-- {
			running[i].stop(syscall.SIGINT)
			require.Zero(t, running[i].cmd.ProcessState.ExitCode(), "%v\n%s", running[i].cmd.Args, running[i].output())
		}
		running = nil
	}
	commands := readmeCommands(t, "## Two commands")
	require.NotEmpty(t, commands)
	tried := map[string]bool{}
	for _, command := range commands {
		s, known := newcomer[command]
		require.True(t, known, "README has the command %q: say in this test how to try it, or why not", command)
		tried[command] = true
		if s.first {
			interrupt()
		}
		switch {
		case s.skip != "":
			t.Logf("not run: %s: %s", command, s.skip)
		case s.until != "":
			p := run(t, typed(command))
			p.waitLine(t, s.until, 30*time.Second)
			running = append(running, p)
		default:
			out, err := typed(command).CombinedOutput()
			require.NoError(t, err, "%s\n%s", command, out)
			require.Contains(t, string(out), s.says, command)
		}
	}
	interrupt()
	for command := range newcomer {
		require.True(t, tried[command], "README has no command %q any more", command)
	}
}
