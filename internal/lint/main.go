package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	fuzz := flag.Duration("fuzz", 0, "run every fuzz target for this long instead of checking")
	flag.Parse()
	if err := run(*fuzz); err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
}

func run(fuzz time.Duration) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	pkgs, err := goList(root)
	if err != nil {
		return err
	}
	if fuzz > 0 {
		return runFuzz(root, pkgs, fuzz)
	}
	found, err := checkTree(root)
	if err != nil {
		return err
	}
	unproved, err := checkFeatures(root)
	if err != nil {
		return err
	}
	found = append(found, unproved...)
	found = append(found, checkImports(pkgs)...)
	found = append(found, checkDocs(pkgs)...)
	for _, f := range found {
		fmt.Println(f)
	}
	if len(found) > 0 {
		return fmt.Errorf("%d findings", len(found))
	}
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
