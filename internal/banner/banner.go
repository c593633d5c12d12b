package banner

import (
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/term"
)

// Fact is one line.
type Fact struct {
	// Name is the line's first word, Text what a terminal shows behind it.
	Name, Text string
	// Pairs are the same for a log: key, value, key, value.
	Pairs []any
	// Warning marks a text of the catalogue, which a log gets whole.
	Warning bool
}

// Print tells the facts. A closed output is no reason not to serve.
func Print(w io.Writer, log hclog.Logger, facts []Fact) {
	print(w, log, facts, terminal(w))
}

func print(w io.Writer, log hclog.Logger, facts []Fact, person bool) {
	for _, f := range facts {
		switch {
		case person:
			_, _ = fmt.Fprintf(w, "%-9s %s\n", f.Name, f.Text)
		case f.Warning:
			log.Warn(f.Text)
		default:
			log.Info(f.Name, f.Pairs...)
		}
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
