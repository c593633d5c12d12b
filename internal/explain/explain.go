package explain

import (
	"errors"
	"strings"
)

// Problem is one entry of the catalogue.
type Problem struct {
	// Code is for searching and for programs: CMQ- and four digits.
	Code string
	// Title names the problem in docs/errors.md; its anchor follows from it.
	Title string
	// Said tells who says it: programs, or the remark of an answer.
	Said string
	// Exit is the code with which a program ends because of it, 0 when none does.
	Exit int
	// Text is what is said, with {names} for the facts.
	Text string
	// Why and Do are what docs/errors.md has beyond the text.
	Why, Do string
}

// Anchor is the problem's place in docs/errors.md.
func (p *Problem) Anchor() string { return strings.ToLower(p.Code) }

// fill puts facts into the text: name, value, name, value.
func (p *Problem) fill(facts ...string) string {
	for i := 0; i+1 < len(facts); i += 2 {
		facts[i] = "{" + facts[i] + "}"
	}
	return strings.NewReplacer(facts...).Replace(p.Text) + " (" + p.Code + ")"
}

// err makes an error of the problem; cause may be nil.
func (p *Problem) err(cause error, facts ...string) error {
	return &Error{Problem: p, text: p.fill(facts...), cause: cause}
}

// Error is a problem that happened.
type Error struct {
	Problem *Problem
	text    string
	cause   error
}

// Error is the whole text with the code.
func (e *Error) Error() string { return e.text }

// Unwrap gives the cause, whose words the text has where they help.
func (e *Error) Unwrap() error { return e.cause }

// Of returns the problem an error is about, nil when it is none of ours.
func Of(err error) *Problem {
	var e *Error
	if errors.As(err, &e) {
		return e.Problem
	}
	return nil
}

// ExitCode returns the code with which a program ends because of an error, or
// otherwise when the catalogue has none for it.
func ExitCode(err error, otherwise int) int {
	if p := Of(err); p != nil && p.Exit != 0 {
		return p.Exit
	}
	return otherwise
}
