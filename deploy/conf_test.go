package deploy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/namesrv"
)

var update = flag.Bool("update", false, "rewrite the example files from the structs they describe")

// home makes defaults that follow from the home directory the same everywhere:
// those of RocketMQ's images.
func home(t *testing.T) { t.Setenv("HOME", "/home/rocketmq") }

// source is one server's keys, the package with their comments, and the example.
type source struct {
	example, dir, head string
	fields             []config.Field
	inert              map[string]string
}

func sources(t *testing.T) []source {
	t.Helper()
	home(t)
	b, err := broker.NewSettings()
	require.NoError(t, err)
	n, err := config.New(namesrv.DefaultConfig())
	require.NoError(t, err)
	for reason, keys := range namesrv.InertKeys() {
		n.Inert(reason, keys...)
	}
	return []source{
		{"conf/broker.conf.example", "../broker", "Every key of broker.conf with its default. Copy the lines you change.", b.Fields(), b.InertKeys()},
		{"conf/namesrv.conf.example", "../namesrv", "Every key of namesrv.conf with its default. Copy the lines you change.", n.Fields(), n.InertKeys()},
	}
}

// TestExamplesListEveryKey makes the examples out of the structs and their
// comments, so that they cannot say anything else.
func TestExamplesListEveryKey(t *testing.T) {
	for _, s := range sources(t) {
		want := example(t, s)
		if *update {
			require.NoError(t, os.WriteFile(s.example, []byte(want), 0o644))
		}
		got, err := os.ReadFile(s.example)
		require.NoError(t, err)
		// No diff: it would be two whole files.
		require.True(t, want == string(got), "%s is behind the fields and comments in %s; run: go test ./deploy -update", s.example, s.dir)
	}
}

func TestExamplesSayTheDefaults(t *testing.T) {
	home(t)
	b, err := broker.NewSettings()
	require.NoError(t, err)
	warnings, err := b.LoadFile("conf/broker.conf.example")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, broker.DefaultConfig(), *b.Current())
	n, err := config.New(namesrv.DefaultConfig())
	require.NoError(t, err)
	warnings, err = n.LoadFile("conf/namesrv.conf.example")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, namesrv.DefaultConfig(), *n.Current())
}

// TestSamplesAreAccepted starts no server, but does all that a start checks.
func TestSamplesAreAccepted(t *testing.T) {
	home(t)
	count := 0
	require.NoError(t, filepath.WalkDir("conf", func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if filepath.Ext(path) != ".conf" {
			return nil
		}
		count++
		if strings.Contains(path, "namesrv") {
			s, err := config.New(namesrv.DefaultConfig())
			require.NoError(t, err)
			warnings, err := s.LoadFile(path)
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.NoError(t, s.Validate())
			return nil
		}
		s, err := broker.NewSettings()
		require.NoError(t, err)
		warnings, err := s.LoadFile(path)
		require.NoError(t, err)
		require.Empty(t, warnings)
		require.NoError(t, s.Validate(), path)
		return nil
	}))
	require.Equal(t, 5, count)
}

// example writes the text of an example file.
func example(t *testing.T, s source) string {
	comments, names := fieldComments(t, s.dir)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# Made by `go test ./deploy -update`; a test compares it with the program.\n", s.head)
	for _, f := range s.fields {
		b.WriteString("\n")
		for _, line := range strings.Split(strings.TrimSpace(comments[f.Key]), "\n") {
			if line != "" {
				b.WriteString("# " + names.replace(line) + "\n")
			}
		}
		fmt.Fprintf(&b, "# Allowed: %s.", f.Allowed)
		if f.Env != "" {
			fmt.Fprintf(&b, " Environment: %s.", f.Env)
		}
		if len(f.Aliases) > 0 {
			fmt.Fprintf(&b, " Also spelt: %s.", strings.Join(f.Aliases, ", "))
		}
		if f.Live {
			b.WriteString(" Can be changed while running.")
		}
		if f.Group {
			b.WriteString(" Belongs to the whole group.")
		}
		fmt.Fprintf(&b, "\n%s=%s\n", f.Key, strings.ReplaceAll(f.Default, `\`, `\\`))
	}
	if len(s.inert) > 0 {
		b.WriteString("\n# Keys of RocketMQ that are accepted and have no effect here:\n")
	}
	for _, key := range slices.Sorted(maps.Keys(s.inert)) {
		fmt.Fprintf(&b, "#- %s: %s\n", key, s.inert[key])
	}
	return b.String()
}

// TestKeysThatOperatorsSetAreKnown: none of the keys that are common in RocketMQ's
// files may be called unknown, whether it does something here or not.
func TestKeysThatOperatorsSetAreKnown(t *testing.T) {
	home(t)
	for _, s := range sources(t) {
		known := map[string]bool{}
		for _, f := range s.fields {
			known[f.Key] = true
			for _, a := range f.Aliases {
				known[a] = true
			}
		}
		for key := range s.inert {
			require.False(t, known[key], "%s is a setting and inert at the same time", key)
			known[key] = true
		}
		keys := brokerOperatorKeys
		if strings.Contains(s.example, "namesrv") {
			keys = namesrvOperatorKeys
		}
		missing := slices.DeleteFunc(strings.Fields(keys), func(key string) bool { return known[key] })
		require.Empty(t, missing, "not known to %s", s.example)
	}
}

// Keys of RocketMQ 4.9.4 and 5 that operators set.
const (
	brokerOperatorKeys = `brokerClusterName brokerName brokerId brokerRole namesrvAddr fetchNamesrvAddrByAddressServer brokerIP1 brokerIP2
		listenPort storePathRootDir storePathCommitLog storePathConsumeQueue storePathIndex storeCheckpoint abortFile flushDiskType deleteWhen
		fileReservedTime diskMaxUsedSpaceRatio mappedFileSizeCommitLog mapedFileSizeCommitLog mappedFileSizeConsumeQueue mapedFileSizeConsumeQueue
		maxMessageSize autoCreateTopicEnable defaultTopicQueueNums autoCreateSubscriptionGroup brokerPermission messageDelayLevel enablePropertyFilter
		enableCalcFilterBitMap enableConsumeQueueExt filterSupportRetry slaveReadEnable traceTopicEnable msgTraceTopicName traceOn aclEnable
		transactionTimeOut transactionCheckMax transactionCheckInterval rejectTransactionMessage sendMessageThreadPoolNums
		pullMessageThreadPoolNums queryMessageThreadPoolNums adminBrokerThreadPoolNums clientManageThreadPoolNums consumerManageThreadPoolNums
		waitTimeMillsInSendQueue osPageCacheBusyTimeOutMills maxTransferCountOnMessageInMemory maxTransferBytesOnMessageInMemory
		maxTransferCountOnMessageInDisk maxTransferBytesOnMessageInDisk useReentrantLockWhenPutMessage transientStorePoolEnable
		transientStorePoolSize warmMapedFileEnable flushConsumerOffsetInterval flushDelayOffsetInterval registerNameServerPeriod
		registerBrokerTimeoutMills compressedRegister forceRegister longPollingEnable shortPollingTimeMills regionId isolateLogEnable
		storeReplyMessageEnable enableDLegerCommitLog dLegerGroup dLegerPeers dLegerSelfId preferredLeaderId enableLmq enableMultiDispatch
		serverWorkerThreads serverSelectorThreads serverChannelMaxIdleTimeSeconds useEpollNativeSelector serverOnewaySemaphoreValue
		serverAsyncSemaphoreValue timerWheelEnable timerMaxDelaySec enableControllerMode controllerAddr
		authenticationEnabled authorizationEnabled recallMessageEnable storeType brokerHeartbeatInterval haListenPort haMasterAddress
		flushIntervalCommitLog flushCommitLogTimed deleteCommitLogFilesInterval destroyMapedFileIntervalForcibly redeleteHangedFileInterval
		brokerFastFailureEnable sendThreadPoolQueueCapacity pullThreadPoolQueueCapacity maxIndexNum maxHashSlotNum messageIndexEnable
		cleanFileForciblyEnable syncFlushTimeout clusterTopicEnable brokerTopicEnable rocketmqHome`
	namesrvOperatorKeys = `listenPort bindAddress kvConfigPath configStorePath rocketmqHome clusterTest orderMessageEnable serverWorkerThreads
		serverSelectorThreads serverCallbackExecutorThreads serverOnewaySemaphoreValue serverAsyncSemaphoreValue serverChannelMaxIdleTimeSeconds
		useEpollNativeSelector`
)

// goNames maps the names of struct fields to keys, for comments that speak of
// other fields.
type goNames map[string]string

var goName = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]+\b`)

func (n goNames) replace(line string) string {
	return goName.ReplaceAllStringFunc(line, func(word string) string {
		if key, ok := n[word]; ok {
			return key
		}
		return word
	})
}

// fieldComments reads the comments of all struct fields with a key, whichever
// file of the package they are in.
func fieldComments(t *testing.T, dir string) (map[string]string, goNames) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	comments, names := map[string]string{}, goNames{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.Field)
			if !ok || f.Tag == nil || len(f.Names) == 0 {
				return true
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			require.NoError(t, err)
			if key := reflect.StructTag(tag).Get("cfg"); key != "" {
				comments[key] = f.Doc.Text()
				names[f.Names[0].Name] = key
			}
			return true
		})
	}
	require.NotEmpty(t, comments)
	return comments, names
}
