package index

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/cometmq/cometmq/internal/vfs"
)

// Problem is a run that is not what was written. Unusable: Open would notice.
type Problem struct {
	Err      error
	Unusable bool
}

// Verify reads every run of a closed index, checks its checksum and its order,
// and returns how many there are and what is wrong, changing nothing.
func Verify(fsys vfs.FS, dir string) (runs int, entries uint64, problems []Problem, err error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil, nil
	}
	if err != nil {
		return 0, 0, nil, fmt.Errorf("list key index: %w", err)
	}
	for _, name := range names {
		gen, ok := runGeneration(name)
		if !ok {
			continue
		}
		r, err := openRun(fsys, filepath.Join(dir, name), gen)
		if err != nil {
			problems = append(problems, Problem{err, true})
			continue
		}
		runs, entries = runs+1, entries+r.head.count
		if err := r.verify(); err != nil {
			problems = append(problems, Problem{fmt.Errorf("key index %s: %w", name, err), false})
		}
		_ = r.file.Close() // only read
	}
	return runs, entries, problems, nil
}

func (r *run) verify() error {
	var sum uint32
	var last Entry
	buf := make([]byte, 4096*entrySize)
	for at := uint64(0); at < r.head.count; {
		n := min(r.head.count-at, 4096)
		b := buf[:n*entrySize]
		if _, err := r.file.ReadAt(b, headerSize+int64(at)*entrySize); err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
		for ; len(b) > 0; b = b[entrySize:] {
			e := decodeEntry(b)
			if at > 0 && compareEntries(last, e) > 0 {
				return fmt.Errorf("entry %d is out of order", at)
			}
			last = e
			at++
		}
	}
	if sum != r.head.crc {
		return errors.New("checksum of the entries does not match")
	}
	return nil
}
