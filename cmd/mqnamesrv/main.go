package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/internal/banner"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/inherit"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/namesrv"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitFailed    = 1
	exitBadConfig = explain.ExitBadConfig
	exitPortInUse = explain.ExitPortInUse
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is main without the process around it. It serves until ctx ends and
// returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	sockets := inherit.Take()
	flags, err := config.ParseFlags(args)
	if err != nil {
		return fail(stderr, exitBadConfig, explain.BadConfig(err))
	}
	if flags.Help {
		say(stdout, "usage: mqnamesrv [options]\n"+config.FlagsUsage)
		return 0
	}
	early := logging.NewEarly()
	set, err := load(flags, env, stdout, early)
	if err != nil {
		early.Replay(hclog.New(&hclog.LoggerOptions{Output: stderr}))
		return fail(stderr, exitBadConfig, explain.BadConfig(err))
	}
	if flags.PrintAll || flags.PrintImportant {
		early.Replay(hclog.New(&hclog.LoggerOptions{Output: stderr}))
		if err := set.Print(stdout, flags.PrintImportant && !flags.PrintAll); err != nil {
			return fail(stderr, exitFailed, err)
		}
		return 0
	}
	logs, err := openLog(set, early, stderr)
	if err != nil {
		return fail(stderr, exitBadConfig, err)
	}
	defer logs.Close()
	log := logs.Logger()
	listener, err := takePort(set, sockets, log)
	if err != nil {
		return fail(stderr, exitBadConfig, explain.BadConfig(err))
	}
	cfg := *set.Current()
	cfg.Logger, cfg.Settings, cfg.Listener = log, set, listener
	srv, err := namesrv.New(cfg)
	if err != nil {
		return fail(stderr, exitFailed, err)
	}
	http, err := startAdmin(srv, set, log)
	if err != nil {
		return fail(stderr, explain.ExitCode(err, exitFailed), err)
	}
	defer http.Stop()
	if err := srv.Start(ctx); err != nil {
		return fail(stderr, explain.ExitCode(err, exitFailed), err)
	}
	banner.Print(stdout, log, facts(srv, set, flags.ConfigFile))
	// Scripts and container checks wait for this line, word for word.
	say(stdout, "The Name Server boot success. serializeType=JSON\n")
	<-ctx.Done()
	log.Info("name server stops")
	if err := srv.Close(); err != nil {
		return fail(stderr, exitFailed, err)
	}
	return 0
}

// takePort returns the listener that was passed for the port, or nil. One that is
// so by its name decides the setting.
func takePort(set *config.Set[namesrv.Config], sockets *inherit.Sockets, log hclog.Logger) (net.Listener, error) {
	return sockets.Adopt(set, inherit.Want{Key: "listenPort", Port: set.Current().ListenPort}, log)
}

// facts is the banner of a name server that has started.
func facts(srv *namesrv.Server, set *config.Set[namesrv.Config], file string) []banner.Fact {
	given := 0
	for _, f := range set.Fields() {
		if set.Source(f.Key) != "default" {
			given++
		}
	}
	where := "no file"
	if file != "" {
		where = file
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return []banner.Fact{
		{Name: "mqnamesrv", Text: fmt.Sprintf("%s (%s, %s)", version, runtime.Version(), platform),
			Pairs: []any{"version", version, "go", runtime.Version(), "platform", platform}},
		{Name: "config", Text: fmt.Sprintf("%s, %d keys set", where, given), Pairs: []any{"file", file, "set", given}},
		{Name: "listen", Text: "remoting " + srv.Addr().String(), Pairs: []any{"remoting", srv.Addr().String()}},
	}
}

// load merges defaults, file, environment and options, in this order.
func load(flags config.Flags, env func(string) (string, bool), stdout io.Writer, log hclog.Logger) (*config.Set[namesrv.Config], error) {
	set, err := config.New(namesrv.DefaultConfig())
	if err != nil {
		return nil, err
	}
	for reason, keys := range namesrv.InertKeys() {
		set.Inert(reason, keys...)
	}
	file := flags.ConfigFile
	if file == "" {
		// Updates made by mqadmin are stored here; read them back.
		if stored, _ := set.Value("configStorePath"); exists(stored) {
			file = stored
		}
	} else if err := set.Put("configStorePath", file, "option -c"); err != nil {
		return nil, err
	}
	if file != "" {
		warnings, err := set.LoadFile(file)
		for _, w := range warnings {
			log.Warn("configuration", "problem", w)
		}
		if err != nil {
			return nil, err
		}
		say(stdout, "load config properties file OK, "+file+"\n")
	}
	if err := set.LoadEnv(env); err != nil {
		return nil, err
	}
	if names := config.IgnoredEnv(env); len(names) > 0 {
		log.Info("environment variables for a Java virtual machine are ignored", "names", strings.Join(names, " "))
	}
	if flags.NamesrvAddr != "" {
		log.Info("option -n has no effect: a name server does not talk to other name servers")
	}
	warnings, err := set.Load(flags.Values, "option --set")
	if err == nil && len(warnings) > 0 {
		err = errors.New(strings.Join(warnings, "; "))
	}
	if err == nil {
		err = set.Validate()
	}
	return set, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}

// say prints to the operator. A closed standard output is no reason to stop.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

func fail(w io.Writer, code int, err error) int {
	_, _ = fmt.Fprintln(w, "mqnamesrv:", err)
	return code
}
