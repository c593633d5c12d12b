package dledger

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// wire is one direction of a connection that is over when it has been read.
type wire struct {
	net.Conn
	bytes.Buffer
	from io.Reader // nil: the buffer
}

func (w *wire) Write(p []byte) (int, error) { return w.Buffer.Write(p) }

func (w *wire) Read(p []byte) (int, error) {
	if w.from != nil {
		return w.from.Read(p)
	}
	return w.Buffer.Read(p)
}

func TestPieceGolden(t *testing.T) {
	w := &wire{}
	n, err := (&checked{Conn: w}).Write([]byte("append entries"))
	require.NoError(t, err)
	require.Equal(t, 14, n)
	golden(t, "piece.hex", w.Bytes())
}

// Whatever is written, in whatever portions it is read, and however the network
// cuts it: what comes out is what went in.
func TestPiecesArriveAsSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &wire{}
		sender := &checked{Conn: w}
		var sent []byte
		for range rapid.IntRange(0, 8).Draw(t, "writes") {
			size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(pieceMax-1, 2*pieceMax+1)).Draw(t, "size")
			data := bytes.Repeat([]byte{byte(size)}, size)
			n, err := sender.Write(data)
			require.NoError(t, err)
			require.Equal(t, size, n)
			sent = append(sent, data...)
		}
		if rapid.Bool().Draw(t, "cut into halves") {
			w.from = iotest.HalfReader(&w.Buffer)
		}
		r := io.Reader(&checked{Conn: w})
		buf := make([]byte, rapid.SampledFrom([]int{1 << 12, 1 << 18, 3 << 20}).Draw(t, "buffer"))
		var got []byte
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				require.Equal(t, io.EOF, err)
				break
			}
		}
		require.True(t, bytes.Equal(sent, got))
	})
}

// No flipped bit gets through: of each piece comes out the truth or nothing.
func TestFlippedBitEndsTheConnection(t *testing.T) {
	w := &wire{}
	sender := &checked{Conn: w}
	for _, s := range []string{"first piece", strings.Repeat("second piece ", 20)} {
		_, err := sender.Write([]byte(s))
		require.NoError(t, err)
	}
	whole := bytes.Clone(w.Bytes())
	first := pieceHead + len("first piece")
	for i := range whole {
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			for _, size := range []int{16, 4096} { // smaller and larger than a piece
				c := &checked{Conn: &wire{from: bytes.NewReader(bad)}}
				var got []byte
				buf := make([]byte, size)
				var err error
				for err == nil {
					var n int
					n, err = c.Read(buf)
					got = append(got, buf[:n]...)
				}
				want := ""
				if i >= first {
					want = "first piece"
				}
				require.Equal(t, want, string(got), "byte %d bit %d", i, bit)
				// A length that grew may ask for more than there is.
				require.True(t, errors.Is(err, errDamagedPiece) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				_, again := c.Read(buf)
				require.Equal(t, err, again, "the connection stays ended")
			}
		}
	}
}

func TestCutPieceIsNotAnEnd(t *testing.T) {
	w := &wire{}
	_, err := (&checked{Conn: w}).Write([]byte("whole"))
	require.NoError(t, err)
	for n := 1; n < w.Len(); n++ {
		_, err := (&checked{Conn: &wire{from: bytes.NewReader(w.Bytes()[:n])}}).Read(make([]byte, 99))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "after %d bytes", n)
	}
}

func FuzzPieces(f *testing.F) {
	w := &wire{}
	_, _ = (&checked{Conn: w}).Write([]byte("seed"))
	f.Add(w.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &checked{Conn: &wire{from: bytes.NewReader(b)}}
		n, _ := io.Copy(io.Discard, c)
		require.LessOrEqual(t, n, int64(len(b)))
		require.LessOrEqual(t, cap(c.whole), pieceMax)
	})
}

func BenchmarkPieces(b *testing.B) {
	data := make([]byte, 256<<10)
	for i := range data {
		data[i] = byte(rand.N(256))
	}
	w := &wire{}
	sender, receiver := &checked{Conn: w}, &checked{Conn: w}
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := sender.Write(data); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(receiver, buf); err != nil {
			b.Fatal(err)
		}
	}
}
