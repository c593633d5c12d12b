package message

import "unicode/utf8"

// HashCode is Java's String.hashCode: 31-ary over UTF-16 code units, wrapping at
// 32 bits. A code point above U+FFFF counts as its two surrogates.
func HashCode(s string) int32 {
	var h int32
	for _, r := range s {
		h = hashRune(h, r)
	}
	return h
}

// TagsCode is the code a consume queue keeps for a tag: its Java hash,
// sign-extended; 0 without a tag. It does not allocate.
func TagsCode(tag []byte) int64 {
	var h int32
	for i := 0; i < len(tag); {
		if c := tag[i]; c < utf8.RuneSelf {
			h = 31*h + int32(c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(tag[i:])
		h = hashRune(h, r)
		i += n
	}
	return int64(h)
}

func hashRune(h int32, r rune) int32 {
	if r < 0x10000 {
		return 31*h + r
	}
	r -= 0x10000
	h = 31*h + (0xD800 + r>>10)
	return 31*h + (0xDC00 + r&0x3FF)
}
