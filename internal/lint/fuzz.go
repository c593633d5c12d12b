package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// target is one fuzz function.
type target struct{ pkg, name string }

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]*)\(f \*testing\.F\)`)

// fuzzTargets finds every fuzz function of the packages.
func fuzzTargets(pkgs []listed) ([]target, error) {
	var targets []target
	for _, p := range pkgs {
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			src, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				return nil, fmt.Errorf("look for fuzz targets: %w", err)
			}
			for _, m := range fuzzFunc.FindAllSubmatch(src, -1) {
				targets = append(targets, target{p.ImportPath, string(m[1])})
			}
		}
	}
	return targets, nil
}

// runFuzz fuzzes one target after the other, goes on after a failure, and names
// all that failed.
func runFuzz(root string, pkgs []listed, each time.Duration) error {
	targets, err := fuzzTargets(pkgs)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("no fuzz target found")
	}
	var failed []error
	for _, t := range targets {
		fmt.Printf("--- %s %s\n", t.pkg, t.name)
		cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		var out strings.Builder
		cmd.Dir, cmd.Stdout, cmd.Stderr = root, io.MultiWriter(os.Stdout, &out), os.Stderr
		if err := cmd.Run(); err != nil && !timeRanOut(out.String()) {
			failed = append(failed, fmt.Errorf("%s in %s: %w", t.name, t.pkg, err))
		}
	}
	return errors.Join(failed...)
}

// timeRanOut reports whether all that a run complains of is the end of its own
// time: the engine calls it a failure when a worker is busy at that moment. A
// failure of the target names the input that it wrote down.
func timeRanOut(out string) bool {
	_, tail, failed := strings.Cut(out, "--- FAIL: ")
	lines := strings.Split(tail, "\n")
	return failed && len(lines) > 2 && strings.TrimSpace(lines[1]) == "context deadline exceeded" && lines[2] == "FAIL"
}
