package main

import (
	"errors"
	"fmt"
	"strings"
)

// command is one simple command and the operator before it.
type command struct {
	after string // "", ";", "&&" or "||"
	words []string
}

// parse cuts a text into commands and expands variables. It knows what a start
// line needs; everything else a shell has is refused by name.
func parse(text string, env func(string) string) ([]command, error) {
	p := parser{text: text, env: env, cur: command{after: ""}}
	for p.at < len(p.text) {
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	p.endWord()
	if len(p.cur.words) > 0 {
		p.out = append(p.out, p.cur)
	} else if p.cur.after == "&&" || p.cur.after == "||" {
		return nil, fmt.Errorf("nothing follows %s", p.cur.after)
	}
	return p.out, nil
}

type parser struct {
	text string
	at   int
	env  func(string) string
	out  []command
	cur  command
	word strings.Builder
	open bool // a word has begun, even if it is empty ("")
}

func (p *parser) next() error {
	c := p.text[p.at]
	p.at++
	switch c {
	case ' ', '\t', '\r':
		p.endWord()
	case '\n', ';':
		return p.operator(";")
	case '&', '|':
		if p.at < len(p.text) && p.text[p.at] == c {
			p.at++
			return p.operator(string(c) + string(c))
		}
		return notAShell(string(c), "start one container per server; its log is `docker logs`")
	case '<', '>', '`', '(', ')', '*', '?', '[':
		return notAShell(string(c), "a server's output is in `docker logs`")
	case '#':
		if !p.open {
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
			return nil
		}
		p.add(c)
	case '\\':
		if p.at < len(p.text) {
			if p.text[p.at] != '\n' {
				p.add(p.text[p.at])
			}
			p.at++
		}
	case '\'':
		end := strings.IndexByte(p.text[p.at:], '\'')
		if end < 0 {
			return errors.New("a ' is not closed")
		}
		p.open = true
		p.word.WriteString(p.text[p.at : p.at+end])
		p.at += end + 1
	case '"':
		return p.quoted()
	case '$':
		return p.variable()
	default:
		p.add(c)
	}
	return nil
}

// quoted reads up to the closing double quote.
func (p *parser) quoted() error {
	p.open = true
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '"':
			return nil
		case c == '$':
			if err := p.variable(); err != nil {
				return err
			}
		case c == '\\' && p.at < len(p.text) && strings.IndexByte("\"\\$`", p.text[p.at]) >= 0:
			p.add(p.text[p.at])
			p.at++
		default:
			p.add(c)
		}
	}
	return errors.New(`a " is not closed`)
}

// variable expands $NAME, ${NAME} and ${NAME:-default}. The value is one word,
// whatever blanks it has: addresses and paths have none.
func (p *parser) variable() error {
	rest := p.text[p.at:]
	if strings.HasPrefix(rest, "{") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return errors.New("a ${ is not closed")
		}
		name, absent, _ := strings.Cut(rest[1:end], ":-")
		if nameLen(name) != len(name) || name == "" {
			return notAShell("${"+rest[1:end]+"}", "it knows ${NAME} and ${NAME:-default}")
		}
		p.at += end + 1
		p.expand(name, absent)
		return nil
	}
	n := nameLen(rest)
	if n == 0 {
		return notAShell("$"+rest[:min(1, len(rest))], "it knows $NAME")
	}
	p.at += n
	p.expand(rest[:n], "")
	return nil
}

func (p *parser) expand(name, absent string) {
	v := p.env(name)
	if v == "" {
		v = absent
	}
	if v != "" {
		p.open = true
	}
	p.word.WriteString(v)
}

// nameLen is the length of the variable name that s begins with.
func nameLen(s string) int {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

func (p *parser) add(c byte) {
	p.open = true
	p.word.WriteByte(c)
}

func (p *parser) endWord() {
	if p.open {
		p.cur.words = append(p.cur.words, p.word.String())
	}
	p.word.Reset()
	p.open = false
}

func (p *parser) operator(op string) error {
	p.endWord()
	if len(p.cur.words) == 0 {
		if op == ";" && (p.cur.after == "" || p.cur.after == ";") {
			return nil
		}
		return fmt.Errorf("nothing stands before %s", op)
	}
	p.out = append(p.out, p.cur)
	p.cur = command{after: op}
	return nil
}

func notAShell(what, remedy string) error {
	return fmt.Errorf("%s is not understood: this is no shell; %s", what, remedy)
}
