package drill

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"
)

//go:embed report.html
var reportHTML string

// reportPage needs nothing but itself: no script, no font, no picture from
// elsewhere.
var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"svg":    timelineSVG,
	"word":   verdictWord,
	"lower":  strings.ToLower,
	"reason": func(t Trial) string { return or(t.Reason, "every promise was kept") },
}).Parse(reportHTML))

// WriteHTML writes the report as a page.
func WriteHTML(w io.Writer, r *Report) error { return reportPage.Execute(w, r) }

// WriteHTMLFile writes the report's page into a file.
func WriteHTMLFile(name string, r *Report) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := WriteHTML(f, r); err != nil {
		_ = f.Close()
		return fmt.Errorf("write the report: %w", err)
	}
	return f.Close()
}

// Measures of a timeline, in pixels.
const (
	svgWidth   = 1000
	svgLabel   = 60  // for a row's name
	svgRow     = 70  // height of one client's row
	svgEvent   = 14  // height of one event's text
	svgEvents  = 400 // room that an event's text may need to its right
	svgPadding = 4
)

// timelineSVG draws a bar of acknowledgements per bucket for each client, and a
// line and a text for each event.
func timelineSVG(t Timeline) template.HTML {
	columns := 1
	for _, row := range t.Acks {
		columns = max(columns, len(row.Counts))
	}
	for _, e := range t.Events {
		columns = max(columns, int(e.AtMs/max(t.BucketMs, 1))+1)
	}
	scale := float64(svgWidth-svgLabel) / float64(columns)
	x := func(column float64) float64 { return svgLabel + column*scale }
	top := len(t.Events)*svgEvent + svgPadding
	height := top + len(t.Acks)*svgRow + svgEvent
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="acknowledgements per %d ms">`, svgWidth, height, t.BucketMs)
	for i, row := range t.Acks {
		drawRow(&b, row, top+i*svgRow, x, scale)
	}
	for i, e := range t.Events {
		at, y := x(float64(e.AtMs)/float64(max(t.BucketMs, 1))), (i+1)*svgEvent-svgPadding
		fmt.Fprintf(&b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, template.HTMLEscapeString(e.Kind), at, at, y, height-svgEvent)
		anchor, shift := "start", 3.0
		if at > svgWidth-svgEvents {
			anchor, shift = "end", -3
		}
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%d" text-anchor="%s">%.1f s %s</text>`,
			template.HTMLEscapeString(e.Kind), at+shift, y, anchor, float64(e.AtMs)/1000, template.HTMLEscapeString(e.What))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">0 s</text><text x="%d" y="%d" text-anchor="end">%.1f s</text></svg>`,
		svgLabel, height-2, svgWidth, height-2, float64(int64(columns)*t.BucketMs)/1000)
	return template.HTML(b.String()) // made of numbers and escaped text only
}

func drawRow(b *strings.Builder, row TimelineRow, top int, x func(float64) float64, scale float64) {
	most := 1
	for _, n := range row.Counts {
		most = max(most, n)
	}
	base := float64(top + svgRow - svgPadding)
	fmt.Fprintf(b, `<text x="0" y="%.0f">%s</text><text x="0" y="%.0f" class="small">max %d</text>`, base-svgEvent, template.HTMLEscapeString(row.Client), base, most)
	for i, n := range row.Counts {
		if n == 0 {
			continue
		}
		h := float64(n) / float64(most) * (svgRow - 3*svgPadding)
		fmt.Fprintf(b, `<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f"/>`, x(float64(i)), base-h, max(scale-0.3, 0.5), h)
	}
	fmt.Fprintf(b, `<line class="axis" x1="%d" x2="%d" y1="%.0f" y2="%.0f"/>`, svgLabel, svgWidth, base, base)
}
