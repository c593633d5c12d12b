package deploy

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var (
	metricName = regexp.MustCompile(`\b(rocketmq|rmq|cometmq|go|process)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`\b([a-z][a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
	quotedText = regexp.MustCompile(`"[^"]*"`)
)

// checkExpr finds unknown metrics, labels that they do not have, and brackets that
// do not match.
func checkExpr(t *testing.T, where, expr string) {
	t.Helper()
	require.NotEmpty(t, strings.TrimSpace(expr), where)
	known, labels := knownMetrics(), slices.Clone(commonLabels)
	bare := quotedText.ReplaceAllString(expr, `""`)
	for _, name := range metricName.FindAllString(bare, -1) {
		_, ok := known[name]
		require.True(t, ok, "%s: no such metric: %s", where, name)
		labels = append(labels, known[name]...)
	}
	for _, s := range selector.FindAllStringSubmatch(bare, -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			require.Contains(t, append(slices.Clone(commonLabels), known[s[1]]...), m[1], "%s: a label that %s does not have", where, s[1])
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(bare, -1) {
		for _, l := range strings.Split(g[1], ",") {
			require.Contains(t, labels, strings.TrimSpace(l), "%s: grouped by a label that nothing here has", where)
		}
	}
	var open []rune
	quoted := false
	for _, c := range expr {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.ContainsRune("([{", c):
			open = append(open, c)
		case strings.ContainsRune(")]}", c):
			require.NotEmpty(t, open, "%s: %s", where, expr)
			require.Contains(t, []string{"()", "[]", "{}"}, string([]rune{open[len(open)-1], c}), "%s: %s", where, expr)
			open = open[:len(open)-1]
		}
	}
	require.Empty(t, open, "%s: %s", where, expr)
	require.False(t, quoted, "%s: %s", where, expr)
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("grafana/cometmq.json")
	require.NoError(t, err)
	var board struct {
		UID, Title string
		Panels     []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ H, W, X, Y int }
			Targets                  []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	require.NoError(t, json.Unmarshal(text, &board))
	require.Equal(t, "cometmq", board.UID)
	variables := map[string]bool{"__rate_interval": true, "__all": true}
	for _, v := range board.Templating.List {
		variables[v.Name] = true
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		require.False(t, ids[p.ID], "panel id %d is there twice", p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[at], "%s lies over %s", p.Title, taken[at])
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		require.NotEmpty(t, p.Description, "%s: say what it shows and what to make of it", p.Title)
		for _, target := range p.Targets {
			checkExpr(t, p.Title, target.Expr)
			for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				require.True(t, variables[v[1]], "%s: no variable %s", p.Title, v[1])
			}
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			checkExpr(t, v.Name, v.Definition)
		}
	}
	for _, a := range board.Annotations.List {
		checkExpr(t, "annotation", a.Expr)
	}
}

func TestAlertRules(t *testing.T) {
	text, err := os.ReadFile("prometheus/alerts.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&file))
	names := map[string]bool{}
	for _, g := range file.Groups {
		require.NotEmpty(t, g.Rules, g.Name)
		for _, r := range g.Rules {
			require.Regexp(t, `^[A-Z][A-Za-z]+$`, r.Alert)
			require.False(t, names[r.Alert], "%s is there twice", r.Alert)
			names[r.Alert] = true
			checkExpr(t, r.Alert, r.Expr)
			require.Contains(t, []string{"info", "warning", "critical"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["description"], "%s: say what to do", r.Alert)
			if r.For != "" {
				_, err := time.ParseDuration(r.For)
				require.NoError(t, err, r.Alert)
			}
		}
	}
}

// TestProvisioning keeps the monitoring profile's files where the compose file
// mounts them.
func TestProvisioning(t *testing.T) {
	for _, path := range []string{"prometheus/prometheus.yml", "docker/grafana/datasources/prometheus.yml", "docker/grafana/dashboards/cometmq.yml"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var any map[string]any
		require.NoError(t, yaml.Unmarshal(text, &any), path)
		require.NotEmpty(t, any, path)
	}
	c := readCompose(t)
	text, err := os.ReadFile("prometheus/prometheus.yml")
	require.NoError(t, err)
	for name, s := range c.Services {
		if len(s.Command) > 0 && s.Command[0] == "mqbroker" {
			require.Contains(t, string(text), name, "a broker that nobody scrapes")
		}
	}
	for _, s := range []string{"prometheus", "grafana"} {
		for _, v := range c.Services[s].Volumes {
			if from, _, _ := strings.Cut(v, ":"); strings.HasPrefix(from, ".") {
				_, err := os.Stat("../" + from)
				require.NoError(t, err, v)
			}
		}
	}
}
