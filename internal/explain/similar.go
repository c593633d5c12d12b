package explain

import (
	"slices"
	"strings"
)

// similarMax is how many names a text suggests.
const similarMax = 3

// Similar returns the candidates that somebody may have meant by a name, the
// nearest first: at most a third of the letters differ, or one holds the other.
func Similar(name string, candidates []string) []string {
	type scored struct {
		name string
		far  int
	}
	var near []scored
	lower := strings.ToLower(name)
	for _, c := range slices.Compact(slices.Sorted(slices.Values(candidates))) {
		other := strings.ToLower(c)
		if c == name || len(name) > 255 || len(c) > 255 {
			continue
		}
		far := Distance(lower, other)
		holds := len(name) >= 3 && len(c) >= 3 && (strings.Contains(other, lower) || strings.Contains(lower, other))
		if far <= len(name)/3 || holds {
			near = append(near, scored{c, far})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int { return a.far - b.far })
	var out []string
	for _, s := range near[:min(len(near), similarMax)] {
		out = append(out, s.name)
	}
	return out
}

// Distance counts the single-byte insertions, deletions and replacements that
// turn a into b.
func Distance(a, b string) int {
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
