package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// try runs the stand-in as sh with recorded replacements; programs are shell
// scripts that print their name and arguments.
type try struct {
	code     int
	out, err string
	became   []string // what this process would have become
}

func runAs(t *testing.T, name, stdin string, env map[string]string, args ...string) try {
	t.Helper()
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	for _, p := range []string{"mqadmin", "mqbroker", "mqnamesrv"} {
		script := "#!/bin/sh\necho " + p + " \"$@\"\ncase \"$1\" in fail) exit 7;; esac\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, p), []byte(script), 0o755))
	}
	vars := map[string]string{"ROCKETMQ_HOME": home, "HOME": home}
	for k, v := range env {
		vars[k] = v
	}
	t.Chdir(home)
	var out, errs bytes.Buffer
	var r try
	s := &shell{
		env: func(k string) string { return vars[k] }, setenv: func(k, v string) error { vars[k] = v; return nil },
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
		replace: func(path string, args []string) error {
			r.became = append([]string{strings.TrimPrefix(path, bin+"/")}, args[1:]...)
			return errReplaced
		},
	}
	r.code = s.main(name, args)
	r.out, r.err = out.String(), strings.TrimSuffix(errs.String(), name+": "+errReplaced.Error()+"\n")
	return r
}

// errReplaced is what a replacement ends with here; a real one does not return.
var errReplaced = errors.New("replaced")

// TestStartLinesOfTutorials are lines from RocketMQ's documentation and from
// compose files people have.
func TestStartLinesOfTutorials(t *testing.T) {
	env := map[string]string{"NAMESRV_ADDR": "rmqnamesrv:9876"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"mqnamesrv"}, "mqnamesrv"},
		{[]string{"mqbroker", "-n", "rmqnamesrv:9876", "-c", "../conf/broker.conf"}, "mqbroker -n rmqnamesrv:9876 -c ../conf/broker.conf"},
		{[]string{"./mqbroker", "-c", "/home/rocketmq/rocketmq-4.9.4/conf/broker.conf"}, "mqbroker -c /home/rocketmq/rocketmq-4.9.4/conf/broker.conf"},
		{[]string{"/home/rocketmq/rocketmq-4.9.4/bin/mqnamesrv"}, "mqnamesrv"},
		{[]string{"-c", "sh mqbroker -n $NAMESRV_ADDR"}, "mqbroker -n rmqnamesrv:9876"},
		{[]string{"-c", `cd . && exec ./mqbroker -n "${NAMESRV_ADDR}" --enable-proxy`}, "mqbroker -n rmqnamesrv:9876 --enable-proxy"},
		{[]string{"-c", "sleep 0.01; nohup sh mqbroker -n 'a:1;b:2'"}, "mqbroker -n a:1;b:2"},
		{[]string{"-c", "export NS=x:1 && mqbroker -n ${NS}"}, "mqbroker -n x:1"},
		{[]string{"-c", "mqadmin fail || mqnamesrv"}, "mqnamesrv"},
		{[]string{"-c", "mqadmin ok && mqnamesrv"}, "mqnamesrv"},
		{[]string{"-c", "mqbroker -n ${NOPE:-d:1} # the rest is a comment"}, "mqbroker -n d:1"},
		{[]string{"-c", "mqbroker \\\n -m \"\""}, "mqbroker -m "},
	} {
		r := runAs(t, "sh", "", env, c.args...)
		require.Equal(t, c.want, strings.Join(r.became, " "), "%q: %s", c.args, r.err)
		require.Empty(t, r.err)
	}
}

func TestWhatFollowsDecides(t *testing.T) {
	r := runAs(t, "sh", "", nil, "-c", "mqadmin fail && mqbroker")
	require.Equal(t, 7, r.code)
	require.Empty(t, r.became)
	require.Equal(t, "mqadmin fail\n", r.out)
	require.Equal(t, 4, runAs(t, "sh", "", nil, "-c", "true; exit 4; mqbroker").code)
	require.Equal(t, 1, runAs(t, "sh", "", nil, "-c", "false").code)
	require.Equal(t, 1, runAs(t, "sh", "", nil, "-c", "cd /nonexistent-folder && mqbroker").code)
}

func TestItSaysThatItIsNoShell(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"ls -l", 127, "ls: not found. This is no shell"},
		{"netstat -an | grep 9876", 2, "| is not understood"},
		{"mqbroker > broker.log", 2, "docker logs"},
		{"mqbroker &", 2, "& is not understood"},
		{"echo $(pwd)", 2, "is not understood"},
		{"echo `pwd`", 2, "is not understood"},
		{"echo 'x", 2, "not closed"},
		{"mqbroker &&", 2, "nothing follows &&"},
		{"&& mqbroker", 2, "nothing stands before &&"},
		{"sleep long", 2, "no number of seconds"},
	} {
		r := runAs(t, "sh", "", nil, "-c", c.line)
		require.Equal(t, c.code, r.code, c.line)
		require.Contains(t, r.err, c.says, c.line)
		require.Empty(t, r.became, c.line)
	}
}

func TestLinesFromAnAttachedUser(t *testing.T) {
	r := runAs(t, "bash", "mqadmin clusterList\n\nwhoami\necho $HOME is home\nexit 3\nmqbroker\n", nil)
	require.Equal(t, 3, r.code)
	require.Contains(t, r.out, "mqadmin clusterList\n")
	require.Contains(t, r.out, " is home\n")
	require.Contains(t, r.err, "whoami: not found")
	require.Empty(t, r.became)
}

func TestProxyExplainsItself(t *testing.T) {
	r := runAs(t, "mqproxy", "", nil, "-n", "x:1")
	require.Zero(t, r.code)
	require.Contains(t, r.out, "There is no proxy to start")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mqbroker -n $A", `sh -c "a ${B:-c}" && d || e; f`, "'", "\\", "$", "a\n\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		commands, err := parse(text, func(string) string { return "v w" })
		for _, c := range commands {
			require.NoError(t, err)
			require.NotEmpty(t, c.words)
		}
	})
}
