//go:build chaos

package e2e

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// needRoot are the drills that cut networks or fill volumes.
var needRoot = []string{"isolate-leader", "isolate-minority", "isolate-follower", "one-way-partition", "ring-partition", "bridge-partition",
	"flapping-link", "slow-link", "bad-network", "full-disk"}

// TestChaosDrills runs every drill once, with the eager client.
func TestChaosDrills(t *testing.T) {
	out, err := command("mqadmin", "drill", "list")
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		name := strings.Fields(line)[0]
		if os.Geteuid() != 0 && slices.Contains(needRoot, name) {
			leftOut = append(leftOut, "drill "+name+" needs root")
			continue
		}
		t.Run(name, func(t *testing.T) { drill(t, name) })
	}
}

func drill(t *testing.T, args ...string) {
	t.Helper()
	out, err := command("mqadmin", append([]string{"drill"}, args...)...)
	t.Log(out)
	require.NoError(t, err)
}

// TestChaosStockClients runs the drills that clients notice most with the official ones as load, as far as they are built.
func TestChaosStockClients(t *testing.T) {
	clients := "eager"
	for name, file := range map[string]string{"go": "stockload", "java": "stockload-java/interop.jar"} {
		if _, err := os.Stat(bin(file)); err != nil {
			leftOut = append(leftOut, "the "+name+" client as load is not built (make drill-clients)")
			continue
		}
		if _, err := exec.LookPath("java"); name == "java" && err != nil {
			leftOut = append(leftOut, "the java client as load needs a Java runtime")
			continue
		}
		clients += "," + name
	}
	for _, name := range []string{"kill-leader", "pause-leader", "kill-namesrv"} {
		t.Run(name, func(t *testing.T) { drill(t, name, "--clients", clients, "--set", "standInBrokers=1") })
	}
}
