package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where the name servers of docker-compose.yml are, seen from both sides.
const (
	hostNameServers  = "127.0.0.1:9876;127.0.0.1:9877"
	innerNameServers = "namesrv-0:9876;namesrv-1:9876"
)

// project is the compose project of this tree.
type project struct {
	root    string
	name    string
	program []string // docker compose, or docker-compose
}

// find looks for the tools and for the tree's root.
func find(ctx context.Context) (*project, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "docker-compose.yml")); err != nil {
		return nil, fmt.Errorf("run it in the root of the tree: %w", err)
	}
	p := &project{root: root, name: projectName(root, os.Getenv("COMPOSE_PROJECT_NAME")), program: []string{"docker", "compose"}}
	if exec.CommandContext(ctx, "docker", "compose", "version").Run() != nil {
		if _, err := exec.LookPath("docker-compose"); err != nil {
			return nil, errors.New("neither `docker compose` nor docker-compose is installed (Debian: apt install docker.io docker-compose)")
		}
		p.program = []string{"docker-compose"}
	}
	if _, err := p.docker(ctx, "info", "-f", "{{.ServerVersion}}"); err != nil {
		return nil, fmt.Errorf("no Docker engine answers: %w", err)
	}
	return p, nil
}

// projectName is what compose calls the project when nobody gives it a name:
// the folder's, in the letters that are allowed.
func projectName(root, given string) string {
	if given != "" {
		return given
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(filepath.Base(root)))
	return strings.TrimLeft(name, "-_")
}

func (p *project) compose(args ...string) []string {
	return append(append(append([]string{}, p.program...), "-p", p.name), args...)
}

// loud runs a command whose output the operator sees.
func (p *project) loud(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.root, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// docker runs a docker command and returns what it printed, without the last
// line's end.
func (p *project) docker(ctx context.Context, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// container is what Docker says about one container of the project.
type container struct {
	id, service string
	running     bool
	health      string   // healthy, unhealthy, starting, none
	args        []string // of the program
}

// containers lists the project's containers, running or not.
func (p *project) containers(ctx context.Context) ([]container, error) {
	ids, err := p.docker(ctx, "ps", "-aq", "--filter", "label=com.docker.compose.project="+p.name)
	if err != nil || ids == "" {
		return nil, err
	}
	text, err := p.docker(ctx, append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	return parseInspect([]byte(text))
}

// parseInspect reads the output of docker inspect.
func parseInspect(text []byte) ([]container, error) {
	var list []struct {
		ID    string `json:"Id"`
		Args  []string
		State struct {
			Running bool
			Health  *struct{ Status string }
		}
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the output of docker inspect: %w", err)
	}
	out := make([]container, 0, len(list))
	for _, c := range list {
		health := "without health check"
		if c.State.Health != nil {
			health = c.State.Health.Status
		}
		if !c.State.Running {
			health = "not running"
		}
		out = append(out, container{
			id: c.ID, service: c.Config.Labels["com.docker.compose.service"], running: c.State.Running, health: health, args: c.Args,
		})
	}
	return out, nil
}

// setting is the value of --set key=value among a container's arguments.
func (c container) setting(key string) string {
	for _, a := range c.args {
		if value, ok := strings.CutPrefix(a, key+"="); ok {
			return value
		}
	}
	return ""
}

// external is the address that a broker advertises to this machine.
func (c container) external() string {
	for _, l := range strings.Split(c.setting("advertisedListeners"), ",") {
		if addr, ok := strings.CutPrefix(l, "external://"); ok {
			return addr
		}
	}
	return ""
}
