package protocol

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryCodeHasItsName reads codes.go, where each constant is followed by
// RocketMQ's name.
func TestEveryCodeHasItsName(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Comment == nil || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		value, err := strconv.ParseInt(lit.Value, 10, 32)
		require.NoError(t, err)
		word, _, _ := strings.Cut(strings.TrimSpace(spec.Comment.Text()), ",")
		word, _, _ = strings.Cut(word, ";")
		word, _, _ = strings.Cut(word, " ")
		want := strings.ToLower(word)
		switch name := spec.Names[0].Name; {
		case strings.HasPrefix(name, "Code"):
			require.Equal(t, want, CodeName(int32(value)), name)
			found++
		case strings.HasPrefix(name, "Status"):
			require.Equal(t, want, StatusName(int32(value)), name)
			found++
		}
		return true
	})
	require.Greater(t, found, 120)
	require.Equal(t, "unknown", CodeName(123456))
	require.Equal(t, "unknown", StatusName(-1))
}
