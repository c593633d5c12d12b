#!/bin/sh
# The compose cluster in continuous integration: up, official clients on the host
# and in a container, the failover drill, down. Takes two to four minutes and ends
# within six, whatever happens.
#
# Uses the Docker engine that answers. Where none does, it starts one of its own in
# a temporary folder and, if that is allowed, in a network of its own, so that the
# default ports are free and no packet filter rule of the engine is left; it needs
# root, and apt (Debian) for what is not installed. It stops that engine by its
# process id. Where it cannot it says so and ends with 0: NOT RUN is not a failure.
set -eu
cd "$(dirname "$0")/../.."

deadline=${CI_COMPOSE_DEADLINE:-$(($(date +%s) + 290))} # the stages; ending takes a minute more
left() {
	seconds=$((deadline - $(date +%s)))
	[ "$seconds" -gt 0 ] || seconds=1
	echo "$seconds"
}

not_run() {
	echo "NOT RUN: make compose-drill, because $*"
	exit 0
}

# gone PID SECONDS waits until a child of ours has ended.
gone() {
	tries=$(($2 * 5))
	while kill -0 "$1" 2>/dev/null && [ "$tries" -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.2
	done
	! kill -0 "$1" 2>/dev/null
}

engine= dir=
finish() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$engine" ]; then
		kill "$engine" 2>/dev/null || true
		if ! gone "$engine" 20; then
			echo "the Docker engine, process $engine, ignored SIGTERM and is killed"
			kill -9 "$engine" 2>/dev/null || true
		fi
		# Its child, which it ends itself unless it was killed.
		child=$(cat "$dir/exec/containerd/containerd.pid" 2>/dev/null || true)
		if [ -n "$child" ] && ! gone "$child" 5; then
			kill -9 "$child" 2>/dev/null || true
		fi
	fi
	if [ -n "$dir" ]; then
		# What the engine mounted goes with it; if something is left, so is its folder.
		rm -rf "$dir" 2>/dev/null || echo "left behind: $dir"
	fi
	exit "$status"
}

missing() {
	for program in dockerd docker iptables ip unshare; do
		command -v "$program" >/dev/null 2>&1 || return 0
	done
	! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null 2>&1
}

if ! docker info >/dev/null 2>&1; then
	[ "$(id -u)" = 0 ] || not_run "no Docker engine answers, and only root can start one"
	if missing; then
		command -v apt-get >/dev/null 2>&1 || not_run "Docker is not installed, and this is no Debian"
		echo "installing docker.io, docker-compose, iptables and iproute2"
		DEBIAN_FRONTEND=noninteractive timeout 150 sh -c 'apt-get update -qq &&
			apt-get install -qq -y --no-install-recommends docker.io docker-compose iptables iproute2' >/dev/null 2>&1 ||
			not_run "Docker is not installed, and apt cannot install it within 150 s"
		missing && not_run "apt installed Docker, but something of it is still missing"
	fi
	if [ -z "${CI_COMPOSE_DEADLINE:-}" ] && unshare --net true 2>/dev/null; then
		# No network from here on: fetch what the clients are built from first.
		timeout "$(left)" sh -c 'go mod download && cd test/e2e && go mod download' || not_run "the Go modules cannot be fetched"
		CI_COMPOSE_DEADLINE=$deadline exec unshare --net sh -c 'ip link set lo up && exec sh deploy/docker/ci.sh'
	fi
	dir=$(mktemp -d)
	trap finish EXIT
	trap 'exit 130' INT TERM
	export DOCKER_HOST="unix://$dir/docker.sock"
	dockerd --host "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" >"$dir/log" 2>&1 &
	engine=$!
	tries=0
	until docker info >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ "$tries" -gt 60 ] || ! kill -0 "$engine" 2>/dev/null; then
			not_run "the Docker engine does not start here: $(tail -n 1 "$dir/log" | cut -c 1-300)"
		fi
		sleep 0.5
	done
	echo "started a Docker engine of our own, process $engine"
fi
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null 2>&1 ||
	not_run "neither docker compose nor docker-compose is installed"

# Whatever happens, nothing of the cluster stays. A project name of its own keeps
# the data of a cluster that a developer has apart (its ports are the same).
export COMPOSE_PROJECT_NAME="cometmq-ci-$$"
passed=1
for target in compose-up compose-clients compose-drill; do
	if ! timeout -k 5 "$(left)" make "$target"; then
		[ "$(left)" -gt 1 ] || echo "out of time in make $target"
		passed=0
		break
	fi
done
if [ "$passed" = 0 ]; then
	docker ps -a --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
	for c in $(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"); do
		timeout 5 docker logs --tail 20 "$c" 2>&1 || true
	done
fi
timeout -k 5 40 make compose-down
[ "$passed" = 1 ]
