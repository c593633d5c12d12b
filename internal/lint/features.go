package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The table of capabilities, and what it may name as proof.
const (
	featuresFile = "docs/features.md"
	e2eDir       = "test/e2e"
	scenarioFile = "test/interop/java/src/main/java/com/cometmq/interop/Scenarios.java"
)

// features are the numbers that the table must have: what our inventory of
// RocketMQ lists about messaging, clients and limits. Those that are missing here
// belong to 5.x alone, but for delivery at any time (75), which we have.
var features = numbers("1-17 20-26 28-46 53-60 62-68 70-75 77-92 94-103 170-174 177-182 191-200")

// numbers reads "1-3 7" as 1, 2, 3, 7.
func numbers(text string) (list []int) {
	for item := range strings.FieldsSeq(text) {
		low, high, found := strings.Cut(item, "-")
		if !found {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil {
			panic("not a range of numbers: " + item)
		}
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
	}
	return list
}

// proofs are all tests that a table may name.
type proofs struct {
	tests     map[string]bool // TestX of test/e2e, pkg.TestX of other packages
	scenarios map[string]bool // of the Java program
}

var (
	testName     = regexp.MustCompile("`((?:[a-z0-9]+\\.)?Test[A-Z]\\w*)`")
	scenarioName = regexp.MustCompile(`\*([A-Z]\w+)\*`)
	scenarioPut  = regexp.MustCompile(`all\.put\("(\w+)"`)
	featureRow   = regexp.MustCompile(`(?m)^\| (\d+) \|(.*)$`)
)

// checkFeatures reports capabilities without a proof, and proofs that do not
// exist.
func checkFeatures(root string) ([]string, error) {
	known, err := findProofs(root)
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile(filepath.Join(root, featuresFile))
	if err != nil {
		return nil, err
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return nil, err
	}
	found := checkTable(string(table), known)
	return append(found, checkNames("README.md", string(readme), known)...), nil
}

// checkTable looks at the rows of docs/features.md.
func checkTable(text string, known proofs) []string {
	found := checkNames(featuresFile, text, known)
	for _, m := range scenarioName.FindAllStringSubmatch(text, -1) {
		if !known.scenarios[m[1]] {
			found = append(found, fmt.Sprintf("%s: there is no scenario %s in %s", featuresFile, m[1], scenarioFile))
		}
	}
	body, missing, _ := strings.Cut(text, "\n## Not here")
	seen := map[int]bool{}
	for _, m := range featureRow.FindAllStringSubmatch(body, -1) {
		n := row(m[1], seen, &found)
		if !testName.MatchString(m[2]) && !scenarioName.MatchString(m[2]) && !strings.Contains(m[2], "all of them") {
			found = append(found, fmt.Sprintf("%s: number %d has no test; write one, or move it to what is not here, with the reason", featuresFile, n))
		}
	}
	for _, m := range featureRow.FindAllStringSubmatch(missing, -1) {
		row(m[1], seen, &found)
	}
	for _, n := range features {
		if !seen[n] {
			found = append(found, fmt.Sprintf("%s: number %d is missing", featuresFile, n))
		}
	}
	return found
}

// row notes a row's number.
func row(text string, seen map[int]bool, found *[]string) int {
	n, err := strconv.Atoi(text)
	if err != nil || !slices.Contains(features, n) || seen[n] {
		*found = append(*found, fmt.Sprintf("%s: number %s is unknown, or there twice", featuresFile, text))
	}
	seen[n] = true
	return n
}

// checkNames looks for tests that a text names and that do not exist.
func checkNames(file, text string, known proofs) (found []string) {
	for _, m := range testName.FindAllStringSubmatch(text, -1) {
		if !known.tests[m[1]] {
			found = append(found, fmt.Sprintf("%s: there is no %s; a name without a package is looked for in %s", file, m[1], e2eDir))
		}
	}
	return found
}

// findProofs reads the names of all tests, whatever their build tags, and of the
// Java program's scenarios.
func findProofs(root string) (proofs, error) {
	known := proofs{tests: map[string]bool{}, scenarios: map[string]bool{}}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		prefix := path.Base(filepath.ToSlash(rel)) + "."
		if filepath.ToSlash(rel) == e2eDir {
			prefix = ""
		}
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				known.tests[prefix+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		return known, err
	}
	java, err := os.ReadFile(filepath.Join(root, scenarioFile))
	if err != nil {
		return known, err
	}
	for _, m := range scenarioPut.FindAllStringSubmatch(string(java), -1) {
		known.scenarios[m[1]] = true
	}
	return known, nil
}
