# CometMQ: `make` alone prints the targets. Logic that needs more than two lines
# belongs in Go (internal/lint, bench) or in .ci/run.

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
FUZZTIME    ?= 30s
# The only place where a tool's version is written.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The full-disk tests mount a small volume, which only root may.
E2E_TAGS    := $(if $(filter 0,$(shell id -u)),tmpfs)
# End-to-end tests mostly wait for clients' timers: eight at a time take half the time of two, on two cores too.
E2E         := COMETMQ_BIN=$(CURDIR)/bin go test -parallel 8
# Which tests unit, e2e and interop-java run, as go test -run takes it; all of them when it is empty.
RUN         ?=
# Packages with goroutines of their own: the ones the race detector can say something about.
RACE        := ./remoting/... ./namesrv/... ./store/... ./dledger/... ./broker/... ./admin/... ./internal/drill/...

.DEFAULT_GOAL := help
.PHONY: help build run test unit race lint check fuzz e2e million chaos refill drill-clients interop-java e2e-strace bench restart clean image dist compose-up compose-clients compose-drill compose-down scale-out dist-check

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

build: ## three static binaries in bin/, linked at the root: mqnamesrv mqbroker mqadmin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/mqnamesrv ./cmd/mqbroker ./cmd/mqadmin
	@ln -sf bin/mqnamesrv bin/mqbroker bin/mqadmin .

run: build ## a name server and a three-node broker group in ./rmq-local, until Ctrl-C
	bin/mqadmin local up --foreground

test: unit e2e ## unit, property, model and crash tests, then end to end over the built binaries

unit: build ## the tests of each package
	COMETMQ_BIN=$(CURDIR)/bin go test $(if $(RUN),-count=1 -run '$(RUN)') -timeout 8m ./...

e2e: build ## the end-to-end tests with the official Go client
	cd test/e2e && $(E2E) -tags '$(E2E_TAGS)' $(if $(RUN),-count=1 -run '$(RUN)') -timeout 8m ./...

race: ## the same tests under the race detector, where goroutines meet
	go test -race -timeout 20m $(RACE)

lint: ## the house rules: imports go downwards, doc.go, formatting, sleeps, leaked paths
	go run ./internal/lint

check: lint ## lint, go vet and staticcheck
	go vet ./... && go run $(STATICCHECK) ./...

fuzz: ## every fuzz target in turn, FUZZTIME each (default 30s)
	go run ./internal/lint -fuzz $(FUZZTIME)

million: build ## a million timed messages over 24 h: memory, restart, none early (2 to 4 minutes)
	cd test/e2e && $(E2E) -tags million -count=1 -v -timeout 20m -run TestMillionTimers ./...

chaos: build ## faults that take long, and every drill: about 20 minutes; networks and volumes need root
	$(if $(E2E_TAGS),go test -tags chaos -count=1 -timeout 2m ./internal/netns,@echo 'LEFT OUT: networks of namespaces need root')
	cd test/e2e && $(E2E) -tags 'chaos $(E2E_TAGS)' -count=1 -timeout 25m -run Chaos -v .

refill: build ## a wiped member gets 5 GB back under load, then again while killed five times; needs 25 GB of disk
	cd test/e2e && $(E2E) -tags refill -count=1 -v -timeout 60m -run TestRefill .

drill-clients: ## load programs with the official Go and Java clients, for drills with --clients eager,go,java (a JDK, Maven)
	cd test/e2e && go build -o ../../bin/stockload ./cmd/stockload
	mvn -q -B -f test/interop/java/pom.xml package
	mkdir -p bin/stockload-java && cp -r test/interop/java/target/interop.jar test/interop/java/target/lib bin/stockload-java/

interop-java: build ## the official Java 4.9.4 client against a local cluster (needs a JDK and Maven)
	mvn -q -B -f test/interop/java/pom.xml package
	cd test/e2e && COMETMQ_BIN=$(CURDIR)/bin go test -tags java -count=1 -timeout 15m -run '$(or $(RUN),Java)' .

e2e-strace: build ## the kernel fails or delays the leader's fsync under the real binary (needs strace and the right to trace)
	cd test/e2e && $(E2E) -tags strace -count=1 -timeout 5m -run LeaderEnds ./...

bench: build ## micro-benchmarks, then the load generator against a local cluster, both flush modes
	go test -run '^$$' -bench . -benchmem -benchtime 300ms ./message/... ./remoting/... ./namesrv/... ./store/... ./dledger/... ./broker/...
	go run ./bench -bin bin

image: ## the container image cometmq:local, from nothing but our static programs
	go run ./internal/dist rootfs -version '$(VERSION)'
	docker build -q -f deploy/docker/Dockerfile -t cometmq:local .

dist: ## release archives for amd64 and arm64 with checksums in dist/; same commit, same bytes
	go run ./internal/dist zip -version '$(VERSION)'

dist-check: ## unpack an archive and start three members from it, with nothing edited (official Go client)
	cd test/e2e && $(E2E) -tags dist -count=1 -v -timeout 4m -run TestArchiveAsDownloaded ./...

compose-up: image ## two name servers and a group of three in containers, healthy
	go run ./internal/compose up

compose-clients: ## the official Go client against them, on the host and in a container
	go run ./internal/compose clients

compose-drill: ## kill the leader's container under load from outside, audit every message
	go run ./internal/compose drill

compose-down: ## remove containers, volumes and network, and check that nothing is left
	go run ./internal/compose down

scale-out: build ## one group added and one drained under load, with the official Go client (three minutes)
	cd test/e2e && $(E2E) -tags scaleout -count=1 -v -timeout 8m -run 'GroupsComeAndGo|DrainRefuses' ./...

restart: build ## how long a store with a log of 10 GB and 10,000 queues takes to open, and a broker to serve; needs 12 GB of disk
	go test -tags restart -count=1 -timeout 30m -run TestRestart -v ./store/
	cd test/e2e && $(E2E) -tags restart -count=1 -v -timeout 30m -run TestRestartServing .

clean: ## remove what build leaves (data of a local cluster: mqadmin local down --purge)
	rm -rf bin dist mqnamesrv mqbroker mqadmin
