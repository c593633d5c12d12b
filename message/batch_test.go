package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func batchOf(t require.TestingT, items ...BatchItem) (body []byte) {
	for _, it := range items {
		var err error
		body, err = AppendBatchItem(body, it)
		require.NoError(t, err)
	}
	return body
}

func itemsOf(body []byte) (items []BatchItem, err error) {
	err = EachBatchItem(body, func(it BatchItem) error {
		items = append(items, it)
		return nil
	})
	return items, err
}

func TestBatchGolden(t *testing.T) {
	golden(t, "two-items.batch", batchOf(t,
		BatchItem{Flag: 1, Body: []byte("first"), Properties: []byte("UNIQ_KEY\x01Ub1")},
		BatchItem{Body: []byte("second"), Properties: []byte("UNIQ_KEY\x01Ub2\x02")},
	))
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SliceOfN(rapid.Byte(), 0, 50)
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) BatchItem {
			return BatchItem{rapid.Int32().Draw(t, "flag"), part.Draw(t, "body"), part.Draw(t, "properties")}
		}), 0, 8).Draw(t, "items")
		got, err := itemsOf(batchOf(t, want...))
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].Flag, got[i].Flag)
			require.True(t, bytes.Equal(want[i].Body, got[i].Body))
			require.True(t, bytes.Equal(want[i].Properties, got[i].Properties))
		}
	})
}

func TestBatchRefusesBrokenItems(t *testing.T) {
	good := batchOf(t, BatchItem{Body: []byte("body"), Properties: []byte("a\x01b")})
	two := append(bytes.Clone(good), good...)
	for n := 1; n < len(two); n++ {
		if n == len(good) {
			continue
		}
		_, err := itemsOf(two[:n])
		require.ErrorIs(t, err, ErrMalformed, "cut to %d bytes", n)
	}
	change := func(name string, pos int, v uint32) {
		bad := bytes.Clone(good)
		binary.BigEndian.PutUint32(bad[pos:], v)
		_, err := itemsOf(bad)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	change("size zero", 0, 0)
	change("size huge", 0, 1<<31)
	change("body huge", 16, 1<<31-1)
	change("body negative", 16, 1<<32-1)
	change("body shorter", 16, 3)
	bad := bytes.Clone(good)
	bad[24] = 0x80
	_, err := itemsOf(bad)
	require.ErrorIs(t, err, ErrMalformed, "negative properties")

	stop := errors.New("enough")
	require.Equal(t, stop, EachBatchItem(two, func(BatchItem) error { return stop }))
}

func FuzzBatch(f *testing.F) {
	f.Add(batchOf(f, BatchItem{Body: []byte("body"), Properties: []byte("a\x01b")}, BatchItem{}))
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := itemsOf(body)
		if err != nil {
			return
		}
		again := batchOf(t, items...)
		require.Len(t, again, len(body))
		same, err := itemsOf(again)
		require.NoError(t, err)
		require.Equal(t, items, same)
	})
}

func TestCompressedBodies(t *testing.T) {
	body := bytes.Repeat([]byte("log line\n"), 1000)
	packed, err := CompressZlib(body)
	require.NoError(t, err)
	require.Less(t, len(packed), len(body)/10)
	for _, flag := range []int32{SysFlagCompressed, SysFlagCompressed | SysFlagCompressionZlib} {
		got, err := DecompressBody(flag, packed, len(body))
		require.NoError(t, err)
		require.Equal(t, body, got)
	}
	_, err = DecompressBody(SysFlagCompressed, packed, len(body)-1)
	require.ErrorIs(t, err, ErrBodyTooLarge)
	_, err = DecompressBody(SysFlagCompressed, packed[:len(packed)/2], len(body))
	require.Error(t, err)
	_, err = DecompressBody(SysFlagCompressed|SysFlagCompressionLZ4, packed, len(body))
	require.ErrorIs(t, err, ErrCompression)
	got, err := DecompressBody(0, packed, 1)
	require.NoError(t, err)
	require.Equal(t, packed, got, "not compressed, so nothing to do or to bound")

	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	got, err = DecompressBody(SysFlagCompressed|SysFlagCompressionZstd, w.EncodeAll(body, nil), len(body))
	require.NoError(t, err)
	require.Equal(t, body, got)
}
