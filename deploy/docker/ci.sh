#!/bin/sh
# The compose cluster in continuous integration: up, official clients on the host
# and in a container, the failover drill, down. Takes about two minutes.
#
# Uses the Docker engine that answers. Where none does, it starts one of its own
# in a temporary folder, if this is root and (on Debian) apt can install
# docker.io, docker-compose and iptables, and stops it by its process id. Where
# that is impossible it says so and ends with 0: NOT RUN is not a failure.
set -eu
cd "$(dirname "$0")/../.."

not_run() {
	echo "NOT RUN: make compose-drill, because $*"
	exit 0
}

engine= dir=
finish() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$dir" ]; then
		if [ -n "$engine" ] && kill "$engine" 2>/dev/null; then
			wait "$engine" || true
		fi
		# What the engine mounted goes with it; if something is left, so is its folder.
		rm -rf "$dir" 2>/dev/null || echo "left behind: $dir"
	fi
	exit "$status"
}

if ! docker info >/dev/null 2>&1; then
	[ "$(id -u)" = 0 ] || not_run "no Docker engine answers, and only root can start one"
	if ! command -v dockerd >/dev/null 2>&1 || ! command -v iptables >/dev/null 2>&1; then
		command -v apt-get >/dev/null 2>&1 || not_run "no Docker engine is installed, and this is no Debian"
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends docker.io docker-compose iptables; } >/dev/null 2>&1 ||
			not_run "no Docker engine is installed, and apt cannot install one"
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
passed=0
make compose-up && make compose-clients && make compose-drill && passed=1
if [ "$passed" = 0 ]; then
	docker ps -a --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
	for c in $(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"); do
		docker logs --tail 20 "$c" 2>&1 || true
	done
fi
make compose-down
[ "$passed" = 1 ]
