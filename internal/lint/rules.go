package main

// module is the import path all rules are about.
const module = "github.com/cometmq/cometmq"

// mayImport says which packages of ours a package may import, outside of its
// tests. A name ending in /* stands for a whole folder. Arrows go down only: a
// package that is missing here is itself a finding, so that a new package is
// placed on purpose.
var mayImport = map[string][]string{
	"message":            {},
	"internal/vfs":       {},
	"internal/explain":   {},
	"internal/banner":    {},
	"internal/config":    {"internal/explain"},
	"internal/lint":      {},
	"internal/wall":      {},
	"internal/fault":     {"internal/vfs", "internal/wall"},
	"internal/histogram": {},
	"internal/logging":   {},
	"internal/metrics":   {"internal/histogram", "remoting", "remoting/protocol"},
	"internal/httpadmin": {"internal/explain"},
	"internal/netns":     {},
	"internal/inherit":   {},
	"remoting/protocol":  {},
	"remoting":           {"remoting/protocol", "internal/explain"},
	"store/segment":      {"internal/vfs"},
	"store/commitlog":    {"store/segment", "internal/vfs", "internal/histogram", "internal/logging"},
	"store/consumequeue": {"store/segment", "internal/vfs", "message"},
	"store/index":        {"store/segment", "internal/vfs", "message"},
	"store":              {"store/commitlog", "store/consumequeue", "store/index", "store/segment", "internal/vfs", "message"},
	"dledger":            {"store", "store/commitlog", "store/segment", "internal/vfs", "internal/wall", "message", "internal/histogram", "internal/logging"},
	"broker/metadata":    {"store", "message", "remoting/protocol"},
	"broker/group":       {"broker/filter", "message", "remoting/protocol"},
	"broker/transaction": {"message", "remoting/protocol"},
	"broker/delay":       {"message", "remoting/protocol"},
	"broker/filter":      {"message"},
	"broker/stats":       {},
	"broker":             {"broker/*", "dledger", "store", "store/commitlog", "internal/config", "internal/vfs", "internal/wall", "message", "remoting", "remoting/protocol", "internal/histogram", "internal/logging", "internal/metrics", "internal/explain"},
	"namesrv":            {"remoting", "remoting/protocol", "internal/config", "internal/vfs", "internal/logging", "internal/metrics", "internal/explain"},
	"admin":              {"remoting", "remoting/protocol", "message", "internal/config", "internal/explain"},

	// Tools: processes on this machine, drills over them, load.
	"internal/local":       {"admin", "internal/config", "internal/fault"},
	"internal/drill":       {"admin", "internal/local", "internal/netns", "message", "remoting/protocol"},
	"internal/testcluster": {"broker", "namesrv", "admin", "internal/vfs"},
	"bench":                {"admin", "internal/local"},
	"internal/compose":     {"admin", "internal/drill", "internal/local"},
	"internal/dist":        {},
	"deploy":               {},

	"cmd/mqbroker":   {"broker", "internal/config", "internal/fault", "internal/vfs", "internal/httpadmin", "internal/inherit", "internal/logging", "internal/banner", "internal/explain"},
	"cmd/mqnamesrv":  {"namesrv", "internal/config", "internal/httpadmin", "internal/inherit", "internal/logging", "internal/banner", "internal/explain"},
	"cmd/mqsh":       {},
	"cmd/mqshutdown": {},
	"cmd/mqadmin":    {"admin", "internal/local", "internal/drill", "internal/config", "message", "remoting/protocol", "store", "store/*", "dledger", "deploy", "internal/explain", "internal/vfs"},
}

// foreign says who may import a module or package that is not ours. Everybody
// may import what is not named here.
var foreign = []struct {
	path  string // import path, or a prefix of it up to a slash
	only  []string
	tests bool // whether the rule holds in tests too
	why   string
}{
	{"github.com/hashicorp/raft", []string{"dledger"}, true,
		"storage is tested without Raft and the rest without knowing it; speak of index, term and role as dledger does"},
	{"github.com/hashicorp/raft-boltdb", []string{"dledger"}, true,
		"it keeps Raft's term and vote, which only dledger knows"},
	{"github.com/prometheus", []string{"internal/metrics"}, false,
		"count with internal/histogram or an atomic number, and write it when internal/metrics asks"},
	{"github.com/stretchr/testify/assert", nil, true,
		"use testify/require, so that a test stops at its first failure"},
	{"github.com/stretchr/testify/mock", nil, true,
		"write the few methods by hand"},
	{"log", nil, false,
		"take an hclog.Logger in the config; a library does not choose where its log goes"},
	{"github.com/spf13/cobra", []string{"cmd/mqadmin", "cmd/mqbroker", "cmd/mqnamesrv", "bench"}, true,
		"flags are read in cmd/ only"},
}

// testOnly are packages that only tests may import.
var testOnly = []string{"internal/testcluster"}
