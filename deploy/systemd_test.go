package deploy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/inherit"
	"github.com/cometmq/cometmq/namesrv"
)

// unit reads a systemd unit: "Section.Key" and its values.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("systemd", name))
	require.NoError(t, err)
	defer f.Close()
	values, section := map[string][]string{}, ""
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		require.True(t, ok, "%s: %s", name, line)
		values[section+"."+key] = append(values[section+"."+key], value)
	}
	return values
}

// TestSocketUnitsFitTheServers: a socket unit opens the port that its server uses
// without any setting, by a name that the server knows, and nothing else.
func TestSocketUnitsFitTheServers(t *testing.T) {
	home(t)
	for name, port := range map[string]int{"mqbroker@": broker.DefaultConfig().ListenPort, "mqnamesrv": namesrv.DefaultConfig().ListenPort} {
		socket, service := unit(t, name+".socket"), unit(t, name+".service")
		require.Equal(t, []string{strconv.Itoa(port)}, socket["Socket.ListenStream"], name)
		require.Equal(t, []string{inherit.Remoting}, socket["Socket.FileDescriptorName"], name)
		instance := strings.Replace(name, "@", "@%i", 1)
		require.Equal(t, []string{instance + ".service"}, socket["Install.RequiredBy"], "stopping the socket stops the service")
		require.Equal(t, []string{"on-failure"}, service["Service.Restart"], "who waits at the socket must be answered; mqshutdown stops it")
		require.Equal(t, []string{"100ms"}, service["Service.RestartSec"], name)
		require.Contains(t, strings.Fields(service["Service.RestartPreventExitStatus"][0]), strconv.Itoa(explain.ExitBadConfig),
			"a socket that does not fit must not be tried ten times a second")
	}
}

// TestUnitsAreValid asks systemd itself, where it is there to be asked.
func TestUnitsAreValid(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze here to ask; TestSocketUnitsFitTheServers has read them")
	}
	dir := t.TempDir()
	files, err := filepath.Glob("systemd/*")
	require.NoError(t, err)
	require.Len(t, files, 4)
	program := regexp.MustCompile(`(?m)^ExecStart=\S+`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		text = program.ReplaceAll(text, []byte("ExecStart=/bin/true")) // ours are not installed
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), text, 0o644))
	}
	for _, name := range []string{"mqbroker@n0.service", "mqbroker@n0.socket", "mqnamesrv.service", "mqnamesrv.socket"} {
		if verify == "" {
			break
		}
		out, err := exec.Command(verify, "verify", filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, string(out), "it warns about %s", name)
	}
}
