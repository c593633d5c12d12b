package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cometmq/cometmq/internal/drill"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compose:", err)
		os.Exit(1)
	}
}

const usage = "usage: compose up|down|clients|drill [-trials N] [-outstanding N] [-fault NAME] [-rebuild]"

// healthTimeout is how long a cluster may take from start to healthy.
const healthTimeout = 90 * time.Second

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("compose", flag.ContinueOnError)
	trials := flags.Int("trials", 1, "how often to break it")
	outstanding := flags.Int("outstanding", 32, "senders, each with one message under way")
	fault := flags.String("fault", "kill-leader", "a drill of `mqadmin drill list`")
	rebuild := flags.Bool("rebuild", false, "build the image anew")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	p, err := find(ctx)
	if err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return p.up(ctx, *rebuild)
	case "down":
		return p.down(ctx)
	case "clients":
		return p.clients(ctx)
	case "drill":
		return runDrill(ctx, p, drill.Config{Drill: *fault, Trials: *trials, Outstanding: *outstanding, Progress: os.Stderr})
	}
	return errors.New(usage)
}

// up starts the cluster and returns when all of it is healthy.
func (p *project) up(ctx context.Context, rebuild bool) error {
	_, errImage := p.docker(ctx, "image", "inspect", image)
	if rebuild || errImage != nil {
		if err := p.build(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := p.loud(ctx, p.compose("up", "-d", "--no-build")); err != nil {
		return fmt.Errorf("start the cluster: %w; is one of the ports 9876, 9877, 10909 to 10931 in use?", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, healthTimeout, fmt.Errorf("not healthy after %v", healthTimeout))
	defer cancel()
	if err := p.awaitHealthy(ctx); err != nil {
		return err
	}
	fmt.Printf("healthy after %.1f s\n  on this machine   NAMESRV_ADDR=%q\n  in containers of network %s_default   NAMESRV_ADDR=%q\n",
		time.Since(began).Seconds(), hostNameServers, p.name, innerNameServers)
	return nil
}

// image is what docker-compose.yml runs.
const image = "cometmq:local"

func (p *project) build(ctx context.Context) error {
	if err := p.loud(ctx, []string{"go", "run", "./internal/dist", "rootfs"}); err != nil {
		return fmt.Errorf("pack the image's file system: %w", err)
	}
	if err := p.loud(ctx, []string{"docker", "build", "-q", "-f", "deploy/docker/Dockerfile", "-t", image, "."}); err != nil {
		return fmt.Errorf("build the image: %w", err)
	}
	return nil
}

// awaitHealthy waits for the health checks of all containers.
func (p *project) awaitHealthy(ctx context.Context) error {
	for {
		list, err := p.containers(ctx)
		if err != nil {
			return err
		}
		var bad []string
		for _, c := range list {
			if c.health != "healthy" {
				bad = append(bad, c.service+" "+c.health)
			}
		}
		if len(list) > 0 && len(bad) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %v; see: docker logs NAME", context.Cause(ctx), bad)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// down removes everything of the project and looks whether it is gone.
func (p *project) down(ctx context.Context) error {
	if err := p.loud(ctx, p.compose("--profile", "second-group", "--profile", "monitoring", "down", "-v", "--remove-orphans")); err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	filter := "label=com.docker.compose.project=" + p.name
	for _, kind := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}} {
		left, err := p.docker(ctx, append(kind, "--filter", filter)...)
		if err != nil {
			return err
		}
		if left != "" {
			return fmt.Errorf("docker %s still shows of project %s:\n%s", kind[0], p.name, left)
		}
	}
	fmt.Println("no container, volume or network is left")
	return nil
}

// clients runs the official Go client's check on the host and in a container.
// It is a module of its own, so that its dependencies stay out of the product.
func (p *project) clients(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "cometmq-client-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "client.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "compose", "-o", binary, ".")
	cmd.Dir = filepath.Join(p.root, "test", "e2e")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the client: %w", err)
	}
	check := []string{"-test.v", "-test.run", "^TestComposeClient$", "-test.timeout", "2m"}

	fmt.Println("official Go client on the host:")
	host := exec.CommandContext(ctx, binary, check...)
	host.Env = append(os.Environ(), "NAMESRV_ADDR="+hostNameServers)
	host.Stdout, host.Stderr = os.Stdout, os.Stderr
	if err := host.Run(); err != nil {
		return fmt.Errorf("client on the host: %w", err)
	}

	fmt.Println("official Go client in a container:")
	const clientImage = "cometmq-client:local"
	dockerfile := "FROM scratch\nCOPY client.test /client.test\nENTRYPOINT [\"/client.test\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return err
	}
	if err := p.loud(ctx, []string{"docker", "build", "-q", "-t", clientImage, dir}); err != nil {
		return fmt.Errorf("build the client's image: %w", err)
	}
	defer func() { _, _ = p.docker(context.WithoutCancel(ctx), "image", "rm", clientImage) }()
	args := append([]string{"docker", "run", "--rm", "--network", p.name + "_default", "-e", "NAMESRV_ADDR=" + innerNameServers, clientImage}, check...)
	if err := p.loud(ctx, args); err != nil {
		return fmt.Errorf("client in a container: %w", err)
	}
	return nil
}

// runDrill breaks the running cluster.
func runDrill(ctx context.Context, p *project, cfg drill.Config) error {
	c, err := open(ctx, p)
	if err != nil {
		return err
	}
	defer c.client.Close()
	cfg.Cluster = c
	rep, err := drill.Run(ctx, cfg)
	if rep != nil {
		err = errors.Join(err, rep.Print(os.Stdout))
	}
	if err == nil && !rep.Summary.Pass {
		err = errors.New("the drill found a broken promise")
	}
	return err
}
