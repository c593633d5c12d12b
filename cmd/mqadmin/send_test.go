package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every line of a file comes back as it was: empty ones, long ones, ones that
// are no UTF-8, and the last one without a newline.
func TestSendAndTailKeepEveryByte(t *testing.T) {
	dir := t.TempDir()
	up(t, dir, "--nodes", "1")
	var lines []string
	for i := range 2000 {
		lines = append(lines, fmt.Sprintf("line %d é\t", i))
	}
	lines = append(lines, "", "", strings.Repeat("long ", 40_000), "carriage\r", "no newline at the end")
	file := filepath.Join(dir, "lines")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644))

	ok(t, dir, "topic", "create", "text", "-q", "4")
	var sum sentSummary
	require.NoError(t, json.Unmarshal([]byte(ok(t, dir, "send", "text", "--file", file, "-o", "json")), &sum))
	require.Equal(t, len(lines), sum.Sent)

	got := strings.Split(strings.TrimSuffix(ok(t, dir, "tail", "text"), "\n"), "\n")
	sort.Strings(got)
	want := append([]string(nil), lines...)
	sort.Strings(want)
	require.Equal(t, want, got)

	// Within a queue the order of the input is kept.
	next := map[int32]int64{}
	place := map[string]int{}
	for i, l := range lines {
		place[l] = i
	}
	last := map[int32]int{}
	for _, line := range strings.Split(strings.TrimSpace(ok(t, dir, "tail", "text", "-o", "json")), "\n") {
		var m tailed
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		require.Equal(t, next[m.Queue], m.Offset)
		next[m.Queue]++
		if m.Body == "" {
			continue // there are two of them
		}
		require.GreaterOrEqual(t, place[m.Body], last[m.Queue])
		last[m.Queue] = place[m.Body]
	}
	require.Len(t, next, 4)

	ok(t, dir, "send", "text", "one more", "--queue", "2")
	require.Contains(t, ok(t, dir, "tail", "text", "--queue", "2"), "one more\n")
	require.NotContains(t, ok(t, dir, "tail", "text", "--queue", "1"), "one more\n")
	require.Empty(t, ok(t, dir, "tail", "text", "--from-end"))

	_, stderr, code := mqadmin(t, dir, "tail", "nowhere")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "mqadmin topic create nowhere")
	_, stderr, code = mqadmin(t, dir, "send", "a topic with spaces", "x")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "0 messages were acknowledged")
}
