package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdvertisedListeners(t *testing.T) {
	for _, c := range []struct {
		value, host string
		port        int
		external    string
	}{
		{"", "", 0, ""},
		{"external://127.0.0.1:10921", "", 0, "127.0.0.1:10921"},
		{"internal://broker-a-0:10911, external://mq.example.org:30911", "broker-a-0", 10911, "mq.example.org:30911"},
		{"external://[2001:db8::1]:10911;internal://10.0.0.7:10911", "10.0.0.7", 10911, "[2001:db8::1]:10911"},
	} {
		host, port, external, err := listenersOf(c.value)
		require.NoError(t, err, c.value)
		require.Equal(t, []any{c.host, c.port, c.external}, []any{host, port, external}, c.value)
	}
	for _, value := range []string{
		"127.0.0.1:10911", "external://127.0.0.1", "external://:10911", "external://h:0", "external://h:65536",
		"plain://h:1", "external://a:1,external://b:2", "internal://a:1,internal://b:2", `external://a"b:1`,
	} {
		_, _, _, err := listenersOf(value)
		require.ErrorContains(t, err, "advertisedListeners=", value)
		cfg := DefaultConfig()
		cfg.AdvertisedListeners = value
		require.ErrorContains(t, cfg.Validate(), "advertisedListeners=", value)
	}
	cfg := DefaultConfig()
	cfg.IP1, cfg.AdvertisedListeners = "10.0.0.1", "internal://10.0.0.2:10911"
	require.ErrorContains(t, cfg.Validate(), "brokerIP1")
	cfg.IP1 = "auto"
	require.NoError(t, cfg.Validate())
	ip, err := cfg.advertisedIP()
	require.NoError(t, err)
	require.Equal(t, "10.0.0.2", ip.String())
}
