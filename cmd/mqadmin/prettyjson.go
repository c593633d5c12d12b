package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// prettyJSON lays compact JSON out as RocketMQ's tools do, which scripts search
// by line: tabs, no blank after a colon, and keys that are no strings (broker
// ids) all on one line.
func prettyJSON(text []byte) string {
	var out strings.Builder
	depth := 0
	line := func() { out.WriteString("\n" + strings.Repeat("\t", depth)) }
	var lists []bool // for each open bracket: whether its elements have lines of their own
	for i := 0; i < len(text); i++ {
		ch := text[i]
		next := byte(0)
		if i+1 < len(text) {
			next = text[i+1]
		}
		switch ch {
		case '{', '[':
			out.WriteByte(ch)
			if next == ch+2 { // {} and []
				out.WriteByte(next)
				i++
				continue
			}
			depth++
			lists = append(lists, ch == '{' && next == '"' || ch == '[' && next == '{')
			if lists[len(lists)-1] {
				line()
			}
		case '}', ']':
			depth--
			if lists[len(lists)-1] || ch == '}' {
				line()
			}
			lists = lists[:len(lists)-1]
			out.WriteByte(ch)
		case ',':
			out.WriteByte(ch)
			if lists[len(lists)-1] {
				line()
			}
		case '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			out.Write(text[i:end])
			i = end - 1
		default:
			out.WriteByte(ch)
		}
	}
	return out.String()
}

// compactJSON is doc as one line; characters like < are left as they are.
func compactJSON(doc any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}
