package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
)

// profile is a cluster under a name of the user's own.
type profile struct {
	Namesrv string `json:"namesrv"`
	Prod    bool   `json:"prod,omitempty"` // ask before anything is destroyed
}

// profiles is the file that keeps them.
type profiles struct {
	Current  string             `json:"current,omitempty"`
	Profiles map[string]profile `json:"profiles"`
}

// profilesMax bounds the file.
const profilesMax = 1 << 20

// profileFile is in the user's configuration directory.
func profileFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for profiles: %w", err)
	}
	return filepath.Join(dir, "cometmq", "profiles.json"), nil
}

// readProfiles returns the profiles; none is no error.
func readProfiles() (*profiles, error) {
	p := &profiles{Profiles: map[string]profile{}}
	file, err := profileFile()
	if err != nil {
		return p, nil // a container without a home has none
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil && info.Size() > profilesMax {
		return nil, fmt.Errorf("%s is larger than %d bytes and no file of profiles", file, profilesMax)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read profiles: %s: %w; correct or remove it", file, err)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]profile{}
	}
	return p, nil
}

// save replaces the file as a whole.
func (p *profiles) save() error {
	file, err := profileFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keep profiles: %w", err)
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep profiles: %w", err)
	}
	return os.Rename(file+".new", file)
}

// get returns a profile by name.
func (p *profiles) get(name string) (profile, error) {
	if found, ok := p.Profiles[name]; ok {
		return found, nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(p.Profiles)), ", ")
	if known == "" {
		known = "there is none yet"
	}
	return profile{}, fmt.Errorf("no profile is named %s (%s); make it: mqadmin profile add %s --namesrv HOST:9876", name, known, name)
}

func profileCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "profile", Short: "Names for clusters, so that -n need not be typed"}
	cmd.AddCommand(profileLsCommand(o), profileAddCommand(), profileUseCommand(), profileRmCommand())
	return cmd
}

// profileRow is one line of `profile ls`.
type profileRow struct {
	Name    string `json:"name"`
	Namesrv string `json:"namesrv"`
	Prod    bool   `json:"prod"`
	Current bool   `json:"current"`
}

func (r profileRow) rowName() string { return r.Name }

func profileLsCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List profiles", Args: cobra.NoArgs}
	outputFlag(cmd, &output, formatName)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := readProfiles()
		if err != nil {
			return err
		}
		var rows []profileRow
		for _, name := range slices.Sorted(maps.Keys(p.Profiles)) {
			rows = append(rows, profileRow{name, p.Profiles[name].Namesrv, p.Profiles[name].Prod, name == p.Current})
		}
		return printRows(cmd.OutOrStdout(), output, rows, []string{"", "NAME", "NAME SERVERS", "PROD"}, func(r profileRow) []string {
			mark := ""
			if r.Current {
				mark = "*"
			}
			return []string{mark, r.Name, r.Namesrv, yesNo(r.Prod)}
		})
	}
	return cmd
}

func profileAddCommand() *cobra.Command {
	var added profile
	cmd := &cobra.Command{
		Use: "add NAME --namesrv HOST:PORT[;HOST:PORT]", Short: "Add a profile, or change it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(admin.ParseNameServers(added.Namesrv)) == 0 {
				return errors.New("--namesrv is empty: give HOST:PORT, several separated by ;")
			}
			p, err := readProfiles()
			if err != nil {
				return err
			}
			p.Profiles[args[0]] = added
			if err := p.save(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "profile %s: %s; use it: mqadmin profile use %s\n", args[0], added.Namesrv, args[0])
			return err
		},
	}
	cmd.Flags().StringVar(&added.Namesrv, "namesrv", "", "its name servers")
	cmd.Flags().BoolVar(&added.Prod, "prod", false, "what destroys something has to be confirmed by typing its name")
	must(cmd.MarkFlagRequired("namesrv"))
	return cmd
}

// completeProfiles completes the names of profiles.
func completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	p, err := readProfiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(p.Profiles)), cobra.ShellCompDirectiveNoFileComp
}

func profileUseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Make a profile the default; - for none", Args: cobra.ExactArgs(1), ValidArgsFunction: completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := readProfiles()
			if err != nil {
				return err
			}
			text := "no profile is in use\n"
			p.Current = ""
			if args[0] != "-" {
				found, err := p.get(args[0])
				if err != nil {
					return err
				}
				p.Current, text = args[0], fmt.Sprintf("using %s: %s\n", args[0], found.Namesrv)
			}
			if err := p.save(); err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func profileRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"delete"}, Short: "Remove a profile", Args: cobra.ExactArgs(1), ValidArgsFunction: completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := readProfiles()
			if err != nil {
				return err
			}
			if _, err := p.get(args[0]); err != nil {
				return err
			}
			delete(p.Profiles, args[0])
			if p.Current == args[0] {
				p.Current = ""
			}
			return p.save()
		},
	}
}

// yesFlag adds --yes to a command that destroys something.
func yesFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "yes", false, "do not ask, also where the profile says prod")
}

// confirm asks for the name of what is about to be destroyed when the profile in
// force says prod; where nobody can be asked, --yes is needed.
func (o *options) confirm(cmd *cobra.Command, yes bool, what, name string) error {
	s := o.source()
	if yes || !s.prod {
		return nil
	}
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !isTerminal(in) {
		return fmt.Errorf("profile %s says prod: to %s %s here, add --yes", s.profile, what, name)
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "%s: about to %s %s. Type %s to confirm: ", paint(w, red, "profile "+s.profile), what, name, name)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if strings.TrimSpace(line) != name {
		return errors.Join(fmt.Errorf("not confirmed: nothing was done"), err)
	}
	return nil
}
