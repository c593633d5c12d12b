package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/explain"
	"github.com/cometmq/cometmq/remoting/protocol"
)

// Verdicts of a check.
const (
	fine    = "ok"
	suspect = "warn"
	broken  = "fail"
)

// finding is one line of `doctor`.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"` // ok, warn or fail
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy,omitempty"`
}

func (f finding) rowName() string { return f.Check }

// Bounds of what a healthy cluster has.
const (
	skewMax      = time.Second
	diskSuspect  = 0.75
	diskBroken   = 0.90
	openFilesMin = 65536
)

func doctorCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is usually wrong, with a remedy each",
		Long: `Look for what is usually wrong: names and ports, addresses that brokers announce
and nobody can reach from here, leaders, members that disagree, clocks, disks,
versions, limits of this machine. Exit code 10 when something failed; a warning
alone is none.`,
		Args: cobra.NoArgs,
	}
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
		defer cancel()
		d := &doctor{}
		d.examine(ctx, o.source())
		w := cmd.OutOrStdout()
		err := printAs(w, output, d.findings, d.print)
		if err == nil && slices.ContainsFunc(d.findings, func(f finding) bool { return f.Verdict == broken }) {
			err = errUnhealthy
		}
		return err
	}
	return cmd
}

// doctor collects findings.
type doctor struct{ findings []finding }

func (d *doctor) say(check, verdict, detail, remedy string) {
	d.findings = append(d.findings, finding{check, verdict, detail, remedy})
}

func (d *doctor) print(w io.Writer) error {
	colours := map[string]string{fine: green, suspect: yellow, broken: red}
	for _, f := range d.findings {
		if _, err := fmt.Fprintf(w, "%s  %-16s %s\n", paint(w, colours[f.Verdict], fmt.Sprintf("%-4s", f.Verdict)), f.Check, f.Detail); err != nil {
			return err
		}
		if f.Remedy != "" {
			if _, err := fmt.Fprintf(w, "%23s→ %s\n", "", f.Remedy); err != nil {
				return err
			}
		}
	}
	return nil
}

// examine runs all checks that can be run.
func (d *doctor) examine(ctx context.Context, s source) {
	if s.err != nil {
		d.say("address", broken, s.err.Error(), "")
		return
	}
	d.say("address", fine, strings.Join(s.servers, ", ")+", from "+s.from, "")
	d.limits()
	members := map[string]target{} // by address
	for _, ns := range s.servers {
		for _, m := range d.nameServer(ctx, ns) {
			members[m.Addr] = m
		}
	}
	if len(members) == 0 {
		return
	}
	all := slices.SortedFunc(maps.Values(members), func(a, b target) int {
		return cmp.Or(strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
	})
	patients := d.callBack(ctx, all)
	d.leaders(all, patients)
	d.absent(ctx, patients)
	d.clocks(patients)
	d.disks(patients)
	d.versions(patients)
}

// nameServer checks one name server and returns the brokers it knows.
func (d *doctor) nameServer(ctx context.Context, addr string) []target {
	check := "name server"
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		d.say(check, broken, fmt.Sprintf("%q is no HOST:PORT", addr), "give it as HOST:9876")
		return nil
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		d.say(check, broken, addr+": "+explain.Reason(err), "correct the name, or add it to DNS or /etc/hosts")
		return nil
	}
	client, err := admin.New(admin.Config{NameServers: []string{addr}})
	if !d.ok(check, err) {
		return nil
	}
	defer client.Close()
	began := time.Now()
	targets, err := memberTargets(ctx, client, "")
	took := time.Since(began).Round(10 * time.Microsecond)
	if p := explain.Of(err); err != nil && p != nil {
		d.say(check, broken, err.Error(), "start mqnamesrv on "+host+", or open port "+port)
		return nil
	}
	if err != nil {
		d.say(check, fine, fmt.Sprintf("%s answers in %s", addr, took), "")
		d.say("brokers", broken, err.Error(), "start mqbroker -n "+addr+", and look at its log")
		return nil
	}
	d.say(check, fine, fmt.Sprintf("%s answers in %s and knows %d brokers", addr, took, len(targets)), "")
	return targets
}

func (d *doctor) ok(check string, err error) bool {
	if err != nil {
		d.say(check, broken, err.Error(), "")
	}
	return err == nil
}

// patient is a broker that answered.
type patient struct {
	target
	runtime map[string]string
	skew    time.Duration // its clock minus ours
	timed   bool
}

// callBack dials every announced address, as a client would from here.
func (d *doctor) callBack(ctx context.Context, all []target) []patient {
	client, err := admin.New(admin.Config{NameServers: []string{defaultNamesrv}})
	if !d.ok("dial-back", err) {
		return nil
	}
	defer client.Close()
	type answer struct {
		patient
		err error
	}
	answers, _ := askAll(ctx, all, func(ctx context.Context, t target) (answer, error) {
		began := time.Now()
		runtime, err := client.Runtime(ctx, t.Addr)
		a := answer{patient{target: t, runtime: runtime}, err}
		if ms, perr := strconv.ParseInt(runtime["currentTimeMillis"], 10, 64); perr == nil {
			now := time.Now()
			a.skew, a.timed = time.UnixMilli(ms).Sub(began.Add(now.Sub(began)/2)), true
		}
		return a, nil
	})
	var patients []patient
	for _, a := range answers {
		if a.err != nil {
			err := explain.BrokerUnreachable(a.err, "broker "+a.Broker, a.Addr)
			d.say("dial-back", broken, err.Error(), "on that broker: brokerIP1=ADDRESS (or advertisedListeners), one that answers from here")
			continue
		}
		patients = append(patients, a.patient)
	}
	if len(patients) == len(all) {
		d.say("dial-back", fine, fmt.Sprintf("all %d announced addresses answer from here", len(all)), "")
	}
	return patients
}

// leaders checks that each group has one leader and all of its members agree.
func (d *doctor) leaders(all []target, patients []patient) {
	byGroup := map[string][]patient{}
	for _, p := range patients {
		byGroup[p.Broker] = append(byGroup[p.Broker], p)
	}
	for _, name := range slices.Sorted(maps.Keys(byGroup)) {
		registered := slices.ContainsFunc(all, func(t target) bool { return t.Broker == name && t.ID == 0 })
		said := map[string][]string{} // leader to who says so
		ours := false
		for _, p := range byGroup[name] {
			if leader, ok := p.runtime[admin.RuntimeKeyLeader]; ok {
				ours = true
				said[leader] = append(said[leader], p.Addr)
			}
			if p.runtime[admin.RuntimeKeyRegistered] == "false" {
				d.say("registration", broken, p.String()+" could not register with any of its name servers", "correct namesrvAddr of that broker")
			}
		}
		switch {
		case !registered || len(said[""]) > 0:
			d.say("leader", broken, name+" has no leader", "start its members: a majority must run and reach each other (mqadmin cluster describe "+name+")")
		case len(said) > 1:
			d.say("leader", suspect, fmt.Sprintf("the members of %s name %d different leaders", name, len(said)), "an election may be going on: look again; if it stays, check the network between the members")
		case !ours:
			d.say("leader", fine, name+" has a master (RocketMQ's)", "")
		default:
			leader := slices.Sorted(maps.Keys(said))[0]
			d.say("leader", fine, fmt.Sprintf("%s is led by %s, all %d members agree", name, leader, len(byGroup[name])), "")
		}
	}
}

// absent asks each group for its members and names those that no name server
// knows any more: a member that died leaves no other trace.
func (d *doctor) absent(ctx context.Context, patients []patient) {
	client, err := admin.New(admin.Config{NameServers: []string{defaultNamesrv}})
	if !d.ok("members", err) {
		return
	}
	defer client.Close()
	seen := map[string]bool{}
	for _, p := range patients {
		if seen[p.Broker] || p.runtime["raftSelfId"] == "" {
			continue
		}
		seen[p.Broker] = true
		g, err := client.GroupMembers(ctx, p.Addr)
		if err != nil {
			continue // an older build
		}
		d.missing(p.Broker, g, patients)
	}
}

// missing compares the members of one group with those that answer.
func (d *doctor) missing(broker string, g *protocol.GroupMembers, patients []patient) {
	var gone []string
	for _, m := range g.Members {
		if !slices.ContainsFunc(patients, func(p patient) bool { return p.Broker == broker && p.runtime["raftSelfId"] == m.ID }) {
			gone = append(gone, m.ID)
		}
	}
	if len(gone) == 0 {
		d.say("members", fine, fmt.Sprintf("all %d members of %s are there", len(g.Members), broker), "")
		return
	}
	d.say("members", suspect, fmt.Sprintf("%d of the %d members of %s are not registered: %s", len(gone), len(g.Members), broker, strings.Join(gone, ", ")),
		"start them; one that is gone for good: mqadmin group replace or remove (mqadmin group members)")
}

// clocks compares every member's clock with its leader's.
func (d *doctor) clocks(patients []patient) {
	compared, worst := 0, time.Duration(0)
	for _, p := range patients {
		for _, l := range patients {
			if l.Broker != p.Broker || l.ID != 0 || p.ID == 0 || !l.timed || !p.timed {
				continue
			}
			compared++
			skew := p.skew - l.skew
			worst = max(worst, skew.Abs())
			if skew.Abs() > skewMax {
				d.say("clock", suspect, explain.ClockSkew(p.String(), "its leader "+l.Addr, skew), "")
			}
		}
		if p.ID == 0 && p.timed && p.skew.Abs() > skewMax {
			d.say("clock", suspect, explain.ClockSkew(p.String(), "this machine", p.skew), "")
		}
	}
	if worst <= skewMax && compared > 0 {
		d.say("clock", fine, fmt.Sprintf("members are within %s of their leaders", worst.Round(time.Millisecond)), "")
	}
}

// disks looks at how full they are.
func (d *doctor) disks(patients []patient) {
	worst, known := 0.0, false
	for _, p := range patients {
		used := firstRate(p.runtime["commitLogDiskRatio"])
		if used == nil {
			continue
		}
		known, worst = true, max(worst, *used)
		if *used < diskSuspect {
			continue
		}
		verdict := suspect
		if *used >= diskBroken {
			verdict = broken
		}
		d.say("disk", verdict, fmt.Sprintf("%s: %s used", p, percent(used)), "free space, lower fileReservedTime, or enlarge the volume; writes stop at diskSpaceWarningLevelRatio (90 %)")
	}
	if known && worst < diskSuspect {
		d.say("disk", fine, fmt.Sprintf("at most %.0f %% used", 100*worst), "")
	}
}

// versions looks for members of different ones.
func (d *doctor) versions(patients []patient) {
	found := map[string]int{}
	for _, p := range patients {
		found[p.runtime["brokerVersionDesc"]]++
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) > 1 {
		d.say("version", suspect, "brokers speak as "+strings.Join(names, " and "), "finish the upgrade")
		return
	}
	if len(names) == 1 {
		d.say("version", fine, "all brokers speak as "+names[0]+"; this is mqadmin "+version, "")
	}
}

// limits looks at this machine, where brokers often run too.
func (d *doctor) limits() {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return
	}
	detail := fmt.Sprintf("%d open files for a process of this shell", files.Max)
	if files.Max < openFilesMin {
		d.say("ulimit", suspect, detail, fmt.Sprintf("a broker started from here needs one for each client and log file: ulimit -n %d, LimitNOFILE= in systemd", openFilesMin))
		return
	}
	d.say("ulimit", fine, detail, "")
}
