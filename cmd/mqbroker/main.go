package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/banner"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/internal/fault"
	"github.com/cometmq/cometmq/internal/inherit"
	"github.com/cometmq/cometmq/internal/logging"
	"github.com/cometmq/cometmq/internal/vfs"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitFailed      = 1
	exitBadConfig   = explain.ExitBadConfig
	exitPortInUse   = explain.ExitPortInUse
	exitStoreLocked = explain.ExitStoreLocked
	exitUnknownSelf = explain.ExitPeers
	exitOtherStore  = explain.ExitOtherStore
	exitDisk        = 7
	exitLogInDoubt  = 8
	exitReplaced    = 9
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	limitMemory(os.LookupEnv)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it. It serves until ctx ends and
// returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	sockets := inherit.Take()
	flags, err := config.ParseFlags(args, "--enable-proxy", "-pm", "--proxyMode")
	if err != nil {
		return fail(stderr, badConfig(err))
	}
	if flags.Help {
		say(stdout, "usage: mqbroker [options]\n"+config.FlagsUsage)
		return 0
	}
	if err := takeProperties(&flags, env); err != nil {
		return fail(stderr, badConfig(err))
	}
	early := logging.NewEarly()
	set, warnings, err := load(flags, env, stdout, early)
	if err != nil {
		early.Replay(hclog.New(&hclog.LoggerOptions{Output: stderr}))
		return fail(stderr, err)
	}
	if flags.PrintAll || flags.PrintImportant {
		early.Replay(hclog.New(&hclog.LoggerOptions{Output: stderr}))
		overlayGroup(set, stderr)
		if err := set.Print(stdout, flags.PrintImportant && !flags.PrintAll); err != nil {
			return fail(stderr, err)
		}
		return 0
	}
	logs, err := openLog(set, early, stderr)
	if err != nil {
		return fail(stderr, badConfig(err))
	}
	defer logs.Close()
	log := logs.Logger()
	clients, err := takePort(set, sockets, log)
	if err != nil {
		return fail(stderr, badConfig(err))
	}
	disk := vfs.OS
	if file, ok := env(fault.EnvFile); ok && file != "" {
		f := fault.Follow(file, disk, func(what string) { log.Warn("for a drill, this broker suffers", "faults", what, "file", file) })
		defer f.Close()
		disk = f.FS()
	}
	b, err := broker.New(broker.Options{Settings: set, ConfigFile: flags.ConfigFile, Logger: log, FS: disk, Listener: clients, Exit: func(err error) {
		if errors.Is(err, broker.ErrLogReplaced) || errors.Is(err, broker.ErrDamaged) {
			log.Warn("starting again", "reason", err)
			fmt.Fprintln(stderr, "mqbroker:", startAgain(sockets))
			os.Exit(exitReplaced)
		}
		// Nothing of the shutdown may run: the disk is not to be trusted.
		fmt.Fprintln(stderr, "mqbroker:", err)
		var doubt *broker.LogInDoubtError
		if errors.As(err, &doubt) {
			os.Exit(exitLogInDoubt)
		}
		os.Exit(exitDisk)
	}})
	if err != nil {
		return fail(stderr, err)
	}
	return serve(ctx, b, sockets, func(began time.Time) []banner.Fact { return facts(b, set, flags.ConfigFile, warnings, began) }, set, log, stdout, stderr)
}

// overlayGroup shows the group's settings as the member last knew them, so that -p
// prints what will be in force. The broker takes them from its log.
func overlayGroup(set *config.Set[broker.Config], stderr io.Writer) {
	text, err := os.ReadFile(broker.GroupSettingsFile(set.Current().StoreRoot))
	if err != nil {
		return // there are none, or the store is somebody else's
	}
	values, err := config.ParseText(text)
	if err != nil {
		say(stderr, "mqbroker: "+broker.GroupSettingsFile(set.Current().StoreRoot)+": "+err.Error()+"\n")
		return
	}
	_, refused := set.Overlay(values, broker.SourceGroup)
	for _, err := range refused {
		say(stderr, "mqbroker: a setting of the group cannot be used: "+err.Error()+"\n")
	}
}

// startAgain replaces this process by a new one with the same arguments, so that
// whoever watches over it notices nothing. The kernel closes files and ports, but
// for the sockets that were passed to us. It returns only if that failed.
func startAgain(sockets *inherit.Sockets) error {
	program, err := os.Executable()
	if err == nil {
		var passed []string
		if passed, err = sockets.HandOn(); err == nil {
			err = syscall.Exec(program, os.Args, append(os.Environ(), passed...))
		}
	}
	return fmt.Errorf("this member has to start again and could not do so by itself: %w; start it again", err)
}

// takePort returns the listener that was passed for the client port, or nil. One
// that is so by its name decides the setting, from which other ports follow.
func takePort(set *config.Set[broker.Config], sockets *inherit.Sockets, log hclog.Logger) (net.Listener, error) {
	cfg := set.Current()
	return sockets.Adopt(set, inherit.Want{Key: "listenPort", Port: cfg.ListenPort, Never: map[int]string{
		cfg.RaftPort(): "the Raft port. Nobody may keep that one open: by its refusal the other members learn within milliseconds that this process is dead",
	}}, log)
}

// takeProperties makes settings of the properties a Java virtual machine would
// have been given. A setting of the same name given as an option wins.
func takeProperties(flags *config.Flags, env func(string) (string, bool)) error {
	props := config.JavaProperties(env)
	maps.Copy(props, flags.Properties)
	for name, value := range props {
		key, setting, known, err := broker.FromJavaProperty(name, value)
		if err != nil {
			return err
		}
		if _, given := flags.Values[key]; known && !given {
			flags.Values[key] = setting
		}
	}
	return nil
}

// serve runs the broker until ctx ends. describe tells what runs, given when the
// start began.
func serve(ctx context.Context, b *broker.Broker, sockets *inherit.Sockets, describe func(time.Time) []banner.Fact, set *config.Set[broker.Config], log hclog.Logger, stdout, stderr io.Writer) int {
	began := time.Now()
	cfg := set.Current()
	http, err := startAdmin(b, set, log)
	if err != nil {
		return fail(stderr, err)
	}
	defer http.Stop()
	if err := b.Start(ctx); err != nil {
		if errors.Is(err, broker.ErrDamaged) {
			log.Warn("starting again", "reason", err)
			err = errors.Join(startAgain(sockets), err)
		}
		return fail(stderr, err)
	}
	if err := waitReady(ctx, b, log); err == nil {
		banner.Print(stdout, log, describe(began))
		// Scripts and container checks wait for this line, word for word.
		line := fmt.Sprintf("The broker[%s, %s] boot success. serializeType=JSON", b.Name(), b.Addr())
		if cfg.NamesrvAddr != "" {
			line += " and name server is " + cfg.NamesrvAddr
		}
		say(stdout, line+"\n")
		<-ctx.Done()
	}
	log.Info("broker stops")
	// A second signal means: do not wait for clients.
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(again)
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-again:
			b.Hurry()
		case <-stopped:
		}
	}()
	if err := b.Close(); err != nil {
		return fail(stderr, err)
	}
	return 0
}

// patience is how long a start may wait for a leader before it says so.
const patience = 5 * time.Second

// waitReady waits for the group to have a leader, and tells the operator when
// that takes long: most often the other members are not running.
func waitReady(ctx context.Context, b *broker.Broker, log hclog.Logger) error {
	for {
		short, cancel := context.WithTimeout(ctx, patience)
		err := b.WaitReady(short)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		log.Warn("the group has no leader yet; are a majority of the members in dLegerPeers running and able to reach each other?")
	}
}

// load merges defaults, file, environment and options, in this order.
// The warnings have been logged.
func load(flags config.Flags, env func(string) (string, bool), stdout io.Writer, log hclog.Logger) (set *config.Set[broker.Config], warnings []string, err error) {
	if set, err = broker.NewSettings(); err != nil {
		return nil, nil, err
	}
	if flags.ConfigFile != "" {
		warnings, err = set.LoadFile(flags.ConfigFile)
		for _, w := range warnings {
			log.Warn("configuration", "problem", w)
		}
		if err != nil {
			return nil, nil, badConfig(err)
		}
		say(stdout, "load config properties file OK, "+flags.ConfigFile+"\n")
	}
	if err := override(set, flags, env); err != nil {
		return nil, nil, badConfig(err)
	}
	if kept := broker.SettingsFile(set.Current().StoreRoot); flags.ConfigFile == "" && exists(kept) {
		// Settings that were changed while an earlier process ran. Where the store
		// is, only the others could say.
		warnings, err = set.LoadFile(kept)
		for _, w := range warnings {
			log.Warn("configuration", "problem", w)
		}
		if err == nil {
			err = override(set, flags, env)
		}
		if err != nil {
			return nil, nil, badConfig(err)
		}
		log.Info("using settings changed at run time", "file", kept)
	}
	if err := fromOperator(set, env, log); err != nil {
		return nil, nil, badConfig(err)
	}
	if names := config.IgnoredEnv(env); len(names) > 0 {
		log.Info("environment variables for a Java virtual machine are ignored", "names", strings.Join(names, " "))
	}
	if err := set.Validate(); err != nil {
		return nil, nil, badConfig(err)
	}
	return set, warnings, nil
}

// operatorKeys are the variables that RocketMQ's Kubernetes operator gives its
// containers, from which a script of its image writes a settings file.
var operatorKeys = []struct{ env, key string }{
	{"BROKER_CLUSTER_NAME", "brokerClusterName"},
	{"BROKER_NAME", "brokerName"},
	{"POD_IP", "brokerIP1"},
}

// fromOperator takes such a variable for a key that nobody else has set. Those
// about roles mean nothing here: they follow from the Raft group.
func fromOperator(set *config.Set[broker.Config], env func(string) (string, bool), log hclog.Logger) error {
	for _, o := range operatorKeys {
		v, given := env(o.env)
		// An internal address is this member's own, as brokerIP1 is.
		if !given || v == "" || set.Source(o.key) != "default" || o.key == "brokerIP1" && strings.Contains(set.Current().AdvertisedListeners, "internal://") {
			continue
		}
		if err := set.Put(o.key, v, "environment variable "+o.env); err != nil {
			return fmt.Errorf("environment variable %s: %w", o.env, err)
		}
	}
	var names []string
	for _, name := range []string{"BROKER_ID", "enableControllerMode", "controllerAddr"} {
		if v, given := env(name); given && v != "" {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		log.Info("environment variables about roles are ignored: they follow from the Raft group", "names", strings.Join(names, " "))
	}
	return nil
}

// override puts environment and options over what files said.
func override(set *config.Set[broker.Config], flags config.Flags, env func(string) (string, bool)) error {
	if err := set.LoadEnv(env); err != nil {
		return err
	}
	if flags.NamesrvAddr != "" {
		if err := set.Put("namesrvAddr", flags.NamesrvAddr, "option -n"); err != nil {
			return err
		}
	}
	warnings, err := set.Load(flags.Values, "option --set")
	if err == nil && len(warnings) > 0 {
		err = errors.New(strings.Join(warnings, "; "))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// badConfig words an error of the configuration, unless it has its own words.
func badConfig(err error) error {
	if explain.Of(err) != nil {
		return err
	}
	return explain.BadConfig(err)
}

// say prints to the operator. A closed standard output is no reason to stop.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// fail prints one sentence and returns the exit code that belongs to it.
func fail(w io.Writer, err error) int {
	_, _ = fmt.Fprintln(w, "mqbroker:", err)
	var doubt *broker.LogInDoubtError
	if errors.As(err, &doubt) {
		return exitLogInDoubt
	}
	return explain.ExitCode(err, exitFailed)
}
