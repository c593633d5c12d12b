package delay

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// DefaultLevels is the default of messageDelayLevel.
const DefaultLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// LevelsMax bounds the levels of a configuration.
const LevelsMax = 1000

// Levels are the delays of levels 1, 2, and so on.
type Levels []time.Duration

// ParseLevels reads a messageDelayLevel setting: numbers with one of the units
// s, m, h, d, separated by spaces. An error names the part it cannot read.
func ParseLevels(text string) (Levels, error) {
	parts := strings.Fields(text)
	if len(parts) == 0 {
		return nil, fmt.Errorf("messageDelayLevel is empty: give delays such as %q", "1s 5s 1m 2h")
	}
	if len(parts) > LevelsMax {
		return nil, fmt.Errorf("messageDelayLevel has %d levels, at most %d are allowed", len(parts), LevelsMax)
	}
	levels := make(Levels, len(parts))
	for i, part := range parts {
		d, err := parseDelay(part)
		if err != nil {
			return nil, fmt.Errorf("messageDelayLevel: level %d, %q: %w", i+1, part, err)
		}
		levels[i] = d
	}
	return levels, nil
}

func parseDelay(part string) (time.Duration, error) {
	var unit time.Duration
	switch part[len(part)-1] {
	case 's':
		unit = time.Second
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = 24 * time.Hour
	default:
		return 0, fmt.Errorf("the last character must be a unit: s, m, h or d")
	}
	n, err := strconv.ParseUint(part[:len(part)-1], 10, 63)
	if err != nil {
		return 0, fmt.Errorf("before the unit must stand a whole number, not negative")
	}
	if n > uint64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("is longer than 292 years")
	}
	return time.Duration(n) * unit, nil
}

// Clamp returns the level a message with property DELAY = level is stored
// under: the last one for levels beyond it. 0 and less mean no delay and come
// back as 0.
func (l Levels) Clamp(level int) int { return max(0, min(level, len(l))) }

// Delay returns a level's delay, clamped; 0 for no level.
func (l Levels) Delay(level int) time.Duration {
	if level = l.Clamp(level); level == 0 {
		return 0
	}
	return l[level-1]
}

// Millis is Delay in milliseconds: what store.Config.DelayTime wants.
func (l Levels) Millis(level int) int64 { return l.Delay(level).Milliseconds() }

// String returns the setting that gives these levels.
func (l Levels) String() string {
	parts := make([]string, len(l))
	for i, d := range l {
		switch {
		case d >= 24*time.Hour && d%(24*time.Hour) == 0:
			parts[i] = strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
		case d >= time.Hour && d%time.Hour == 0:
			parts[i] = strconv.FormatInt(int64(d/time.Hour), 10) + "h"
		case d >= time.Minute && d%time.Minute == 0:
			parts[i] = strconv.FormatInt(int64(d/time.Minute), 10) + "m"
		default:
			parts[i] = strconv.FormatInt(int64(d/time.Second), 10) + "s"
		}
	}
	return strings.Join(parts, " ")
}
