package explain

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Exit codes that the programs share. mqadmin's others are in its package.
const (
	ExitUnreachable = 2 // mqadmin: no server answers
	ExitBadConfig   = 2 // servers: the configuration
	ExitPortInUse   = 3
	ExitStoreLocked = 4
	ExitPeers       = 5
	ExitOtherStore  = 6
)

// catalogue is every problem, in the order of the codes.
var catalogue = []*Problem{
	noNameServer, namesrvIsBroker, brokerUnreachable, brokerIsNamesrv, notRemoting, unknownTopic,
	portInUse, unknownGroup, storeLocked, diskNearlyFull, diskNoRoom, notLeader, noLeader, unknownSelf,
	peersDiffer, otherStore, clockSkew, badConfig, unknownKey, visitor,
}

// All returns the catalogue.
func All() []*Problem { return append([]*Problem(nil), catalogue...) }

var noNameServer = &Problem{
	Code: "CMQ-1001", Title: "No name server answers", Said: "mqadmin", Exit: ExitUnreachable,
	Text: "cannot reach any name server: {failures}. Is mqnamesrv running there? Check: mqadmin doctor -n {first}; give another address with -n HOST:PORT, NAMESRV_ADDR or mqadmin profile use",
	Why: "mqadmin asks a name server where brokers are before it does anything else. Nothing listens at the addresses it was given, or a firewall drops its packets. " +
		"The addresses come from -n, else NAMESRV_ADDR, else the profile in use, else the local cluster in ./rmq-local, else 127.0.0.1:9876.",
	Do: "Start `mqnamesrv`, or correct the address. `mqadmin doctor` tells which address was taken from where, and whether the name or the port is what fails. A broker that finds no name server keeps trying; only its readiness stays false.",
}

// NoNameServer: none of the name servers could be asked.
func NoNameServer(cause error, first, failures string) error {
	return noNameServer.err(cause, "failures", failures, "first", first)
}

var namesrvIsBroker = &Problem{
	Code: "CMQ-1002", Title: "The name server's address is a broker's", Said: "mqadmin", Exit: ExitUnreachable,
	Text: "{addr} answered, but it is {broker}, a broker and not a name server{hint}",
	Why:  "Brokers and name servers speak the same protocol on different ports, and 10911 is easily typed for 9876.",
	Do:   "Give the name server's address, usually the same host with port 9876.",
}

// NameServerIsBroker: a broker was given as name server. namesrv is where the
// broker registers, "" unknown.
func NameServerIsBroker(cause error, addr, broker, namesrv string) error {
	hint := "; a name server usually listens on port 9876"
	if namesrv != "" {
		hint = "; its name server is " + namesrv
	}
	return namesrvIsBroker.err(cause, "addr", addr, "broker", broker, "hint", hint)
}

var brokerUnreachable = &Problem{
	Code: "CMQ-1003", Title: "A broker is registered with an address that does not answer", Said: "mqadmin, mqbroker", Exit: ExitUnreachable,
	Text: "{broker} does not answer at {addr}: {reason}. Is mqbroker running there? If it is, the address it announces cannot be reached from here: set brokerIP1 or advertisedListeners. Check: mqadmin doctor",
	Why: "Clients find brokers by the addresses that these announce to the name server. A broker in a container or behind address translation announces one that only its own network can reach, unless it is told another; " +
		"a broker that was killed stays announced for up to two minutes.",
	Do: "`mqadmin doctor` dials every announced address from where you are. Set `brokerIP1` to a host name or address that all clients reach, or `advertisedListeners` to different ones for inside and outside: see [deploying](deploy.md).",
}

// BrokerUnreachable: a broker's announced address does not answer.
func BrokerUnreachable(cause error, broker, addr string) error {
	return brokerUnreachable.err(cause, "broker", broker, "addr", addr, "reason", Reason(cause))
}

var brokerIsNamesrv = &Problem{
	Code: "CMQ-1004", Title: "The broker's address is a name server's", Said: "mqadmin", Exit: ExitUnreachable,
	Text: "{addr} answered, but it is a name server and not a broker; give the broker's address with -b, usually port 10911 (list: mqadmin cluster ls)",
	Why:  "The request that was sent means something to brokers only.",
	Do:   "Name servers are given with -n, brokers with -b.",
}

// BrokerIsNameServer: a name server was given as a broker.
func BrokerIsNameServer(cause error, addr string) error {
	return brokerIsNamesrv.err(cause, "addr", addr)
}

var notRemoting = &Problem{
	Code: "CMQ-1005", Title: "Something else listens at the address", Said: "mqadmin", Exit: ExitUnreachable,
	Text: "{addr} accepts connections, but what it sends is not RocketMQ's protocol. Is it the port of another program, or of a console or metrics endpoint?",
	Why:  "A connection was made, and what came back was no frame of the remoting protocol.",
	Do:   "Check the port: 9876 is a name server's, 10911 a broker's.",
}

// NotRemoting: who answers is no server of ours or RocketMQ's.
func NotRemoting(cause error, addr string) error {
	return notRemoting.err(cause, "addr", addr)
}

var unknownTopic = &Problem{
	Code: "CMQ-1006", Title: "A topic does not exist", Said: "mqadmin", Exit: 1,
	Text: "topic {topic} not found on {servers}.{similar} Create it: mqadmin topic create {topic}",
	Why:  "No broker that the name server knows serves a topic of this name. Names are case-sensitive.",
	Do:   "Take one of the similar names, or create the topic. Producers create topics on first use where `autoCreateTopicEnable` is true (the default); tools that read do not.",
}

// UnknownTopic: nobody serves the topic.
func UnknownTopic(cause error, topic string, nameServers int, similar []string) error {
	return unknownTopic.err(cause, "topic", topic, "servers", count(nameServers, "name server"), "similar", similarText(similar))
}

var portInUse = &Problem{
	Code: "CMQ-1007", Title: "A port is taken", Said: "mqbroker, mqnamesrv", Exit: ExitPortInUse,
	Text: "listen {addr} ({key}): already in use by {owner}. Stop it, or set {key} to a free port",
	Why:  "Each port takes one program. Usually another broker or name server runs already, perhaps as a service or in a container. The program is named where the system tells it: of other users' programs only root learns.",
	Do:   "Stop the other program (`mqshutdown broker`), or choose another port. A broker listens on `listenPort` and `listenPort` minus 2 (`enableVipChannel=false` does without), and on its port in `dLegerPeers`.",
}

// PortInUse: a port is taken; key is the setting that chooses it.
func PortInUse(cause error, addr, key string) error {
	return portInUse.err(cause, "addr", addr, "key", key, "owner", portOwner(addr))
}

var unknownGroup = &Problem{
	Code: "CMQ-1008", Title: "A consumer group does not exist", Said: "mqadmin", Exit: 1,
	Text: "consumer group {group} not found on {brokers}.{similar} List them: mqadmin group ls",
	Why:  "No broker has the group. A group comes to exist when its first consumer connects (where `autoCreateSubscriptionGroup` is true), or by `mqadmin updateSubGroup`.",
	Do:   "Check the name: it is case-sensitive, and namespaces are part of it.",
}

// UnknownGroup: no broker has the consumer group.
func UnknownGroup(group string, brokers int, similar []string) error {
	return unknownGroup.err(nil, "group", group, "brokers", count(brokers, "broker"), "similar", similarText(similar))
}

var storeLocked = &Problem{
	Code: "CMQ-1009", Title: "The store is in use", Said: "mqbroker, mqadmin", Exit: ExitStoreLocked,
	Text: "store {dir} is locked by {owner}. Two brokers cannot share a store: stop that one, or set storePathRootDir to another directory",
	Why:  "A process holds the lock in the store's directory. The lock ends with the process, however it ends, so there is no stale one to remove.",
	Do:   "Stop the other process. If it is in a container that shares the directory, its process id is the one inside of that container.",
}

// StoreLocked: another process has the store open.
func StoreLocked(cause error, dir string, pid int) error {
	owner := "another process"
	if pid > 0 {
		owner = describeProcess(pid)
	}
	return storeLocked.err(cause, "dir", dir, "owner", owner)
}

var diskNearlyFull = &Problem{
	Code: "CMQ-1010", Title: "The disk is nearly full", Said: "mqbroker (status 14)",
	Text: "disk {used} % of {dir} (limit {limit} %): refusing writes; free some space or raise diskSpaceWarningLevelRatio. Messages older than fileReservedTime ({reserved} h) are deleted at {when}:00",
	Why:  "A broker refuses to store messages before its disk is full, because a log that cannot grow costs the group its leader. Reading goes on.",
	Do:   "Free space on the volume, lower `fileReservedTime` (live), or raise `diskSpaceWarningLevelRatio`. Sending is possible again within a second of there being room.",
}

// DiskNearlyFull is the remark for a refused send.
func DiskNearlyFull(dir string, used float64, limit, reservedHours int, deleteWhen string) string {
	return diskNearlyFull.fill("used", strconv.FormatFloat(used, 'f', 1, 64), "dir", dir, "limit", strconv.Itoa(limit),
		"reserved", strconv.Itoa(reservedHours), "when", deleteWhen)
}

var diskNoRoom = &Problem{
	Code: "CMQ-1011", Title: "The disk has no room for the next log file", Said: "mqbroker (status 14)",
	Text: "disk {used} of {dir}, {free} free: refusing writes, there is no room for the next file of the commit log; free some space",
	Why:  "The commit log grows in whole files (`mappedFileSizeCommitLog`, 1 GiB), and one of them can be a large part of a small volume.",
	Do:   "Free space on the volume. On small volumes set `mappedFileSizeCommitLog` smaller before the store is made.",
}

// DiskNoRoom is the remark for a refused send; used below 0 is unknown.
func DiskNoRoom(dir string, used float64, free uint64) string {
	usedText, freeText := "full", "an unknown amount"
	if used >= 0 {
		usedText, freeText = strconv.FormatFloat(used, 'f', 1, 64)+" %", strconv.FormatUint(free>>20, 10)+" MiB"
	}
	return diskNoRoom.fill("used", usedText, "dir", dir, "free", freeText)
}

var notLeader = &Problem{
	Code: "CMQ-1012", Title: "The member does not lead", Said: "mqbroker (status 14)",
	Text: "{member} is a {role} (term {term}); leader is {leader}",
	Why:  "Only the leader of a replica group stores. Members send requests on to the leader, so clients see this only when the leadership moved twice while a request was under way.",
	Do:   "Nothing: clients repeat the request and look the route up again. `mqadmin cluster ls` shows who leads.",
}

// NotLeader is the remark of a member that cannot serve. leader has its address
// where that is known.
func NotLeader(member, role string, term uint64, leader string) string {
	return notLeader.fill("member", member, "role", role, "term", strconv.FormatUint(term, 10), "leader", leader)
}

var noLeader = &Problem{
	Code: "CMQ-1013", Title: "The group has no leader", Said: "mqbroker (status 14)",
	Text: "{reason}; {member} is a {role} (term {term})",
	Why:  "A group stores only while a majority of its members can reach each other: two of three, three of five. Without one it refuses rather than store what could be lost.",
	Do:   "Start the members that the text names, or mend the network between them. An election itself takes less than a second.",
}

// NoLeader is the remark of a member whose group has no leader.
func NoLeader(reason, member, role string, term uint64) string {
	return noLeader.fill("reason", reason, "member", member, "role", role, "term", strconv.FormatUint(term, 10))
}

var unknownSelf = &Problem{
	Code: "CMQ-1014", Title: "A member is not in its own peer list", Said: "mqbroker", Exit: ExitPeers,
	Text: "dLegerSelfId={self} is not in dLegerPeers ({peers}). Set dLegerSelfId to one of them, or add this member to the list",
	Why:  "`dLegerPeers` names every member of the group and where its Raft port is; `dLegerSelfId` says which of them this process is.",
	Do:   "Each member has the same `dLegerPeers` and a `dLegerSelfId` of its own.",
}

// UnknownSelf: dLegerSelfId is not in dLegerPeers.
func UnknownSelf(cause error, self, peers string) error {
	return unknownSelf.err(cause, "self", self, "peers", peers)
}

var peersDiffer = &Problem{
	Code: "CMQ-1015", Title: "The peer list is not that of the group", Said: "mqbroker (warning)",
	Text: "dLegerPeers differs: here {here}; the group has {group}. The group's list holds and this file's is not used; make the file say the same",
	Why:  "`dLegerPeers` starts a group. From then on the list of members is part of what the group replicates, and a file that says something else changes nothing.",
	Do:   "Correct the file, so that nobody relies on what it says. Members are added and removed with `mqadmin group`.",
}

// PeersDiffer is a warning: the configured list is not the replicated one.
func PeersDiffer(here, group string) string {
	return peersDiffer.fill("here", here, "group", group)
}

var otherStore = &Problem{
	Code: "CMQ-1016", Title: "The store belongs to another group", Said: "mqbroker", Exit: ExitOtherStore,
	Text: "{reason}. Refusing to start: nothing was changed. Set storePathRootDir to this group's directory, or move that one away",
	Why:  "A store notes the cluster and the group it was made for. Starting another group over it would mix two histories.",
	Do:   "Correct `storePathRootDir`, `brokerClusterName` or `brokerName`. A store cannot be given to another group.",
}

// OtherStore: the store's identity is not the configured one.
func OtherStore(cause error) error { return otherStore.err(cause, "reason", cause.Error()) }

var clockSkew = &Problem{
	Code: "CMQ-1017", Title: "Clocks differ", Said: "mqadmin doctor (warning)",
	Text: "the clock of {server} is {skew} {direction} that of {reference}. Delayed messages, retention and message timestamps follow the leader's clock: run a time service (chrony, systemd-timesyncd) on both",
	Why:  "The leader stamps messages. A new leader whose clock differs from most members' goes on with theirs; with most of them wrong, or two members only, delayed messages and retention are off by as much.",
	Do:   "Synchronise the clocks. Nothing is lost or repeated because of them: the order of messages does not depend on time.",
}

// ClockSkew is a warning: two clocks differ by more than a second. skew is
// positive when the server is ahead of the reference.
func ClockSkew(server, reference string, skew time.Duration) string {
	direction := "ahead of"
	if skew < 0 {
		direction, skew = "behind", -skew
	}
	return clockSkew.fill("server", server, "reference", reference, "skew", skew.Round(100*time.Millisecond).String(), "direction", direction)
}

var badConfig = &Problem{
	Code: "CMQ-1018", Title: "A setting cannot be used", Said: "mqbroker, mqnamesrv", Exit: ExitBadConfig,
	Text: "{reason}. See: mqadmin config explain KEY",
	Why:  "RocketMQ drops a value it cannot read and runs with the default. Here a value that cannot be read stops the start, so that nobody runs for a year with a setting that was never in force.",
	Do:   "Correct the value; the text names the key, what was given and what is allowed.",
}

// BadConfig: the configuration has a value that is not allowed.
func BadConfig(cause error) error {
	return badConfig.err(cause, "reason", strings.TrimRight(cause.Error(), ".\n"))
}

var unknownKey = &Problem{
	Code: "CMQ-1019", Title: "A setting is not known", Said: "mqbroker, mqnamesrv (warning), mqadmin",
	Exit: 1,
	Text: "unknown key {key}{similar}",
	Why:  "The key is none of RocketMQ's and none of ours. Keys are case-sensitive. Keys of RocketMQ that have no meaning here, for a Java virtual machine for one, are known and only noted.",
	Do:   "Take the suggestion, or remove the line. `mqadmin config ls` lists all keys.",
}

// UnknownKey: no server has the setting.
func UnknownKey(key string, similar []string) error {
	hint := ""
	if len(similar) > 0 {
		hint = ", did you mean " + strings.Join(similar, " or ") + "?"
	}
	return unknownKey.err(nil, "key", key, "similar", hint)
}

var visitor = &Problem{
	Code: "CMQ-1020", Title: "A browser, or a client of another protocol, came to a server's port", Said: "mqbroker, mqnamesrv (a plain-text page)",
	Text: "This is {name}. It speaks the RocketMQ remoting protocol, not HTTP. Point RocketMQ clients at a name server (port 9876) and look from a terminal: mqadmin cluster ls",
	Why:  "The ports 9876 and 10911 are not for browsers, load balancers' HTTP checks or gRPC. RocketMQ 5's gRPC clients need a gRPC endpoint, which CometMQ does not have yet.",
	Do:   "Check health with `mqadmin health`, or a TCP check. Use a client that speaks the remoting protocol (4.x, and 5.x's rocketmq-client).",
}

// Visitor is the page for somebody who speaks HTTP.
func Visitor(name string) string { return visitor.fill("name", name) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func similarText(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " Similar: " + strings.Join(names, ", ") + "."
}
