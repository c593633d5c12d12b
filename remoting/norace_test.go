//go:build !race

package remoting

// raceEnabled is explained in race_test.go.
const raceEnabled = false
