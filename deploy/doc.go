// Package deploy holds what is needed to run CometMQ, and no code:
//
//	conf/        samples for every day, dledger/ for three members, *.example with every key
//	docker/      Dockerfile (no pull needed), Dockerfile.build (no Go needed), provisioning
//	kubernetes/  name servers and a broker group as StatefulSets
//	systemd/     units for a machine of one's own
//	grafana/     the dashboard; prometheus/ the alert rules and the scrape configuration
//
// Its tests keep these files true: every key with its default, every sample
// accepted without a warning, every metric one that the broker has. After a new
// key run `go test ./deploy -update`.
//
// Callers: docker-compose.yml, internal/dist.
package deploy
