//go:build race

package remoting

// raceEnabled: sync.Pool drops items on purpose under the race detector.
const raceEnabled = true
