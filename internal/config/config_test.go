package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type Net struct {
	Port int `cfg:"listenPort" important:"true" min:"1" max:"65535" live:"true"`
}

type sample struct {
	Net
	Name   string        `cfg:"brokerName" alias:"brokerNames,bName" important:"true"`
	Flush  string        `cfg:"flushDiskType" enum:"ASYNC_FLUSH,SYNC_FLUSH"`
	On     bool          `cfg:"autoCreateTopicEnable" live:"true"`
	Period time.Duration `cfg:"registerNameServerPeriod" unit:"ms" min:"10000" max:"60000" live:"true"`
	Idle   time.Duration `cfg:"idle" unit:"s"`
	Ratio  float64       `cfg:"ratio" min:"0" max:"1"`
	Small  int32         `cfg:"small"`
	Size   uint64        `cfg:"size" live:"true"`
	Addr   string        `cfg:"namesrvAddr" env:"NAMESRV_ADDR" live:"true"`
	Hidden func()        // no key
}

func (s *sample) Validate() error {
	if s.Port == 6666 && s.On {
		return errors.New("listenPort 6666 does not go with autoCreateTopicEnable")
	}
	return nil
}

func newSample(t require.TestingT) *Set[sample] {
	s, err := New(sample{
		Net: Net{Port: 10911}, Name: "broker-a", Flush: "ASYNC_FLUSH", On: true,
		Period: 30 * time.Second, Idle: 2 * time.Minute, Ratio: 0.5,
	})
	require.NoError(t, err)
	return s
}

func TestLoadFileReadsEveryKindAndNamesItsSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.conf")
	require.NoError(t, os.WriteFile(path, []byte("# a comment\n"+
		"listenPort = 11000  \n"+
		"bName: broker-b\n"+
		"flushDiskType sync_flush\n"+
		"autoCreateTopicEnable=FALSE\n"+
		"registerNameServerPeriod=20000\nidle=1m30s\nratio=0.75\nsmall=-3\nsize=18446744073709551615\n"+
		"namesrvAddr=a:9876;\\\n   b:9876\nsmall=-4\n"), 0o600))
	s := newSample(t)
	warnings, err := s.LoadFile(path)
	require.NoError(t, err)
	require.Empty(t, warnings)
	got := s.Current()
	require.Equal(t, sample{
		Net: Net{Port: 11000}, Name: "broker-b", Flush: "SYNC_FLUSH", Period: 20 * time.Second, Idle: 90 * time.Second,
		Ratio: 0.75, Small: -4, Size: 1<<64 - 1, Addr: "a:9876;b:9876",
	}, *got)
	require.Equal(t, path, s.Source("brokerName"))
	require.Equal(t, path, s.Source("bName"))
	require.Equal(t, "default", newSample(t).Source("listenPort"))
}

func TestUnknownKeysWarnWithTheNearestName(t *testing.T) {
	s := newSample(t)
	s.Inert("there are no thread pools", "sendMessageThreadPoolNums")
	warnings, err := s.Load(map[string]string{
		"flushDisktype": "SYNC_FLUSH", "listenprt": "1", "somethingElseEntirely": "x", "sendMessageThreadPoolNums": "8", "small": "9",
	}, "test")
	require.NoError(t, err)
	require.Equal(t, []string{
		"unknown key flushDisktype (did you mean flushDiskType?)",
		"unknown key listenprt (did you mean listenPort?)",
		"key sendMessageThreadPoolNums has no effect here: there are no thread pools",
		"unknown key somethingElseEntirely",
	}, warnings)
	require.Equal(t, int32(9), s.Current().Small)
	require.Equal(t, "ASYNC_FLUSH", s.Current().Flush)
}

func TestBadValuesNameKeyValueAndWhatIsAllowed(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"listenPort", "0", "listenPort expects a whole number 1..65535"},
		{"listenPort", "65536", "1..65535"},
		{"listenPort", "9876x", `listenPort="9876x" is not allowed`},
		{"listenPort", "", "a whole number"},
		{"flushDiskType", "FAST", "one of ASYNC_FLUSH, SYNC_FLUSH"},
		{"autoCreateTopicEnable", "yes", "true or false"},
		{"registerNameServerPeriod", "9999", "milliseconds 10000..60000"},
		{"registerNameServerPeriod", "2h", "milliseconds 10000..60000"},
		{"idle", "92233720368547759", "seconds"},
		{"idle", "soon", "seconds"},
		{"ratio", "1.01", "a number 0..1"},
		{"ratio", "NaN", "a number 0..1"},
		{"small", "2147483648", "a whole number"},
		{"size", "-1", "at least 0"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			s := newSample(t)
			before := s.Current()
			err := s.Put(c.key, c.value, "test")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, c.key)
			require.Same(t, before, s.Current())
		})
	}
	// All bad values are told at once, and none of the good ones is taken.
	s := newSample(t)
	_, err := s.Load(map[string]string{"listenPort": "x", "ratio": "y", "small": "5"}, "test")
	require.ErrorContains(t, err, "listenPort")
	require.ErrorContains(t, err, "ratio")
	require.Zero(t, s.Current().Small)
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"NAMESRV_ADDR": "n:1", "JAVA_OPT_EXT": "-Xmx1g", "HEAP_OPTS": ""}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	s := newSample(t)
	require.NoError(t, s.LoadEnv(lookup))
	require.Equal(t, "n:1", s.Current().Addr)
	require.Equal(t, "environment", s.Source("namesrvAddr"))
	require.Equal(t, []string{"JAVA_OPT_EXT"}, IgnoredEnv(lookup))
}

func TestUpdateIsLiveKeysOnlyAllOrNothing(t *testing.T) {
	s := newSample(t)
	var seen []string
	s.OnUpdate(func(before, after *sample, keys []string) {
		require.Equal(t, 10911, before.Port)
		require.Equal(t, 12000, after.Port)
		seen = keys
	})
	before := s.Current()

	_, err := s.Update(map[string]string{"listenPort": "12000", "brokerName": "other"})
	require.ErrorIs(t, err, ErrNotLive)
	_, err = s.Update(map[string]string{"listenPort": "12000", "listenPrt": "1"})
	require.ErrorContains(t, err, "did you mean listenPort?")
	_, err = s.Update(map[string]string{"listenPort": "12000", "size": "-1"})
	require.ErrorContains(t, err, "size")
	_, err = s.Update(map[string]string{"listenPort": "6666"})
	require.ErrorContains(t, err, "does not go with")
	require.Same(t, before, s.Current())
	require.Nil(t, seen)

	changed, err := s.Update(map[string]string{"listenPort": "12000", "size": "0", "brokerName": "broker-a"})
	require.NoError(t, err)
	require.Equal(t, []string{"listenPort"}, changed)
	require.Equal(t, changed, seen)
	require.Equal(t, 10911, before.Port, "a struct handed out must not change")
	require.Equal(t, "update", s.Source("listenPort"))
}

func TestUpdateOfInertKeysAloneIsRefused(t *testing.T) {
	s := newSample(t)
	s.Inert("no pools", "poolNums")
	_, err := s.Update(map[string]string{"poolNums": "3"})
	require.ErrorContains(t, err, "no pools")
	_, err = s.Update(map[string]string{"poolNums": "3", "listenPort": "1"})
	require.NoError(t, err)
}

func TestPrint(t *testing.T) {
	s := newSample(t)
	var all, important strings.Builder
	require.NoError(t, s.Print(&all, false))
	require.NoError(t, s.Print(&important, true))
	require.Equal(t, "brokerName=broker-a\nlistenPort=10911\n", important.String())
	require.Equal(t, all.String(), string(s.Text()))
	require.Contains(t, all.String(), "registerNameServerPeriod=30000\n")
	require.Contains(t, all.String(), "idle=120\n")
}

func TestTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSample(t)
		value := rapid.StringOf(rapid.RuneFrom([]rune("ab =:#!\\\"$ {}\t\nü"))).Draw(t, "value")
		value = strings.TrimSpace(value)
		require.NoError(t, s.Put("brokerName", value, "test"))
		other := newSample(t)
		got, err := ParseText(s.Text())
		require.NoError(t, err)
		_, err = other.Load(got, "text")
		require.NoError(t, err)
		require.Equal(t, *s.Current(), *other.Current())
	})
}

func TestEditTextKeepsCommentsAndOrder(t *testing.T) {
	got := EditText([]byte("# head\nlistenPort = 1\nname=a;\\\n  b\n\n! tail\nlistenPort=2"), map[string]string{
		"listenPort": "3", "name": `c:\d`, "zNew": "4", "aNew": "5",
	})
	require.Equal(t, "# head\nlistenPort=3\nname=c:\\\\d\n\n! tail\naNew=5\nzNew=4\n", string(got))
}

func TestEditTextSetsWhatParseTextReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-c]{1,2}`)
		val := rapid.StringMatching(`[a-z0-9;:=\\]{0,6}`)
		start := rapid.MapOf(key, val).Draw(t, "start")
		edits := rapid.MapOf(key, val).Draw(t, "edits")
		text := EditText([]byte("# c\n"), start)
		got, err := ParseText(EditText(text, edits))
		require.NoError(t, err)
		want := maps.Clone(start)
		maps.Copy(want, edits)
		require.Equal(t, want, got)
	})
}

func TestWrongTagsAreRefused(t *testing.T) {
	_, err := New(struct {
		D time.Duration `cfg:"d"`
	}{})
	require.ErrorContains(t, err, "unit")
	_, err = New(struct {
		M map[string]string `cfg:"m"`
	}{})
	require.ErrorContains(t, err, "unsupported type")
	_, err = New(struct {
		A int `cfg:"x"`
		B int `cfg:"x"`
	}{})
	require.ErrorContains(t, err, "declared twice")
	_, err = New(struct {
		A int `cfg:"x" min:"one"`
	}{})
	require.ErrorContains(t, err, "bad bound")
	_, err = New(3)
	require.ErrorContains(t, err, "not a struct")
}

func TestParseFlags(t *testing.T) {
	f, err := ParseFlags([]string{"-c", "f.conf", "--namesrvAddr=a:1;b:2", "-m", "--enable-proxy", "--set", "a=b=c", "--set=d=", "-Drocketmq.x=0.9"}, "--enable-proxy")
	require.NoError(t, err)
	require.Equal(t, Flags{
		ConfigFile: "f.conf", NamesrvAddr: "a:1;b:2", PrintImportant: true, Ignored: []string{"--enable-proxy"},
		Values: map[string]string{"a": "b=c", "d": ""}, Properties: map[string]string{"rocketmq.x": "0.9"},
	}, f)
	for _, bad := range [][]string{{"-c"}, {"-x"}, {"-D"}, {"stray"}, {"--set", "novalue"}, {"--set"}} {
		_, err := ParseFlags(bad)
		require.Error(t, err, bad)
	}
}

func TestJavaProperties(t *testing.T) {
	env := map[string]string{"JAVA_OPT": `-server -Xms8g -Da.b=1 "-Dc=2"`, "JAVA_OPT_EXT": "-Da.b=3", "OTHER": "-Dd=4"}
	got := JavaProperties(func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	require.Equal(t, "2", got["c"])
	require.Contains(t, []string{"1", "3"}, got["a.b"])
	require.NotContains(t, got, "d")
}

func FuzzParseText(f *testing.F) {
	f.Add([]byte("a=b\nc:d\\\n e\n# x\n\\u00e9=1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := New(sample{Net: Net{Port: 1}, Period: 10 * time.Second})
		require.NoError(t, err)
		values, err := ParseText(text)
		if err != nil {
			return
		}
		if _, err := s.Load(values, "fuzz"); err == nil {
			require.GreaterOrEqual(t, s.Current().Port, 1)
		}
		_ = EditText(text, map[string]string{"listenPort": "7"})
	})
}
