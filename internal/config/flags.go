package config

import (
	"fmt"
	"strings"
)

// Flags are the command line options of RocketMQ's servers.
type Flags struct {
	ConfigFile     string // -c, --configFile
	NamesrvAddr    string // -n, --namesrvAddr
	PrintAll       bool   // -p, --printConfigItem
	PrintImportant bool   // -m, --printImportantConfig
	Help           bool   // -h, --help
	// --log-format is in Values, as logFormat.
	Values     map[string]string // --set key=value, may be repeated
	Properties map[string]string // -Dname=value, as a Java virtual machine takes it
	Ignored    []string          // options that were accepted without effect
}

// FlagsUsage describes the options for a help text.
const FlagsUsage = `  -c, --configFile FILE          read settings from a properties file
  -n, --namesrvAddr HOST:PORT    name servers, separated by ;
  -p, --printConfigItem          print all settings and exit
  -m, --printImportantConfig     print the important settings and exit
      --log-format text|json     how the log looks (logFormat)
      --set KEY=VALUE            set one key (may be repeated)
  -h, --help                     print this text
`

// ParseFlags reads the arguments after the program's name. An option's value
// follows as the next argument or after "=". ignored names further options
// without a value, e.g. "--enable-proxy", that are accepted without effect.
func ParseFlags(args []string, ignored ...string) (Flags, error) {
	f := Flags{Values: map[string]string{}, Properties: map[string]string{}}
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		take := func() (string, error) {
			if inline {
				return value, nil
			}
			if i+1 >= len(args) {
				return "", fmt.Errorf("option %s needs a value", name)
			}
			i++
			return args[i], nil
		}
		var err error
		switch name {
		case "-c", "--configFile", "-configFile":
			f.ConfigFile, err = take()
		case "-n", "--namesrvAddr", "-namesrvAddr":
			f.NamesrvAddr, err = take()
		case "-p", "--printConfigItem", "-printConfigItem":
			f.PrintAll = true
		case "-m", "--printImportantConfig", "-printImportantConfig":
			f.PrintImportant = true
		case "-h", "--help", "-help":
			f.Help = true
		case "--log-format":
			var format string
			if format, err = take(); err == nil {
				f.Values["logFormat"] = format
			}
		case "--set":
			var kv string
			if kv, err = take(); err == nil {
				k, v, ok := strings.Cut(kv, "=")
				if !ok || k == "" {
					return f, fmt.Errorf("option --set expects key=value, not %q", kv)
				}
				f.Values[k] = v
			}
		default:
			if prop, ok := strings.CutPrefix(name, "-D"); ok && prop != "" {
				f.Properties[prop] = value
				continue
			}
			if !contains(ignored, name) {
				return f, fmt.Errorf("unknown option %s; known options:\n%s", args[i], FlagsUsage)
			}
			f.Ignored = append(f.Ignored, name)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
