package delay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseLevels(t *testing.T) {
	l, err := ParseLevels(DefaultLevels)
	require.NoError(t, err)
	require.Len(t, l, 18)
	require.Equal(t, time.Second, l.Delay(1))
	require.Equal(t, 2*time.Hour, l.Delay(18))
	require.Equal(t, 2*time.Hour, l.Delay(99), "beyond the last is the last")
	require.Zero(t, l.Delay(0))
	require.Zero(t, l.Delay(-3))
	require.Equal(t, int64(5000), l.Millis(2))
	require.Equal(t, DefaultLevels, l.String())

	l, err = ParseLevels("  0s\t90s 25h 2d ")
	require.NoError(t, err)
	require.Equal(t, Levels{0, 90 * time.Second, 25 * time.Hour, 48 * time.Hour}, l)
	again, err := ParseLevels(l.String())
	require.NoError(t, err)
	require.Equal(t, l, again)
}

func TestParseLevelsNamesTheBadPart(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "is empty",
		"   ":                       "is empty",
		"1s 5x":                     `level 2, "5x": the last character must be a unit`,
		"1s 5":                      `level 2, "5"`,
		"s":                         `level 1, "s": before the unit`,
		"-1s":                       `level 1, "-1s": before the unit`,
		"1.5h":                      `level 1, "1.5h": before the unit`,
		"1s 200000d":                `level 2, "200000d": is longer`,
		"99999999999999999999s":     `level 1, "99999999999999999999s"`,
		strings.Repeat("1s ", 1001): "1001 levels",
	} {
		_, err := ParseLevels(text)
		require.ErrorContains(t, err, want, "%.40q", text)
	}
}

func FuzzParseLevels(f *testing.F) {
	for _, s := range []string{DefaultLevels, "", "1s 5x", "9223372036s", "007m", "１s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLevels(text)
		if err != nil {
			return
		}
		again, err := ParseLevels(l.String())
		require.NoError(t, err)
		require.Equal(t, l, again)
	})
}
