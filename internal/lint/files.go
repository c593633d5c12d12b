package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// checkGoFile reports what is wrong with one Go file by itself.
func checkGoFile(name string, src []byte) []string {
	formatted, err := format.Source(src)
	if err != nil {
		return []string{fmt.Sprintf("%s: does not parse: %v", name, err)}
	}
	var found []string
	if !bytes.Equal(formatted, src) {
		found = append(found, name+": not formatted; run gofmt -w "+name)
	}
	return append(found, checkSyntax(name, src)...)
}

// checkSyntax finds sleeps without a reason in tests, skipped tests and notes to
// self.
func checkSyntax(name string, src []byte) []string {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return []string{fmt.Sprintf("%s: does not parse: %v", name, err)}
	}
	var found []string
	at := func(p token.Pos, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s:%d: ", name, fset.Position(p).Line)+fmt.Sprintf(format, args...))
	}

	// A comment that ends on a line, or on the line above, explains that line.
	explained := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			end := fset.Position(c.End()).Line
			explained[end], explained[end+1] = true, true
			if note := noteToSelf.FindString(c.Text); note != "" {
				at(c.Pos(), "%s in a comment; do it, or say in the documentation what is missing", note)
			}
		}
	}

	test := strings.HasSuffix(name, "_test.go")
	fakeTime := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if !test && serves(name) && strings.HasPrefix(sel.Sel.Name, "Unix") && isNow(sel.X) {
			at(n.Pos(), "a unix time of time.Now; measure with time.Since, which no step of the clock reaches, or take the time of day from internal/wall, which a drill can move")
		}
		x, _ := sel.X.(*ast.Ident)
		switch {
		case x == nil:
		case test && !fakeTime && x.Name == "time" && sel.Sel.Name == "Sleep" && !explained[fset.Position(n.Pos()).Line]:
			at(n.Pos(), "time.Sleep in a test; wait for the condition (require.Eventually, a channel, testing/synctest), or say beside it why only time will do")
		case test && x.Name == "t" && (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow"):
			at(n.Pos(), "a skipped test hides a failure; mend it or delete it")
		}
		return true
	})
	return found
}

// serves says whether a file belongs to what runs in a server.
func serves(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"broker", "dledger", "namesrv", "remoting", "store"}, first)
}

// isNow recognises time.Now(), and time.Now().Add(…) as well.
func isNow(x ast.Expr) bool {
	call, ok := x.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, _ := sel.X.(*ast.Ident)
	return pkg != nil && pkg.Name == "time" && sel.Sel.Name == "Now" || sel.Sel.Name == "Add" && isNow(sel.X)
}

var noteToSelf = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)

// leak matches what belongs to one machine and not to the project. It is put
// together from pieces so that this file does not match itself.
var leak = regexp.MustCompile(`(^|[^A-Za-z0-9_.])(/(wo` + `rk|fa` + `rm|ro` + `ot|ho` + `me/[a-z]+)/[A-Za-z.]` +
	`|/tm` + `p/[A-Za-z0-9])|proxy\.go` + `lang\.org|deb\.deb` + `ian\.org|registry\.np` + `mjs|repo1?\.ma` + `ven|\.mir` + `ror/`)

// leakAllowed are places where RocketMQ's own conventions name an absolute path.
var leakAllowed = regexp.MustCompile(`/home/rocketmq/`)

// checkLeaks reports machine paths and registry hosts in one tracked text file.
func checkLeaks(name string, src []byte) []string {
	if strings.HasSuffix(name, "go.sum") || bytes.IndexByte(src[:min(len(src), 8000)], 0) >= 0 {
		return nil
	}
	var found []string
	for i, line := range strings.Split(string(src), "\n") {
		if m := leak.FindString(leakAllowed.ReplaceAllString(line, "")); m != "" {
			found = append(found, fmt.Sprintf("%s:%d: %q belongs to one machine or to a package registry; take it out", name, i+1, strings.TrimSpace(m)))
		}
	}
	return found
}

var markdownLink = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

// checkLinks reports relative links of one Markdown file that lead nowhere.
func checkLinks(root, name string, src []byte) []string {
	var found []string
	for _, m := range markdownLink.FindAllSubmatch(src, -1) {
		target := filepath.Join(root, filepath.Dir(name), string(m[1]))
		if _, err := os.Stat(target); err != nil {
			found = append(found, fmt.Sprintf("%s: links to %s, which does not exist", name, m[1]))
		}
	}
	return found
}

// trackedFiles asks git, and where there is no git (a source archive) takes
// every file of the tree.
func trackedFiles(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
	}
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	return names, err
}

// checkTree runs the checks of single files over the tracked files of root.
func checkTree(root string) ([]string, error) {
	names, err := trackedFiles(root)
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", root, err)
	}
	var found []string
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // deleted in the work tree, or a link to a folder
		}
		found = append(found, checkLeaks(name, src)...)
		switch {
		case strings.HasSuffix(name, ".go"):
			found = append(found, checkGoFile(name, src)...)
		case strings.HasSuffix(name, ".md"):
			found = append(found, checkLinks(root, name, src)...)
		}
	}
	return found, nil
}
