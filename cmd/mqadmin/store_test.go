package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/message"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

// smallStore is the directory of a closed store with ten messages.
func smallStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(store.Config{Dir: dir, SegmentSize: 1 << 20, Cluster: "c", Group: "g"})
	require.NoError(t, err)
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	for i := range uint64(10) {
		m := message.Message{Topic: "orders", Body: []byte("hello"), BornHost: host, StoreHost: host, StoreTimestamp: 1700000000000}
		m.Properties = message.AppendProperty(m.Properties, message.PropertyTags, "paid")
		b, err := m.AppendStored(nil)
		require.NoError(t, err)
		require.NoError(t, s.Log().Append([]commitlog.Entry{{Index: i + 1, Term: 1, Data: b}}))
		e, off, err := s.Log().Read(i + 1)
		require.NoError(t, err)
		require.Len(t, s.Apply(store.Entry{Index: i + 1, Term: 1, Offset: message.PhyOffset(off), Data: e.Data}), 1)
	}
	c, err := s.Capture()
	require.NoError(t, err)
	require.NoError(t, c.Persist(nil))
	require.NoError(t, s.Close())
	return dir
}

func storeRun(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"store"}, args...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestStoreVerify(t *testing.T) {
	dir := smallStore(t)
	code, out, errs := storeRun(t, "verify", "--dir", dir)
	require.Zero(t, code, out+errs)
	require.Contains(t, out, "(cluster c, group g)")
	require.Contains(t, out, "entries 1 to 10, last term 1")
	require.Contains(t, out, "10 messages, 0 commands")
	require.True(t, strings.HasSuffix(out, "\nsound\n"), out)

	segment := filepath.Join(dir, "commitlog", "00000000000000000000")
	f, err := os.OpenFile(segment, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("X"), 60)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	code, out, errs = storeRun(t, "verify", "--dir", dir)
	require.Equal(t, exitDrillFound, code)
	require.Contains(t, out, "DAMAGE: 00000000000000000000 at offset 0: checksum does not match; the next intact entry is 2 at ")
	require.NotContains(t, out, "\nsound")
	require.Contains(t, errs, "the store is damaged")
	code, out, _ = storeRun(t, "verify", "--dir", dir, "-o", "json")
	require.Equal(t, exitDrillFound, code)
	var report store.VerifyReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.False(t, report.OK)

	dir = smallStore(t)
	s, err := store.Open(store.Config{Dir: dir, SegmentSize: 1 << 20})
	require.NoError(t, err)
	code, _, errs = storeRun(t, "verify", "--dir", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "is locked by pid ")
	require.NoError(t, s.Close())
	code, _, errs = storeRun(t, "verify", "--dir", filepath.Join(dir, "nothing"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "is no store")
}

func TestStoreDump(t *testing.T) {
	dir := smallStore(t)
	code, out, errs := storeRun(t, "dump", "--dir", dir, "--from", "3", "--to", "4")
	require.Zero(t, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^3 term 1 at \d+, records, \d+ bytes$`, lines[0])
	require.Regexp(t, `^  \d+ message of orders-0, body of 5 bytes, stored 2023-11-14T22:13:20.000Z, TAGS "paid"$`, lines[1])
	code, out, _ = storeRun(t, "dump", "--dir", dir, "-o", "json", "--limit", "3")
	require.Zero(t, code)
	lines = strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	var e store.DumpEntry
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &e))
	require.EqualValues(t, 3, e.Index)
	require.Equal(t, "orders", e.Records[0].Topic)
	code, out, _ = storeRun(t, "dump", "--dir", dir, "-o", "yaml", "--limit", "3")
	require.Zero(t, code)
	docs := strings.Split(out, "---\n")
	require.Len(t, docs, 4, "a document each")
	require.Contains(t, docs[3], "\nrecords:\n")
}
