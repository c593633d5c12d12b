package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cometmq/cometmq/internal/explain"
)

// version is set when the binary is linked.
var version = "dev"

// Exit codes.
const (
	exitFailed     = 1
	exitNoNamesrv  = explain.ExitUnreachable
	exitDrillFound = 3
	exitPartial    = 4
	exitUnhealthy  = 10
)

// errDrillFailed says that a drill was carried out and found a broken promise;
// its report has been printed.
var errDrillFailed = errors.New("the drill found a broken promise")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	args, err := normalise(root, args)
	if err != nil {
		fmt.Fprintln(stderr, "mqadmin:", err)
		return exitFailed
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err = root.ExecuteContext(ctx); err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "mqadmin:", err)
	switch {
	case errors.Is(err, errDrillFailed), errors.Is(err, errStoreDamaged), errors.Is(err, errLogsDiffer):
		return exitDrillFound
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	case lacking(err), errors.Is(err, errNotCompared):
		return exitPartial
	case explain.ExitCode(err, exitFailed) == explain.ExitUnreachable:
		return exitNoNamesrv
	default:
		return exitFailed // the catalogue's other codes are the servers'
	}
}
