package main

import (
	"bufio"
	"fmt"
	"io"
)

// printer writes the lines of RocketMQ's tools, which scripts cut at fixed
// columns. Its first error is the one that counts.
type printer struct {
	w   *bufio.Writer
	err error
}

func newPrinter(w io.Writer) *printer { return &printer{w: bufio.NewWriter(w)} }

// printf writes as fmt.Printf does.
func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// print writes text as it is.
func (p *printer) print(text string) {
	if p.err == nil {
		_, p.err = p.w.WriteString(text)
	}
}

// flush hands what was written to the output and returns the first error.
func (p *printer) flush() error {
	if err := p.w.Flush(); p.err == nil {
		p.err = err
	}
	return p.err
}

// columns is one line of a table as a format of package fmt, all cells with the
// verb v, so that it prints the headings as well as the rows. A precision
// (%-32.32v) cuts a name where RocketMQ does.
type columns string

// row prints one line of the table.
func (p *printer) row(c columns, cells ...any) { p.printf(string(c)+"\n", cells...) }
