package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProjectName(t *testing.T) {
	for folder, want := range map[string]string{"/src/CometMQ": "cometmq", "/src/comet.mq 2": "cometmq2", "/src/_x-y_": "x-y_"} {
		require.Equal(t, want, projectName(folder, ""))
	}
	require.Equal(t, "given", projectName("/src/CometMQ", "given"))
}

// TestInspect reads what an engine printed, shortened.
func TestInspect(t *testing.T) {
	const text = `[
	{"Id": "aa", "Path": "mqbroker", "Args": ["--set", "brokerName=broker-a", "--set", "dLegerSelfId=n1",
	  "--set", "advertisedListeners=internal://broker-a-1:10911,external://127.0.0.1:10921"],
	 "State": {"Status": "running", "Running": true, "Health": {"Status": "healthy"}},
	 "Config": {"Labels": {"com.docker.compose.service": "broker-a-1"}}},
	{"Id": "bb", "Path": "mqnamesrv", "Args": [], "State": {"Status": "exited", "Running": false, "Health": {"Status": "healthy"}},
	 "Config": {"Labels": {"com.docker.compose.service": "namesrv-0"}}},
	{"Id": "cc", "Path": "grafana", "State": {"Status": "running", "Running": true}, "Config": {"Labels": {}}}]`
	list, err := parseInspect([]byte(text))
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "broker-a-1", list[0].service)
	require.Equal(t, "healthy", list[0].health)
	require.Equal(t, "n1", list[0].setting("dLegerSelfId"))
	require.Equal(t, "127.0.0.1:10921", list[0].external())
	require.Equal(t, "not running", list[1].health)
	require.Empty(t, list[1].external())
	require.Equal(t, "without health check", list[2].health)
	_, err = parseInspect([]byte("Error: no such object"))
	require.ErrorContains(t, err, "docker inspect")
}
