package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// smallMemory is the size of a container below which the collector is told
	// of it. Above, the broker's own bounds keep the heap far from the limit.
	smallMemory = 4 << 30
	// heapShare is the part of a small container that the Go heap may fill
	// before the collector works harder. The rest is for the page cache, which
	// serves most reads.
	heapShare = 0.6
)

// limitMemory sets the collector's soft limit in a small container, unless the
// operator has set GOMEMLIMIT. GOGC stays at Go's default: buffers are pooled,
// so the heap is small, and touching fresh memory costs more than collecting.
func limitMemory(env func(string) (string, bool)) {
	if _, set := env("GOMEMLIMIT"); set {
		return
	}
	if limit := containerMemory(); limit > 0 && limit < smallMemory {
		debug.SetMemoryLimit(int64(float64(limit) * heapShare))
	}
}

// containerMemory returns the memory limit of this process's control group in
// bytes, 0 when there is none or it cannot be read.
func containerMemory() int64 {
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if b, err := os.ReadFile(name); err == nil {
			return parseLimit(string(b))
		}
	}
	return 0
}

// parseLimit reads the content of a limit file. Version 1 writes a huge number
// where version 2 writes "max".
func parseLimit(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/4 {
		return 0
	}
	return n
}
