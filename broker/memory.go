package broker

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupLimit is where a process sees the memory limit of its control group, when
// it has a view of its own; "max" when there is none.
const cgroupLimit = "/sys/fs/cgroup/memory.max"

// memoryBytes is the memory that the newest part of the log can be in: the
// machine's, or what the control group allows.
func memoryBytes() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30 // the call cannot fail with a valid pointer
	}
	total := int64(info.Totalram) * int64(info.Unit)
	text, err := os.ReadFile(cgroupLimit)
	if err != nil {
		return total
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 {
		return min(total, limit)
	}
	return total
}
