package message

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

var (
	// ErrCompression says that a body was compressed by a method this build does
	// not decode (LZ4).
	ErrCompression = errors.New("unsupported body compression")
	// ErrBodyTooLarge says that a decompressed body would pass the caller's limit.
	ErrBodyTooLarge = errors.New("decompressed body is too large")
)

// CompressZlib compresses a body as producers do above 4 KiB; the message then
// needs SysFlagCompressed (and may say SysFlagCompressionZlib). For tools: the
// broker stores bodies as they come.
func CompressZlib(body []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, 5)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("compress a body of %d bytes: %w", len(body), err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress a body of %d bytes: %w", len(body), err)
	}
	return buf.Bytes(), nil
}

// DecompressBody returns the body as the producer's application gave it: body
// itself unless sysFlag says that it is compressed. max bounds the result in
// bytes, since a few kilobytes can claim to be gigabytes.
func DecompressBody(sysFlag int32, body []byte, max int) ([]byte, error) {
	if sysFlag&SysFlagCompressed == 0 {
		return body, nil
	}
	switch sysFlag & SysFlagCompressionMask {
	case 0, SysFlagCompressionZlib:
		r, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("decompress a zlib body: %w", err)
		}
		return readBounded(r, max)
	case SysFlagCompressionZstd:
		r, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("decompress a zstd body: %w", err)
		}
		defer r.Close()
		return readBounded(r, max)
	default:
		return nil, fmt.Errorf("%w: type %d", ErrCompression, sysFlag&SysFlagCompressionMask>>8)
	}
}

func readBounded(r io.Reader, max int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	if err != nil {
		return nil, fmt.Errorf("decompress a body: %w", err)
	}
	if len(b) > max {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, max)
	}
	return b, nil
}
