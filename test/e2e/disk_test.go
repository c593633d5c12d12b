//go:build tmpfs

package e2e

import (
	"fmt"
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

// tmpfs is a small volume of its own. Mounting one needs root, and so this file has a tag that the Makefile sets for root.
func tmpfs(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// brokerOn is a group of one on a volume, with files of 4 MiB.
func brokerOn(t *testing.T, dir string, settings ...string) (*process, string) {
	t.Helper()
	port, err := freeBasePort()
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"--set", "storePathRootDir=" + filepath.Join(dir, "store"), "--set", fmt.Sprintf("listenPort=%d", port),
		"--set", "brokerIP1=127.0.0.1", "--set", "mappedFileSizeCommitLog=4194304"}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	p := run(t, exec.Command(bin("mqbroker"), args...))
	require.Eventually(t, func() bool { return strings.Contains(p.output(), "boot success") }, 20*time.Second, 10*time.Millisecond)
	return p, addr
}

// put sends 100 KiB.
func put(addr string) (frame, error) {
	return invoke(addr, 310, map[string]string{"a": "g", "b": "orders", "c": "TBW102", "d": "1", "e": "0", "f": "0",
		"g": "1", "h": "0", "i": "", "j": "0", "k": "false"}, make([]byte, 100<<10))
}

// fill makes a file of so many MiB, or as large as there is room for.
func fill(t *testing.T, path string, mib int) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	block := make([]byte, 1<<20)
	for range mib {
		if _, err := f.Write(block); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
	}
	require.NoError(t, f.Close())
}

// A volume that fills up: sends are refused with cause and numbers before the log fails, reads and acknowledgements go
// on even without a free byte, and sends are taken again within 5 s of free space, by themselves.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, 96)
	filler := filepath.Join(dir, "filler")
	p, addr := brokerOn(t, dir, "cleanFileForciblyEnable=false")
	fill(t, filler, 40)
	r, err := invoke(addr, 200, nil, []byte(`{"groupName":"g","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`))
	require.NoError(t, err)
	require.Zero(t, r.Code, r.Remark)
	sent := int64(0)
	var refused frame
	for range 2000 {
		r, err := put(addr)
		require.NoError(t, err)
		if r.Code != 0 {
			refused = r
			break
		}
		sent++
	}
	require.Equal(t, 14, refused.Code, "SERVICE_NOT_AVAILABLE: producers try elsewhere")
	require.Regexp(t, regexp.MustCompile(`disk \d+\.\d % of `+regexp.QuoteMeta(filepath.Join(dir, "store"))+`.*refusing writes`), refused.Remark)
	require.Greater(t, sent, int64(100))

	goesOn := func(what string) {
		r, err := invoke(addr, 11, map[string]string{"consumerGroup": "g", "topic": "orders", "queueId": "0", "queueOffset": "0",
			"maxMsgNums": "1", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0", "expressionType": "TAG"}, nil)
		require.NoError(t, err, what)
		require.Zero(t, r.Code, "%s: %s", what, r.Remark)
		for i := range 20 {
			r, err = invoke(addr, 15, map[string]string{"consumerGroup": "g", "topic": "orders", "queueId": "0", "commitOffset": fmt.Sprint(i)}, nil)
			require.NoError(t, err, what)
			require.Zero(t, r.Code, "%s: %s", what, r.Remark)
		}
		require.EqualValues(t, 19, committedOffset(t, addr, "g", "orders", 0), what)
	}
	goesOn("above the limit")
	fill(t, filepath.Join(dir, "rest"), 200)
	goesOn("without a free byte")

	// Even a restart is possible, after an end in the middle.
	p.stop(syscall.SIGKILL)
	p, addr = brokerOn(t, dir, "cleanFileForciblyEnable=false")
	r, err = put(addr)
	require.NoError(t, err)
	require.Equal(t, 14, r.Code)
	goesOn("after a restart on a full disk")

	require.NoError(t, os.Remove(filepath.Join(dir, "rest")))
	require.NoError(t, os.Remove(filler))
	freed := time.Now()
	require.Eventually(t, func() bool {
		r, err := put(addr)
		return err == nil && r.Code == 0
	}, 5*time.Second, 20*time.Millisecond, "sends are taken again within 5 s")
	t.Logf("taken again %v after there was space", time.Since(freed).Round(time.Millisecond))
	require.Equal(t, sent+1, maxOffset(t, addr, "orders", 0), "no message lost, none that was refused kept")
	p.stop(syscall.SIGTERM)
	out, err := command("mqadmin", "store", "verify", "--dir", filepath.Join(dir, "store"))
	require.NoError(t, err, out)
}

// A volume much smaller than what is sent: the oldest files go, sends never fail.
func TestDiskWatermarksRemoveOldMessages(t *testing.T) {
	dir := tmpfs(t, 96)
	p, addr := brokerOn(t, dir, "cleanResourceInterval=100")
	began := time.Now()
	for i := range 2500 { // 250 MB
		r, err := put(addr)
		require.NoError(t, err)
		if r.Code == 14 && time.Since(began) < time.Minute {
			// Faster than the files go; a producer comes again.
			require.Eventually(t, func() bool { r, err = put(addr); return err == nil && r.Code == 0 }, 5*time.Second, 10*time.Millisecond)
		}
		require.Zero(t, r.Code, "%d: %s", i, r.Remark)
	}
	low := number(t, addr, 31, "offset", map[string]string{"topic": "orders", "queueId": "0"})
	require.Greater(t, low, int64(1500))
	require.Equal(t, int64(2500), maxOffset(t, addr, "orders", 0))
	require.Contains(t, p.output(), "removed expired messages")
	require.Contains(t, p.output(), "diskSpaceCleanForciblyRatio 85")
	p.stop(syscall.SIGTERM)
	out, err := command("mqadmin", "store", "verify", "--dir", filepath.Join(dir, "store"))
	require.NoError(t, err, out)
}
