package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of faults names tests and drills; each of them must exist, or the
// table promises what nobody checks.
func TestTableOfFaultsNamesWhatExists(t *testing.T) {
	root, err := moduleRoot()
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(root, "test", "chaos", "README.md"))
	require.NoError(t, err)
	catalog, err := os.ReadFile(filepath.Join(root, "internal", "drill", "catalog.go"))
	require.NoError(t, err)
	tests := testNames(t, root)
	require.Empty(t, missingFaults(string(b), tests, string(catalog)))

	changed := strings.Replace(string(b), "`drill kill-leader`", "`drill kill-cat`, `TestThatNobodyWrote`", 1)
	require.Equal(t, []string{"drill kill-cat", "TestThatNobodyWrote"}, missingFaults(changed, tests, string(catalog)))
	for row := 1; row <= 35; row++ {
		require.Regexp(t, regexp.MustCompile(`(?m)^\| `+strconv.Itoa(row)+` \|`), string(b))
	}
}

var (
	namedFault = regexp.MustCompile("`((?:drill )?[A-Za-z0-9-]+)`")
	testFunc   = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// missingFaults returns the tests and drills that a table names and nobody has.
func missingFaults(table string, tests map[string]bool, catalog string) []string {
	var missing []string
	for _, m := range namedFault.FindAllStringSubmatch(table, -1) {
		name, drill := strings.CutPrefix(m[1], "drill ")
		switch {
		case drill && !strings.Contains(catalog, `name: "`+name+`"`):
			missing = append(missing, m[1])
		case !drill && strings.HasPrefix(name, "Test") && !tests[name]:
			missing = append(missing, m[1])
		}
	}
	return missing
}

func testNames(t *testing.T, root string) map[string]bool {
	names := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(src, -1) {
			names[string(m[1])] = true
		}
		return err
	}))
	return names
}
