package config

import "strings"

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
		if d := distance(strings.ToLower(key), strings.ToLower(f.Key)); d < bestAt {
			best, bestAt = f.Key, d
		}
	}
	return best
}

// distance counts the single-byte insertions, deletions and replacements that
// turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
