//go:build !race

package protocol

// raceEnabled is explained in race_test.go.
const raceEnabled = false
