package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var day = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// copyTree copies what building needs, so that a second build happens under
// another path.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "bin" || name == "dist" || name == "test" || name == "testdata" || strings.HasPrefix(name, "rmq-")) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	}))
	return to
}

// unzip unpacks an archive as unzip(1) does, modes included.
func unzip(t *testing.T, archive, to string) {
	t.Helper()
	z, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer func() { require.NoError(t, z.Close()) }()
	for _, f := range z.File {
		require.True(t, f.Modified.Equal(day), f.Name)
		path := filepath.Join(to, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, f.Mode().Perm()))
	}
}

// TestArchive packs twice, under two paths, and uses what came out.
func TestArchive(t *testing.T) {
	root := copyTree(t, filepath.Join("..", ".."))
	pack := func(root string) ([]byte, string) {
		o := options{root: root, out: t.TempDir(), arches: []string{runtime.GOARCH}, version: "1.2.3", time: day, compile: build}
		require.NoError(t, packArchives(o))
		name := filepath.Join(o.out, "cometmq-1.2.3-linux-"+runtime.GOARCH+".zip")
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		sums, err := os.ReadFile(filepath.Join(o.out, "SHA256SUMS"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), filepath.Base(name)), string(sums))
		return data, name
	}
	first, archive := pack(root)
	again, _ := pack(copyTree(t, root))
	require.Equal(t, sha256.Sum256(first), sha256.Sum256(again), "two builds of one tree differ")

	to := t.TempDir()
	unzip(t, archive, to)
	top := filepath.Join(to, "cometmq-1.2.3")
	sums := exec.Command("sha256sum", "-c", "--quiet", "SHA256SUMS")
	sums.Dir = top
	out, err := sums.CombinedOutput()
	require.NoError(t, err, string(out))

	run := func(dir, program string, args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Dir = filepath.Join(top, dir)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "ROCKETMQ_HOME=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.Contains(t, run("bin", "./mqadmin", "--version"), "1.2.3")
	require.Contains(t, run("bin", "sh", "mqbroker", "-c", "../conf/broker.conf", "-m"), "brokerName=broker-a\n")
	require.Contains(t, run("bin", "sh", "mqbroker", "-c", "../conf/dledger/broker-n2.conf", "-m"), "dLegerSelfId=n2\n")
	require.Contains(t, run(".", "sh", "bin/mqnamesrv", "-c", "conf/namesrv.conf", "-p"), "listenPort=9876\n")
	require.Contains(t, run(".", "bin/mqnamesrv", "-p"), "rocketmqHome="+top+"\n", "the script says where it lives")
	require.NoError(t, os.Symlink(filepath.Join(top, "bin", "mqadmin"), filepath.Join(to, "mqadmin")))
	require.Contains(t, run("..", "./mqadmin", "--version"), "1.2.3", "a link to the script finds the program")
}

func TestRootfs(t *testing.T) {
	compile := func(_ options, _ string, programs []string) (map[string][]byte, error) {
		files := map[string][]byte{}
		for _, p := range programs {
			files[p] = []byte(p)
		}
		return files, nil
	}
	o := options{compile: compile, root: filepath.Join("..", ".."), arches: []string{runtime.GOARCH}, version: "1.2.3", time: day, out: filepath.Join(t.TempDir(), "bin", "rootfs.tar")}
	require.NoError(t, packRootfs(o))
	data, err := os.ReadFile(o.out)
	require.NoError(t, err)
	found := map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.NotContains(t, found, h.Name)
		if dir := filepath.Dir(strings.TrimSuffix(h.Name, "/")); dir != "." {
			require.Contains(t, found, dir+"/", "%s comes before its folder", h.Name)
		}
		require.True(t, h.ModTime.Equal(day))
		found[h.Name] = h
	}
	for _, dir := range []string{"home/rocketmq/store/", "home/rocketmq/logs/", "home/rocketmq/namesrv/"} {
		require.Equal(t, 3000, found[dir].Uid)
		require.Zero(t, found[dir].Gid)
		require.Equal(t, int64(0o775), found[dir].Mode)
	}
	require.Equal(t, "/home/rocketmq/rocketmq-4.9.4/bin/mqsh", found["bin/sh"].Linkname)
	require.Equal(t, int64(0o755), found["home/rocketmq/rocketmq-4.9.4/bin/mqbroker"].Mode)
	require.Contains(t, found, "home/rocketmq/rocketmq-4.9.4/conf/dledger/broker-n0.conf")
}

func TestBadArguments(t *testing.T) {
	require.ErrorContains(t, run(nil), "usage")
	require.ErrorContains(t, run([]string{"tarball"}), "usage")
	err := packArchives(options{root: t.TempDir(), out: t.TempDir(), arches: []string{"amd64"}, compile: build})
	require.ErrorContains(t, err, "build for linux/amd64")
}

// TestCheckStatic makes headers of programs: one segment each.
func TestCheckStatic(t *testing.T) {
	t.Parallel()
	program := func(machine elf.Machine, segment elf.ProgType) []byte {
		var b bytes.Buffer
		h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
		copy(h.Ident[:], elf.ELFMAG)
		h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
		require.NoError(t, binary.Write(&b, binary.LittleEndian, h))
		require.NoError(t, binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(segment)}))
		return b.Bytes()
	}
	require.NoError(t, checkStatic("p", "arm64", program(elf.EM_AARCH64, elf.PT_LOAD)))
	require.NoError(t, checkStatic("p", "amd64", program(elf.EM_X86_64, elf.PT_LOAD)))
	require.ErrorContains(t, checkStatic("p", "arm64", program(elf.EM_X86_64, elf.PT_LOAD)), "p for linux/arm64 is a program for EM_X86_64")
	require.ErrorContains(t, checkStatic("p", "arm64", program(elf.EM_AARCH64, elf.PT_INTERP)), "is not static: it has a segment PT_INTERP")
	require.ErrorContains(t, checkStatic("p", "amd64", program(elf.EM_X86_64, elf.PT_DYNAMIC)), "PT_DYNAMIC")
	require.ErrorContains(t, checkStatic("p", "arm64", []byte("#!/bin/sh\n")), "p for linux/arm64")
}
