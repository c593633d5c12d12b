package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The user of RocketMQ's images. Folders to write to belong to group 0 as well,
// because a platform that picks the user id itself leaves the group at 0.
const (
	imageUser = 3000
	imageHome = "home/rocketmq"
	imageDir  = imageHome + "/rocketmq-4.9.4" // ROCKETMQ_HOME: where tutorials mount conf/
)

// entry is one entry of the image's file system.
type entry struct {
	name string // a trailing slash makes a folder
	mode int64
	uid  int
	link string
	data []byte
}

// packRootfs writes the file system of the image as a tar file, which a
// Dockerfile adds to an empty image: owners and modes come out as they are here.
func packRootfs(o options) error {
	entries, err := rootfs(o)
	if err != nil {
		return err
	}
	var data bytes.Buffer
	if err := writeTar(&data, entries, o.time); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	fmt.Printf("%s  %.1f MiB\n", o.out, float64(data.Len())/(1<<20))
	return os.WriteFile(o.out, data.Bytes(), 0o644)
}

func rootfs(o options) ([]entry, error) {
	list := []entry{
		{name: "bin/", mode: 0o755},
		{name: "etc/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:0:root:/:/bin/sh\nrocketmq:x:%d:%d:RocketMQ:/%s:/bin/sh\n", imageUser, imageUser, imageHome)},
		{name: "etc/group", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:\nrocketmq:x:%d:\n", imageUser)},
		{name: "home/", mode: 0o755},
		{name: imageHome + "/", mode: 0o775, uid: imageUser},
		{name: imageHome + "/logs/", mode: 0o775, uid: imageUser},
		{name: imageHome + "/namesrv/", mode: 0o775, uid: imageUser},
		{name: imageHome + "/store/", mode: 0o775, uid: imageUser},
		{name: imageDir + "/", mode: 0o755},
		{name: imageDir + "/bin/", mode: 0o755},
		{name: imageDir + "/conf/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
	}
	all := append([]string{"mqsh"}, programs...)
	built, err := o.compile(o, o.arches[0], all)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		list = append(list, entry{name: imageDir + "/bin/" + p, mode: 0o755, data: built[p]})
	}
	for _, name := range []string{"sh", "bash"} {
		list = append(list, entry{name: "bin/" + name, link: "/" + imageDir + "/bin/mqsh"})
	}
	list = append(list, entry{name: imageDir + "/bin/mqproxy", link: "mqsh"})
	conf, err := readFolder(filepath.Join(o.root, "deploy", "conf"), imageDir+"/conf")
	if err != nil {
		return nil, err
	}
	made := map[string]bool{imageDir + "/conf": true}
	for _, f := range conf {
		if dir := f.name[:strings.LastIndexByte(f.name, '/')]; !made[dir] {
			made[dir] = true
			list = append(list, entry{name: dir + "/", mode: 0o755})
		}
		list = append(list, entry{name: f.name, mode: 0o644, data: f.data})
	}
	return list, nil
}

func writeTar(w io.Writer, entries []entry, at time.Time) (err error) {
	t := tar.NewWriter(w)
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, ModTime: at, Size: int64(len(e.data)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.data); err != nil {
			return err
		}
	}
	return nil
}
