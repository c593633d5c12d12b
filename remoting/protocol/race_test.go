//go:build race

package protocol

// raceEnabled: sync.Pool drops items on purpose under the race detector.
const raceEnabled = true
