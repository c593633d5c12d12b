package admin

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/internal/explain"
)

// Who answers with something else is named for what it is, whether it was given
// as a name server or as a broker.
func TestAnotherProtocolIsRecognised(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.6\r\n"))
			defer conn.Close()
		}
	}()
	defer func() {
		require.NoError(t, l.Close())
		<-done
	}()
	addr := l.Addr().String()
	for _, servers := range [][]string{{addr}, {"127.0.0.1:1"}} {
		client, err := New(Config{NameServers: servers})
		require.NoError(t, err)
		if servers[0] == addr {
			_, err = client.Topics(t.Context())
		} else {
			_, err = client.Runtime(t.Context(), addr)
		}
		require.ErrorContains(t, err, addr+" accepts connections, but what it sends is not RocketMQ's protocol")
		require.Equal(t, explain.ExitUnreachable, explain.ExitCode(err, 1))
		client.Close()
	}
}
