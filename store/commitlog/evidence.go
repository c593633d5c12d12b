package commitlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cometmq/cometmq/store/segment"
)

// What recovery cuts off the end of the log is kept aside first, for whoever
// wants to know what was written when the machine went down: the bytes from the
// cut on, up to the last one that is not zero, in <physical offset>.torn. They
// were never acknowledged. Few and small files, so that they can stay for ever.
const (
	tornExt   = ".torn"
	tornBytes = 1 << 20 // of one file
	tornFiles = 4
)

// keepTorn keeps what lies behind a cut at off: of each segment there, which
// are at most the one that ends with the log and those made after it. Trouble
// is a warning: recovery must not depend on space for it.
func (l *Log) keepTorn(off int64) {
	for _, f := range l.set.Files() {
		if f.End() > off {
			l.keepTornOf(f, max(off, f.Base()))
		}
	}
}

func (l *Log) keepTornOf(f *segment.File, off int64) {
	b := make([]byte, min(tornBytes, f.End()-off))
	if err := f.ReadAt(b, off); err != nil {
		l.log.Warn("could not read the bytes that are cut off the commit log", "offset", off, "error", err)
		return
	}
	if b = bytes.TrimRight(b, "\x00"); len(b) == 0 {
		return
	}
	path := filepath.Join(l.cfg.Dir, segment.Name(off)+tornExt)
	if err := l.writeTorn(path, b); err != nil {
		l.log.Warn("could not keep the bytes that are cut off the commit log", "file", path, "error", err)
		return
	}
	l.log.Warn("kept the bytes that are cut off the commit log", "file", path, "bytes", len(b))
}

func (l *Log) writeTorn(path string, b []byte) (err error) {
	names, err := l.cfg.FS.ReadDir(l.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", l.cfg.Dir, err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, tornExt) })
	for len(names) >= tornFiles {
		// Sorted by offset, so the oldest mostly.
		if err := l.cfg.FS.Remove(filepath.Join(l.cfg.Dir, names[0])); err != nil {
			return err
		}
		names = names[1:]
	}
	f, err := l.cfg.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
