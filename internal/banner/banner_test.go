package banner

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func TestPrint(t *testing.T) {
	facts := []Fact{
		{Name: "store", Text: "/data   1.0 GiB free", Pairs: []any{"dir", "/data", "free", "1.0 GiB"}},
		{Name: "warning", Text: "that address does not answer", Warning: true},
	}
	var out, logged bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &logged, DisableTime: true})
	Print(&out, log, facts)
	require.Empty(t, out.String(), "no terminal, no banner")
	require.Equal(t, []string{`[INFO]  store: dir=/data free="1.0 GiB"`, "[WARN]  that address does not answer"},
		strings.Split(strings.TrimSpace(logged.String()), "\n"))

	logged.Reset()
	print(&out, log, facts, true)
	require.Equal(t, "store     /data   1.0 GiB free\nwarning   that address does not answer\n", out.String())
	require.Empty(t, logged.String())
}
