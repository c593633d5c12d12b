package config

import (
	"strings"

	"github.com/cometmq/cometmq/internal/explain"
)

// nearest returns the known key closest to a misspelt one, or "" when none is
// close enough to be what was meant: at most a third of its letters differ.
// Keys match exactly, as in RocketMQ, but letter case is no difference here:
// flushDisktype is the commonest way to miss flushDiskType.
func (s *Set[T]) nearest(key string) string {
	if len(key) > 128 {
		return ""
	}
	best, bestAt := "", len(key)/3+1
	for _, f := range s.fields {
		if d := explain.Distance(strings.ToLower(key), strings.ToLower(f.Key)); d < bestAt {
			best, bestAt = f.Key, d
		}
	}
	return best
}
