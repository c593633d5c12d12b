package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFeatureTableNamesWhatExists(t *testing.T) {
	known := proofs{tests: map[string]bool{"TestSend": true, "store.TestKept": true}, scenarios: map[string]bool{"Batch": true}}
	var rows []string
	for _, n := range features {
		rows = append(rows, "| "+strconv.Itoa(n)+" | what | `TestSend` | *Batch* |")
	}
	whole := strings.Join(rows, "\n") + "\n\n## Not here, and why\n"
	require.Empty(t, checkTable(whole, known))
	last := strconv.Itoa(features[len(features)-1])
	for name, c := range map[string]struct{ old, new, want string }{
		"a test that is gone":       {"| 1 | what | `TestSend` |", "| 1 | what | `TestSent` |", "there is no TestSent"},
		"a test of another package": {"| 1 | what | `TestSend` |", "| 1 | what | `store.TestSend` |", "there is no store.TestSend"},
		"a scenario that is gone":   {"*Batch*", "*Batches*", "no scenario Batches"},
		"no proof":                  {"| 2 | what | `TestSend` | *Batch* |", "| 2 | what | | |", "number 2 has no test"},
		"a missing row":             {"| " + last + " | what | `TestSend` | *Batch* |", "", "number " + last + " is missing"},
		"an unknown row":            {"| 1 | what |", "| 999 | what |", "number 999 is unknown"},
		"a row twice":               {"| 2 | what |", "| 1 | what |", "number 1 is unknown, or there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, whole, c.old)
			require.Contains(t, strings.Join(checkTable(strings.Replace(whole, c.old, c.new, 1), known), "\n"), c.want)
		})
	}
	moved := strings.Replace(whole, "| 2 | what | `TestSend` | *Batch* |\n", "", 1) + "| 2 | what | because |\n"
	require.Empty(t, checkTable(moved, known), "a reason stands for a test")
	require.Empty(t, checkNames("README.md", "`store.TestKept` and `TestSend`, `make test`", known))
}

// The tree's own tests are found, with build tags and in other languages.
func TestProofsAreFound(t *testing.T) {
	root, err := moduleRoot()
	require.NoError(t, err)
	known, err := findProofs(root)
	require.NoError(t, err)
	for _, name := range []string{"TestSendSync", "TestJavaScenarios", "lint.TestProofsAreFound"} {
		require.True(t, known.tests[name], name)
	}
	require.False(t, known.tests["lint.TestNothing"])
	require.True(t, known.scenarios["SyncAsyncOneway"])
}
