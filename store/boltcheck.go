package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
)

// bbolt trusts the pages of its file, and checks them, where it does, on goroutines
// of its own, where a panic ends the process: a member with a flipped bit in a page
// could not even say so. CheckBolt therefore walks the tree of a file that nobody
// has open before bbolt sees it.
//
// The layout, in the byte order of the machine: pages of one size; each begins with
// u64 id, u16 flags, u16 count, u32 overflow (further pages). Pages 0 and 1 hold
// u32 magic, version, page size, flags, u64 root, sequence, freelist, pages,
// transaction, and fnv64a of all that; the newer sound one counts. Elements of a
// branch are u32 pos, ksize, u64 page, of a leaf u32 flags, pos, ksize, vsize; pos
// counts from the element. A value with flag 1 is a bucket: u64 root, sequence, and
// with root 0 a leaf page.
const (
	boltMagic = 0xED0CDAED
	boltHead  = 16
	boltMeta  = 64

	boltBranch = 0x01
	boltLeaf   = 0x02
	boltBucket = 1
	// boltDepth is far above any tree of 2^64 keys.
	boltDepth = 64
)

var errBoltHeads = errors.New("neither of its two heads is sound")

// CheckBolt says what is wrong with the structure of a bbolt file that nobody has
// open. A file that is missing or has no length is as good as a sound one.
func CheckBolt(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	c := boltFile{b: b}
	if err := c.head(); err != nil {
		return &MetadataError{Path: path, Cause: err}
	}
	if err := c.page(c.root, boltDepth); err != nil {
		return &MetadataError{Path: path, Cause: err}
	}
	return nil
}

type boltFile struct {
	b           []byte
	size, pages uint64
	root        uint64
	seen        map[uint64]bool
}

// head finds the newer sound head.
func (c *boltFile) head() error {
	var newest uint64
	found := false
	for _, at := range c.heads() {
		m := c.b[at+boltHead:]
		u32 := func(i int) uint32 { return binary.NativeEndian.Uint32(m[i:]) }
		u64 := func(i int) uint64 { return binary.NativeEndian.Uint64(m[i:]) }
		sum := fnv.New64a()
		_, _ = sum.Write(m[:boltMeta-8])
		if u32(0) != boltMagic || sum.Sum64() != u64(boltMeta-8) || found && u64(48) < newest {
			continue
		}
		found, newest = true, u64(48)
		c.size, c.root, c.pages = uint64(u32(8)), u64(16), u64(40)
	}
	if !found || c.size < 512 || c.size > math.MaxUint16+1 {
		return errBoltHeads
	}
	if c.pages > uint64(len(c.b))/c.size {
		return fmt.Errorf("it has %d bytes, less than its %d pages", len(c.b), c.pages)
	}
	c.seen = make(map[uint64]bool, c.pages)
	return nil
}

// heads are where the two may begin: the first says how long a page is; if it is
// damaged, each length is tried.
func (c *boltFile) heads() []uint64 {
	var at []uint64
	for size := uint64(0); size <= math.MaxUint16+1; size = max(2*size, 512) {
		if size+boltHead+boltMeta <= uint64(len(c.b)) {
			at = append(at, size)
		}
	}
	return at
}

// page checks a page and those below it.
func (c *boltFile) page(id uint64, depth int) error {
	if id < 2 || id >= c.pages {
		return fmt.Errorf("page %d of %d is pointed at", id, c.pages)
	}
	if c.seen[id] || depth == 0 {
		return fmt.Errorf("page %d belongs to two places", id)
	}
	c.seen[id] = true
	p := c.b[id*c.size:]
	if own := binary.NativeEndian.Uint64(p); own != id {
		return fmt.Errorf("page %d says that it is page %d", id, own)
	}
	more := uint64(binary.NativeEndian.Uint32(p[12:]))
	if more >= c.pages-id {
		return fmt.Errorf("page %d goes on for %d pages", id, more)
	}
	return c.elements(p[:(more+1)*c.size], fmt.Sprintf("page %d", id), depth)
}

// elements checks what a page holds, which may be one inside of a value.
func (c *boltFile) elements(p []byte, name string, depth int) error {
	if len(p) < boltHead {
		return fmt.Errorf("%s has %d bytes", name, len(p))
	}
	flags, count := binary.NativeEndian.Uint16(p[8:]), uint64(binary.NativeEndian.Uint16(p[10:]))
	if flags != boltBranch && flags != boltLeaf || flags == boltBranch && count == 0 {
		return fmt.Errorf("%s is of the kind %#x with %d elements", name, flags, count)
	}
	if boltHead+count*16 > uint64(len(p)) {
		return fmt.Errorf("%s has %d elements, for which it has no room", name, count)
	}
	for i := range count {
		at := boltHead + i*16
		u32 := func(n uint64) uint64 { return uint64(binary.NativeEndian.Uint32(p[at+n:])) }
		if flags == boltBranch {
			if at+u32(0)+u32(4) > uint64(len(p)) {
				return fmt.Errorf("%s: the key of element %d lies outside", name, i)
			}
			if err := c.page(binary.NativeEndian.Uint64(p[at+8:]), depth-1); err != nil {
				return err
			}
			continue
		}
		from, end := at+u32(4)+u32(8), at+u32(4)+u32(8)+u32(12)
		if end > uint64(len(p)) || u32(0) > boltBucket {
			return fmt.Errorf("%s: element %d lies outside", name, i)
		}
		if u32(0) == boltBucket {
			if err := c.bucket(p[from:end], fmt.Sprintf("%s, element %d", name, i), depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *boltFile) bucket(v []byte, name string, depth int) error {
	if len(v) < 16 {
		return fmt.Errorf("%s: a bucket of %d bytes", name, len(v))
	}
	if root := binary.NativeEndian.Uint64(v); root != 0 {
		return c.page(root, depth-1)
	}
	return c.elements(v[16:], name, 1)
}
