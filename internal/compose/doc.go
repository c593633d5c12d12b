// Command compose runs the cluster of docker-compose.yml for the Makefile and
// for continuous integration:
//
//	go run ./internal/compose up      build what is missing, start, wait until healthy
//	go run ./internal/compose clients the official Go client on the host and in a container
//	go run ./internal/compose drill   kill the leader's container under load and audit
//	go run ./internal/compose down    remove containers, volumes and network, and check
//
// It works with `docker compose` and with docker-compose 1.29, which has no
// --wait.
//
// Invariants:
//
//   - Whatever it touches belongs to the compose project: containers are found
//     by the project's labels, never by name alone.
//   - The drill is the one of internal/drill: its load comes from outside of the
//     network, through published ports, and its audit reads everything back.
//   - down fails if anything of the project is left.
//
// Callers: make compose-up, compose-drill, compose-down and deploy/docker/ci.sh.
package main
