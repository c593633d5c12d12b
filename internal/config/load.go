package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/magiconair/properties"
)

// textBytesMax bounds a property file or an update sent over the network. The
// largest configuration RocketMQ can print is below 16 KiB.
const textBytesMax = 1 << 20

// ParseText reads Java property text: comments with # or !, "key=value",
// "key:value" or "key value", \ escapes and continued lines. The last of equal
// keys wins. ${...} is not expanded, as in Java.
func ParseText(text []byte) (map[string]string, error) {
	if len(text) > textBytesMax {
		return nil, fmt.Errorf("property text of %d bytes is larger than the limit of %d", len(text), textBytesMax)
	}
	l := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := l.LoadBytes(text)
	if err != nil {
		return nil, fmt.Errorf("parse property text: %w", err)
	}
	return p.Map(), nil
}

// LoadFile reads a property file. See Load for warnings and errors; they are
// prefixed with the file's name.
func (s *Set[T]) LoadFile(path string) (warnings []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	if info.IsDir() || info.Size() > textBytesMax {
		return nil, fmt.Errorf("configuration file %s is a directory or larger than %d bytes", path, textBytesMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	values, err := ParseText(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	warnings, err = s.Load(values, path)
	for i := range warnings {
		warnings[i] = path + ": " + warnings[i]
	}
	if err != nil {
		return warnings, fmt.Errorf("%s: %w", path, err)
	}
	return warnings, nil
}

// LoadEnv sets the keys that name an environment variable which is set and not
// empty. lookup is os.LookupEnv outside tests.
func (s *Set[T]) LoadEnv(lookup func(string) (string, bool)) error {
	values := map[string]string{}
	for _, f := range s.fields {
		if f.Env == "" {
			continue
		}
		if v, ok := lookup(f.Env); ok && v != "" {
			values[f.Key] = v
		}
	}
	if _, err := s.Load(values, "environment"); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	return nil
}

// IgnoredEnv returns the names of the set variables that steer a Java virtual
// machine in RocketMQ's images and mean nothing here, so that a server can say
// so in one line.
func IgnoredEnv(lookup func(string) (string, bool)) []string {
	var out []string
	for _, name := range []string{"JAVA_OPT_EXT", "JAVA_OPT", "JAVA_OPTS", "HEAP_OPTS", "MAX_POSSIBLE_HEAP", "RMQ_NUMA_NODE"} {
		if v, ok := lookup(name); ok && v != "" {
			out = append(out, name)
		}
	}
	return out
}

// JavaProperties returns the properties, -Dname=value, in the variables that steer
// a Java virtual machine: that is how RocketMQ's images are given some settings.
func JavaProperties(lookup func(string) (string, bool)) map[string]string {
	out := map[string]string{}
	for _, name := range IgnoredEnv(lookup) {
		text, _ := lookup(name)
		for _, word := range strings.Fields(text) {
			if def, ok := strings.CutPrefix(strings.Trim(word, `"'`), "-D"); ok {
				k, v, _ := strings.Cut(def, "=")
				out[k] = v
			}
		}
	}
	return out
}

// Text returns all keys as property text, sorted by key: the body of the
// requests that read a server's configuration.
func (s *Set[T]) Text() []byte {
	var b bytes.Buffer
	_ = s.Print(&b, false) // a buffer takes every write
	return b.Bytes()
}

// Print writes "key=value" lines sorted by key: all keys for -p, the important
// ones for -m. A comment says where the group's value hides this process's own.
func (s *Set[T]) Print(w io.Writer, importantOnly bool) error {
	keys := make([]string, 0, len(s.fields))
	for _, f := range s.fields {
		if f.Important || !importantOnly {
			keys = append(keys, f.Key)
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		value, _ := s.Value(key)
		if own, source, hidden := s.Own(key); hidden {
			if _, err := fmt.Fprintf(w, "# from %s; without, %s from %s\n", s.Source(key), escape(own), source); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s=%s\n", key, escape(value)); err != nil {
			return err
		}
	}
	return nil
}

// escape writes a value so that ParseText gives it back.
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value)
}

// EditText returns property text with the given keys set: a line that sets the
// key is replaced, missing keys are appended, comments and order stay. RocketMQ
// rewrites the whole file on an update and loses the operator's comments.
func EditText(text []byte, values map[string]string) []byte {
	left := make(map[string]string, len(values))
	for k, v := range values {
		left[k] = v
	}
	var out bytes.Buffer
	lines := strings.SplitAfter(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		logical := lines[i]
		for continues(logical) && i+1 < len(lines) {
			i++
			logical += lines[i]
		}
		key := lineKey(logical)
		if value, ok := values[key]; ok {
			if _, first := left[key]; first {
				fmt.Fprintf(&out, "%s=%s\n", key, escape(value))
				delete(left, key)
			}
			continue
		}
		out.WriteString(logical)
	}
	if b := out.Bytes(); len(b) > 0 && b[len(b)-1] != '\n' && len(left) > 0 {
		out.WriteByte('\n')
	}
	for _, key := range sortedKeys(left) {
		fmt.Fprintf(&out, "%s=%s\n", key, escape(left[key]))
	}
	return out.Bytes()
}

// continues reports whether a line ends in an odd number of backslashes.
// Comments never continue.
func continues(line string) bool {
	t := strings.TrimLeft(line, " \t\f")
	if strings.HasPrefix(t, "#") || strings.HasPrefix(t, "!") {
		return false
	}
	line = strings.TrimRight(line, "\r\n")
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// lineKey returns the key a logical line sets, "" for comments and blanks.
func lineKey(line string) string {
	line = strings.TrimLeft(line, " \t\f")
	if line == "" || line[0] == '#' || line[0] == '!' {
		return ""
	}
	if i := strings.IndexAny(line, "=: \t\r\n"); i >= 0 {
		return line[:i]
	}
	return line
}
