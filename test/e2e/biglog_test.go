//go:build refill || restart

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

const (
	bigBody   = 128 << 10
	bigQueues = 4
)

// bigLog is what a group's log was filled with: the checksum of each acknowledged message, by queue and offset.
type bigLog struct {
	topic string
	sums  [bigQueues]map[int64]uint32
	bytes int64
}

// megabytes is a size set in the environment.
func megabytes(t *testing.T, name string, usual int64) int64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual << 20
	}
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err, "%s is a number of MiB", name)
	return n << 20
}

// fillLog has the official client send messages that no compression makes smaller until they are so many bytes.
func fillLog(t *testing.T, c *cluster, bytes int64) *bigLog {
	t.Helper()
	b := &bigLog{topic: uniqueName("big")}
	for q := range b.sums {
		b.sums[q] = map[int64]uint32{}
	}
	c.createTopic(t, b.topic, bigQueues)
	p := newProducer(t, c.namesrv, producer.WithCompressMsgBodyOverHowmuch(4<<20), producer.WithSendMsgTimeout(30*time.Second))
	began, total := time.Now(), bytes/bigBody
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	send := func(seq int64) error {
		body := bigMessage(seq)
		r, err := p.SendSync(context.Background(), primitive.NewMessage(b.topic, body))
		if err == nil && r.Status != primitive.SendOK {
			err = fmt.Errorf("status %v", r.Status)
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", seq, err)
		}
		mu.Lock()
		b.sums[r.MessageQueue.QueueId][r.QueueOffset] = crc32.ChecksumIEEE(body)
		b.bytes += int64(len(body))
		mu.Unlock()
		return nil
	}
	// The first one alone: this client stores what it learns of a topic in several steps, and a second send would see some.
	require.NoError(t, send(next.Add(1)))
	errs := make(chan error, 16)
	for range cap(errs) {
		wg.Go(func() {
			for seq := next.Add(1); seq <= total; seq = next.Add(1) {
				if err := send(seq); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		require.NoError(t, err)
	default:
	}
	took := time.Since(began)
	t.Logf("filled with %d MiB in %v, %.0f MiB/s", b.bytes>>20, took.Round(time.Second), float64(b.bytes>>20)/took.Seconds())
	return b
}

func bigMessage(seq int64) []byte {
	body := make([]byte, 0, bigBody)
	r := rand.NewPCG(uint64(seq), 1)
	for len(body) < bigBody {
		body = binary.LittleEndian.AppendUint64(body, r.Uint64())
	}
	return body
}

// audit reads everything back from one member and compares it with what was acknowledged.
func (b *bigLog) audit(t *testing.T, addr string) {
	t.Helper()
	began := time.Now()
	for q, want := range b.sums {
		seen := 0
		for offset := int64(0); ; {
			r, err := invoke(addr, 11, pullFields(b.topic, q, offset), nil)
			require.NoError(t, err)
			if r.Code == 19 {
				break
			}
			require.Zero(t, r.Code, "queue %d, offset %d: %s", q, offset, r.Remark)
			for _, m := range primitive.DecodeMessage(r.Body) {
				sum, ok := want[m.QueueOffset]
				require.True(t, ok, "queue %d has a message at %d that was not acknowledged", q, m.QueueOffset)
				require.Equal(t, sum, crc32.ChecksumIEEE(m.Body), "queue %d, offset %d", q, m.QueueOffset)
				seen++
			}
			offset, err = strconv.ParseInt(r.Ext["nextBeginOffset"], 10, 64)
			require.NoError(t, err)
		}
		require.Equal(t, len(want), seen, "messages of queue %d", q)
	}
	t.Logf("read everything back from %s in %v", addr, time.Since(began).Round(time.Second))
}
