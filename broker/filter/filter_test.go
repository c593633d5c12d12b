package filter

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func props(kv ...string) []byte {
	var b []byte
	for i := 0; i < len(kv); i += 2 {
		b = append(b, kv[i]+"\x01"+kv[i+1]+"\x02"...)
	}
	return b
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		expr string
		kv   []string
		want bool
	}{
		{"a = 'x'", []string{"a", "x"}, true},
		{"a <> 'x'", []string{"a", "y"}, true},
		{"a <> 'x'", nil, false},
		{"a = 5", []string{"a", "5"}, true},
		{"5 = a", []string{"a", "5"}, true},
		{"a = 3", []string{"a", "3.5"}, false},
		{"a > 3", []string{"a", "3.5"}, false}, // no int32
		{"a > 3.0", []string{"a", "3.5"}, true},
		{"a = 3000000000", []string{"a", "3000000000"}, true},
		{"a > 3", []string{"a", "3000000000"}, false},
		{"a > b", []string{"a", "10", "b", "9"}, true},
		{"a = b", []string{"a", "1.0", "b", "1"}, false},
		{"a BETWEEN 1 AND 10", []string{"a", "10"}, true},
		{"a NOT BETWEEN 1 AND 10", []string{"a", "11"}, true},
		{"a NOT BETWEEN 1 AND 10", nil, false},
		{"a IN ('x', 'y')", []string{"a", "y"}, true},
		{"a NOT IN ('x', 'y')", []string{"a", "z"}, true},
		{"a NOT IN ('x', 'y')", nil, false},
		{"a IS NULL", nil, true},
		{"a IS NOT NULL", []string{"a", "1"}, true},
		{"a is null or b = 'it''s'", []string{"a", "1", "b", "it's"}, true},
		{"NOT (a = 'x')", []string{"a", "y"}, true},
		{"NOT (a = 'x')", nil, false},
		{"NOT a = 'x'", []string{"a", "y"}, true},
		{"a = 'x' OR b = 'y' AND c = 'z'", []string{"a", "x"}, true},
		{"(a = 'x' OR b = 'y') AND c = 'z'", []string{"a", "x"}, false},
		{"a CONTAINS 'el'", []string{"a", "hello"}, true},
		{"a STARTSWITH 'he' AND a ENDSWITH 'lo'", []string{"a", "hello"}, true},
		{"a NOT CONTAINS 'x'", []string{"a", "hello"}, true},
		{"a", []string{"a", "true"}, false},
		{"a = TRUE", []string{"a", "TrUe"}, true},
		{"TRUE", nil, true},
		{"a > -5", []string{"a", "-4"}, true},
		{"a = -2147483648", []string{"a", "-2147483648"}, true},
		{"a = -9223372036854775808", []string{"a", "-9223372036854775808"}, true},
		{"a /* why */ = 'x' -- end", []string{"a", "x"}, true},
		{"A = 'x'", []string{"a", "x"}, false},
		{"a = 'x'", []string{"a", "y", "a", "x"}, true}, // the last of two equal keys wins
	} {
		e, err := Compile(c.expr)
		require.NoError(t, err, c.expr)
		require.Equal(t, c.want, e.Match(props(c.kv...)), "%s over %q", c.expr, c.kv)
	}
}

func TestSyntaxErrorsNameThePosition(t *testing.T) {
	for expr, pos := range map[string]int{
		"": 0, "a =": 3, "a = 'x": 4, "a == 1": 3, "(a = 1": 6, "a BETWEEN 5 AND 1": 2, "a > 'x'": 2, "a = NULL": 2,
		"a IN (1)": 6, "'x' IN ('x')": 4, "a = 99999999999999999999": 4, "a = 1 b": 6, "a LIKE 'x'": 2, "a = #": 4,
		"/* a = 1": 0, "a IS 5": 5, "AND": 0, "a CONTAINS 5": 11, "-'x' = 1": 0,
	} {
		_, err := Compile(expr)
		var se *SyntaxError
		require.ErrorAs(t, err, &se, expr)
		require.Equal(t, pos, se.Pos, "%s: %v", expr, err)
	}
	_, err := Compile(strings.Repeat("(", 100000))
	require.Error(t, err)
	_, err = Compile(strings.Repeat("NOT ", 4000) + "a = 1")
	require.ErrorContains(t, err, "nested deeper")
	_, err = Compile(strings.Repeat("- ", 4000) + "1 = 1")
	require.ErrorContains(t, err, "nested deeper")
}

// The oracle below evaluates a random tree directly, over a map, with pointers for three-valued truth: it shares neither
// the parser nor the evaluator with the package.

type tree struct {
	text string
	// truth is nil for NULL; fail means the evaluation ends with "not delivered".
	truth func(m map[string]string) (truth *bool, fail bool)
}

func ptr(b bool) *bool { return &b }

func leaf(t *rapid.T) tree {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d_1", "$e"}).Draw(t, "name")
	switch rapid.IntRange(0, 5).Draw(t, "leaf") {
	case 0:
		lit := rapid.SampledFrom([]string{"x", "it's", "", "5", "héllo"}).Draw(t, "text")
		negated := rapid.Bool().Draw(t, "negated")
		op := map[bool]string{false: "=", true: "<>"}[negated]
		return tree{fmt.Sprintf("%s %s '%s'", name, op, strings.ReplaceAll(lit, "'", "''")), func(m map[string]string) (*bool, bool) {
			v, ok := m[name]
			if !ok {
				return nil, false
			}
			return ptr((v == lit) != negated), false
		}}
	case 1:
		return tree{name + " IS NULL", func(m map[string]string) (*bool, bool) { _, ok := m[name]; return ptr(!ok), false }}
	case 2:
		n := rapid.IntRange(-10, 10).Draw(t, "int")
		op := rapid.SampledFrom([]string{">", ">=", "<", "<=", "="}).Draw(t, "op")
		return tree{fmt.Sprintf("%s %s %d", name, op, n), func(m map[string]string) (*bool, bool) {
			v, ok := m[name]
			if !ok {
				return nil, false
			}
			i, err := strconv.ParseInt(v, 10, 32)
			if err != nil {
				return nil, true
			}
			x := int(i)
			return ptr(map[string]bool{">": x > n, ">=": x >= n, "<": x < n, "<=": x <= n, "=": x == n}[op]), false
		}}
	case 3:
		lo := rapid.Float64Range(-5, 5).Draw(t, "low")
		hi := lo + rapid.Float64Range(0, 5).Draw(t, "span")
		f := func(x float64) string {
			s := strconv.FormatFloat(x, 'f', -1, 64)
			if !strings.Contains(s, ".") {
				s += ".0"
			}
			return s
		}
		return tree{fmt.Sprintf("%s BETWEEN %s AND %s", name, f(lo), f(hi)), func(m map[string]string) (*bool, bool) {
			v, ok := m[name]
			if !ok {
				return nil, false
			}
			x, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return nil, true
			}
			return ptr(x >= lo && x <= hi), false
		}}
	case 4:
		return tree{name + " IN ('x', '5', '-3')", func(m map[string]string) (*bool, bool) {
			v, ok := m[name]
			if !ok {
				return nil, false
			}
			return ptr(v == "x" || v == "5" || v == "-3"), false
		}}
	default:
		op := rapid.SampledFrom([]string{"CONTAINS", "STARTSWITH", "ENDSWITH"}).Draw(t, "op")
		return tree{fmt.Sprintf("%s %s 'l'", name, op), func(m map[string]string) (*bool, bool) {
			v, ok := m[name]
			if !ok {
				return nil, false
			}
			return ptr(map[string]bool{"CONTAINS": strings.Contains(v, "l"), "STARTSWITH": strings.HasPrefix(v, "l"), "ENDSWITH": strings.HasSuffix(v, "l")}[op]), false
		}}
	}
}

func randomTree(t *rapid.T, depth int) tree {
	if depth == 0 {
		return leaf(t)
	}
	switch rapid.IntRange(0, 3).Draw(t, "op") {
	case 0:
		return leaf(t)
	case 1:
		x := randomTree(t, depth-1)
		return tree{"NOT (" + x.text + ")", func(m map[string]string) (*bool, bool) {
			v, fail := x.truth(m)
			if fail || v == nil {
				return nil, fail
			}
			return ptr(!*v), false
		}}
	default:
		l, r := randomTree(t, depth-1), randomTree(t, depth-1)
		and := rapid.Bool().Draw(t, "and")
		op := map[bool]string{true: "AND", false: "OR"}[and]
		return tree{"(" + l.text + ") " + op + " (" + r.text + ")", func(m map[string]string) (*bool, bool) {
			a, fail := l.truth(m)
			if fail || a != nil && *a != and {
				return a, fail
			}
			b, fail := r.truth(m)
			if fail || b != nil && *b != and {
				return b, fail
			}
			if a == nil || b == nil {
				return nil, false
			}
			return ptr(and), false
		}}
	}
}

func TestAgainstIndependentEvaluator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := randomTree(t, 4)
		e, err := Compile(x.text)
		if err != nil {
			t.Fatalf("%s: %v", x.text, err)
		}
		m := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d_1", "$e", "other"}),
			rapid.SampledFrom([]string{"x", "it's", "5", "-3", "2.5", "hello", "l", "99999999999", "1e1"})).Draw(t, "properties")
		var kv []string
		for k, v := range m {
			kv = append(kv, k, v)
		}
		v, fail := x.truth(m)
		want := !fail && v != nil && *v
		if got := e.Match(props(kv...)); got != want {
			t.Fatalf("%s over %q: got %v, want %v", x.text, m, got, want)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"a = 'x'", "a BETWEEN 1 AND 2 OR NOT (b IS NULL)", "a IN ('x','y')", "-a > 1.5e3", "/**/a=--\n1L"} {
		f.Add(s, []byte("a\x01x\x02b\x01y"))
	}
	f.Fuzz(func(t *testing.T, s string, p []byte) {
		e, err := Compile(s)
		if err != nil {
			return
		}
		before := bytes.Clone(p)
		e.Match(p)
		if !bytes.Equal(before, p) {
			t.Fatal("Match wrote to the properties")
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e, err := Compile("region = 'eu' AND price > 10 AND kind IN ('a','b') AND stock IS NOT NULL AND weight BETWEEN 1.0 AND 9.5")
	require.NoError(b, err)
	p := props("p0", "v0", "region", "eu", "p1", "v1", "price", "42", "kind", "b", "p2", "v2", "stock", "7", "p3", "v3", "weight", "3.25", "p4", "v4")
	require.True(b, e.Match(p))
	b.ReportAllocs()
	for b.Loop() {
		e.Match(p)
	}
}
