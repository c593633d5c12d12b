package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// listed is what lint reads of one package from `go list -json`.
type listed struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// name is the package's place in the tree: its import path without the module.
func (p listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func goList(dir string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the output of go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// checkImports reports every import that the tables in rules.go do not allow.
func checkImports(pkgs []listed) []string {
	var found []string
	for _, p := range pkgs {
		allowed, known := mayImport[p.name()]
		if !known {
			found = append(found, fmt.Sprintf("%s: a new package; say in internal/lint/rules.go what it may import, and in README.md's map what it is for", p.name()))
		}
		for _, path := range p.Imports {
			if known {
				found = append(found, checkOurs(p.name(), path, allowed)...)
			}
			found = append(found, checkForeign(p.name(), path, false)...)
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			found = append(found, checkForeign(p.name(), path, true)...)
		}
	}
	return found
}

func checkOurs(from, path string, allowed []string) []string {
	to, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return nil
	}
	if slices.Contains(testOnly, to) {
		return []string{fmt.Sprintf("%s imports %s, which is for tests; move the code that needs it into a _test.go file", from, to)}
	}
	for _, a := range allowed {
		if to == a || strings.HasSuffix(a, "/*") && strings.HasPrefix(to, strings.TrimSuffix(a, "*")) {
			return nil
		}
	}
	may := "nothing of ours"
	if len(allowed) > 0 {
		may = "only " + strings.Join(allowed, ", ")
	}
	return []string{fmt.Sprintf("%s imports %s, but may import %s; let the caller hand it what it needs (a small interface declared in %s, or a callback)", from, to, may, from)}
}

func checkForeign(from, path string, test bool) []string {
	for _, rule := range foreign {
		if test && !rule.tests || path != rule.path && !strings.HasPrefix(path, rule.path+"/") {
			continue
		}
		if slices.Contains(rule.only, from) || rule.path == "log" && (strings.HasPrefix(from, "cmd/") || from == "internal/lint") || path != rule.path && rule.path == "log" {
			continue
		}
		return []string{fmt.Sprintf("%s imports %s: %s", from, path, rule.why)}
	}
	return nil
}

// checkDocs reports packages without a doc.go.
func checkDocs(pkgs []listed) []string {
	var found []string
	for _, p := range pkgs {
		if len(p.GoFiles) > 0 && !slices.Contains(p.GoFiles, "doc.go") {
			found = append(found, fmt.Sprintf("%s: has no doc.go; write down its purpose, its two or three invariants and who calls it", p.name()))
		}
	}
	return found
}
