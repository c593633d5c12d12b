package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

const ownNetEnv = "COMETMQ_TEST_IN_OWN_NET"

// inOwnNet runs the calling test a second time as a child process with a network of its own, where only a loopback
// interface exists, and reports true when that was done. So a test can use the default ports whatever else runs on
// this machine, and whatever forwards its ports: a container engine that was killed leaves rules that send
// 127.0.0.1:9876 to a container that is gone. Where this user may not make a network it reports false, and the test
// runs in the machine's.
func inOwnNet(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNetEnv) != "" {
		raiseLoopback(t)
		return false
	}
	probe := exec.Command("/proc/self/exe", "-test.run=^$")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := probe.Run(); err != nil {
		t.Logf("no network of its own for this test, so it uses the machine's: %v", err)
		return false
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), ownNetEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name(), "the child ran no test")
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return true
}

// raiseLoopback brings the loopback interface of a new network up (netdevice(7)).
func raiseLoopback(t *testing.T) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	require.NoError(t, err)
	defer func() { _ = syscall.Close(fd) }()
	var req struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req)))
	require.Zero(t, errno, "loopback: %v", errno)
}
