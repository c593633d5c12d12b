package config

import (
	"strings"

	"github.com/cometmq/cometmq/internal/explain"
)

// Nearest returns the word closest to a misspelt one, or "" when none is close
// enough to be what was meant: at most a third of its letters differ. Letter
// case is no difference: flushDisktype is the commonest way to miss
// flushDiskType.
func Nearest(misspelt string, words []string) string {
	if len(misspelt) > 128 {
		return ""
	}
	best, bestAt := "", len(misspelt)/3+1
	for _, w := range words {
		if d := explain.Distance(strings.ToLower(misspelt), strings.ToLower(w)); d < bestAt {
			best, bestAt = w, d
		}
	}
	return best
}

// nearest returns the known key that a misspelt one was probably meant to be.
func (s *Set[T]) nearest(key string) string {
	keys := make([]string, len(s.fields))
	for i, f := range s.fields {
		keys[i] = f.Key
	}
	return Nearest(key, keys)
}
