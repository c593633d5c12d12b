package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// options say what to pack.
type options struct {
	root    string // of the tree
	out     string
	arches  []string
	version string
	time    time.Time // of every file
	// compile returns the bytes of each program; tests replace it.
	compile func(o options, arch string, programs []string) (map[string][]byte, error)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

const usage = "usage: dist zip|rootfs [-root DIR] [-out PATH] [-arch amd64,arm64] [-version V]"

func run(args []string) error {
	if len(args) == 0 || args[0] != "zip" && args[0] != "rootfs" {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("dist", flag.ContinueOnError)
	root := flags.String("root", ".", "the tree to pack")
	out := flags.String("out", "", "directory of the archives (dist), or file of the image (bin/rootfs.tar)")
	arch := flags.String("arch", "", "processors: amd64,arm64 for archives, this machine's for an image")
	version := flags.String("version", "", "version to name it by (git describe)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	o := options{root: *root, out: *out, version: *version, time: commitTime(*root), compile: build}
	if o.version == "" {
		o.version = describe(o.root)
	}
	if args[0] == "rootfs" {
		o.arches = []string{runtime.GOARCH}
		if *arch != "" {
			o.arches = []string{*arch}
		}
		if o.out == "" {
			o.out = filepath.Join(o.root, "bin", "rootfs.tar")
		}
		return packRootfs(o)
	}
	o.arches = []string{"amd64", "arm64"}
	if *arch != "" {
		o.arches = strings.Split(*arch, ",")
	}
	if o.out == "" {
		o.out = filepath.Join(o.root, "dist")
	}
	return packArchives(o)
}

// describe names the commit, or "dev" where there is no git.
func describe(root string) string {
	cmd := exec.Command("git", "describe", "--tags", "--always", "--dirty")
	cmd.Dir = root
	out, err := cmd.Output()
	if v := strings.TrimSpace(string(out)); err == nil && v != "" {
		return v
	}
	return "dev"
}

// commitTime is the time of the commit, so that packing twice gives the same
// bytes. SOURCE_DATE_EPOCH overrides it, as is usual among packagers.
func commitTime(root string) time.Time {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		cmd := exec.Command("git", "log", "-1", "--format=%ct")
		cmd.Dir = root
		out, err := cmd.Output()
		if err == nil {
			text = strings.TrimSpace(string(out))
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		// The first day that a zip file can name.
		return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Unix(seconds, 0).UTC()
}

// build compiles programs for Linux and returns their bytes.
func build(o options, arch string, programs []string) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "cometmq-dist-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=" + o.version, "-o", dir + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = o.root
	// Whatever this machine's settings are, the program is for every machine.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build for linux/%s: %w\n%s", arch, err, out)
	}
	files := map[string][]byte{}
	for _, p := range programs {
		if files[p], err = os.ReadFile(filepath.Join(dir, p)); err != nil {
			return nil, err
		}
	}
	return files, nil
}
