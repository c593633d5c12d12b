package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/store"
)

func TestRetentionSettings(t *testing.T) {
	cfg := DefaultConfig()
	policy, err := cfg.policy()
	require.NoError(t, err)
	require.Equal(t, store.DefaultRetention(), policy)

	set, err := NewSettings()
	require.NoError(t, err)
	_, err = set.Update(map[string]string{"fileReservedTime": "48", "deleteWhen": "02;14", "diskMaxUsedSpaceRatio": "70", "cleanFileForciblyEnable": "false"})
	require.NoError(t, err)
	policy, err = set.Current().policy()
	require.NoError(t, err)
	require.Equal(t, store.Retention{ReservedTime: 48 * time.Hour, DeleteWhen: []int{2, 14}, MaxUsedPercent: 70, ForciblyPercent: 85}, policy)
	_, err = set.Update(map[string]string{"deleteWhen": "25"})
	require.ErrorContains(t, err, `deleteWhen=25: hour "25"`)
}

func TestJavaProperties(t *testing.T) {
	key, value, ok, err := FromJavaProperty("rocketmq.broker.diskSpaceWarningLevelRatio", "0.95")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "diskSpaceWarningLevelRatio=95", key+"="+value)
	key, value, _, err = FromJavaProperty("rocketmq.broker.diskSpaceCleanForciblyRatio", "0.8")
	require.NoError(t, err)
	require.Equal(t, "diskSpaceCleanForciblyRatio=80", key+"="+value)
	key, value, ok, err = FromJavaProperty("rocketmq.namesrv.domain", "addresses.example.org:80")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "rmqAddressServerDomain=addresses.example.org:80", key+"="+value)
	_, _, ok, err = FromJavaProperty("user.home", "/root")
	require.NoError(t, err)
	require.False(t, ok)
	for _, bad := range []string{"", "95", "0.01", "x"} {
		_, _, ok, err = FromJavaProperty("rocketmq.broker.diskSpaceWarningLevelRatio", bad)
		require.True(t, ok)
		require.ErrorContains(t, err, "give a share", bad)
	}
}
