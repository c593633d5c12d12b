// Package config loads RocketMQ style settings into a Go struct and keeps them.
//
// The keys of a server are the fields of one struct, named by tags:
//
//	type Config struct {
//		ListenPort   int           `cfg:"listenPort" important:"true" min:"1" max:"65535" live:"true"`
//		NamesrvAddr  string        `cfg:"namesrvAddr" env:"NAMESRV_ADDR"`
//		FlushDisk    string        `cfg:"flushDiskType" enum:"ASYNC_FLUSH,SYNC_FLUSH"`
//		RegisterEach time.Duration `cfg:"registerNameServerPeriod" unit:"ms" min:"10000" max:"60000"`
//	}
//
// Supported kinds: string, bool, int, int32, int64, uint64, float64 and
// time.Duration (which needs the tag unit: "ms" or "s", the unit of a bare
// number; "1m30s" is understood as well). An embedded struct contributes its
// fields. The other tags:
//
//	alias:"a,b"       other spellings that are read but never printed
//	env:"NAME"        environment variable that sets the key (LoadEnv)
//	important:"true"  printed by -m, not only by -p
//	live:"true"       may be changed while the process runs (Update)
//	group:"true"      is the same on all members of a replica group, who get its
//	                  value from elsewhere (Overlay); live keys only
//	min, max          inclusive bounds of a number, in the unit of the key
//	enum:"A,B"        the values allowed
//
// RocketMQ ignores a misspelt key and drops a value it cannot parse, so that
// an operator runs with a default and never learns of it. Here an unknown key
// is a warning that names the nearest known key, and a bad value is an error
// that names key, value and what is allowed.
//
// Invariants:
//
//   - A struct handed out by Current never changes. An update makes a copy and
//     swaps the pointer, so a reader needs no lock and sees all of an update or
//     nothing of it.
//   - What others say for the whole group (Overlay) lies above what this process
//     was told (Load, Update), and is taken away again without a trace.
//   - An update is all or nothing: one refused key refuses the whole set.
//   - A struct with a method Validate() error is asked after each change.
//
// Callers: cmd/mqbroker and cmd/mqnamesrv at start-up; broker and namesrv for
// the requests that read and change settings.
package config
