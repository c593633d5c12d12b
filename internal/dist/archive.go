package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of an archive; names have slashes and no leading one.
type file struct {
	name string
	mode fs.FileMode
	data []byte
}

// programs are what a user calls, in bin/.
var programs = []string{"mqadmin", "mqbroker", "mqnamesrv", "mqshutdown"}

// script stands in bin/ for a program in libexec/. RocketMQ's habit is
// `sh mqbroker`, and a shell cannot run a program file that way.
const script = `#!/bin/sh
# The program is in libexec/; this is here so that "sh %[1]s" works as well as "./%[1]s".
home=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
ROCKETMQ_HOME=${ROCKETMQ_HOME:-$home} exec "$home/libexec/%[1]s" "$@"
`

// folders of the tree that go into the archive, and where to.
var folders = []struct{ from, to string }{
	{"deploy/conf", "conf"},
	{"deploy/systemd", "systemd"},
	{"deploy/grafana", "monitoring"},
	{"deploy/prometheus", "monitoring"},
}

// packArchives writes one archive for each processor, and their checksums.
func packArchives(o options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, arch := range o.arches {
		files, err := collect(o, arch)
		if err != nil {
			return err
		}
		top := "cometmq-" + o.version
		name := top + "-linux-" + arch + ".zip"
		var data bytes.Buffer
		if err := writeZip(&data, top, files, o.time); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(o.out, name), data.Bytes(), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data.Bytes()), name)
		fmt.Printf("%s  %.1f MiB\n", filepath.Join(o.out, name), float64(data.Len())/(1<<20))
	}
	return os.WriteFile(filepath.Join(o.out, "SHA256SUMS"), sums.Bytes(), 0o644)
}

// collect gathers the files of one archive, with their own checksums last.
func collect(o options, arch string) ([]file, error) {
	built, err := o.compile(o, arch, programs)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, p := range programs {
		if err := checkStatic(p, arch, built[p]); err != nil {
			return nil, err
		}
		files = append(files,
			file{"bin/" + p, 0o755, fmt.Appendf(nil, script, p)},
			file{"libexec/" + p, 0o755, built[p]})
	}
	for _, f := range folders {
		found, err := readFolder(filepath.Join(o.root, filepath.FromSlash(f.from)), f.to)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	for _, name := range []string{"LICENSE", "NOTICE"} {
		data, err := os.ReadFile(filepath.Join(o.root, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, 0o644, data})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	var sums bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.data), f.name)
	}
	return append(files, file{"SHA256SUMS", 0o644, sums.Bytes()}), nil
}

// machines are the processors as program files name them.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkStatic refuses a program that does not run on any Linux with the processor
// that its archive is for: it must bring along all it needs.
func checkStatic(name, arch string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s for linux/%s: %w", name, arch, err)
	}
	if want, known := machines[arch]; !known || f.Machine != want || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("%s for linux/%s is a program for %s", name, arch, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("%s for linux/%s is not static: it has a segment %s", name, arch, p.Type)
		}
	}
	return nil
}

// readFolder reads the files below a folder. Go files are the checks of these
// very files and stay at home.
func readFolder(dir, to string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "~") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, file{to + "/" + filepath.ToSlash(rel), 0o644, data})
		return err
	})
	return files, err
}

// writeZip writes the files below one folder, in the order given.
func writeZip(w io.Writer, top string, files []file, at time.Time) (err error) {
	z := zip.NewWriter(w)
	defer func() { err = errors.Join(err, z.Close()) }()
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, f := range files {
		h := &zip.FileHeader{Name: top + "/" + f.name, Method: zip.Deflate, Modified: at}
		h.SetMode(f.mode)
		entry, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}
	return nil
}
