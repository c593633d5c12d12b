package protocol

import (
	"math/bits"
	"sync"
)

// Buffer is a byte slice borrowed from a pool of size classes. Fresh memory is
// the expensive thing on a small machine, so frames and responses reuse theirs.
type Buffer struct {
	// B is the content. Its capacity belongs to the buffer; append may outgrow it,
	// after which Release drops the memory instead of pooling it.
	B     []byte
	class int8
}

const (
	bufferMinBits = 9  // 512 bytes, the smallest class
	bufferMaxBits = 20 // 1 MiB, the largest pooled class; larger ones are left to the collector
)

// buffers holds one pool per power of two. The pools are caches without
// meaning of their own, the one kind of package-level state we allow.
var buffers [bufferMaxBits - bufferMinBits + 1]sync.Pool

// GetBuffer returns a buffer with len(B) == 0 and room for at least n bytes.
func GetBuffer(n int) *Buffer {
	class := bufferClass(n)
	if class < 0 {
		return &Buffer{B: make([]byte, 0, n), class: -1}
	}
	if b, ok := buffers[class].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<(class+bufferMinBits)), class: int8(class)}
}

// Release gives the memory back. Neither b nor any alias of b.B may be used afterwards.
func (b *Buffer) Release() {
	if b == nil || b.class < 0 || cap(b.B) != 1<<(int(b.class)+bufferMinBits) {
		return
	}
	b.B = b.B[:0]
	buffers[b.class].Put(b)
}

// bufferClass returns the index of the smallest class with room for n bytes, or
// -1 when n is beyond the pooled classes.
func bufferClass(n int) int {
	if n <= 1<<bufferMinBits {
		return 0
	}
	c := bits.Len(uint(n-1)) - bufferMinBits
	if c >= len(buffers) {
		return -1
	}
	return c
}
