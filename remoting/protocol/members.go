package protocol

import "encoding/json"

// Codes of our own, for the members of a replica group. 31001 and 31002 are
// spoken among members only, see broker/peers.go.
const (
	// CodeGroupMembers asks for the members of the group; the leader answers, or,
	// while there is none, the member that is asked. The body is a GroupMembers.
	CodeGroupMembers int32 = 31003
	// CodeChangeMembers takes one step of a change of the members, see
	// ChangeMembersHeader. The leader does it and answers with a MemberStep.
	CodeChangeMembers int32 = 31004
)

// Steps of CodeChangeMembers.
const (
	StepAdd      = "add"      // a new member that does not vote
	StepPromote  = "promote"  // it votes from now on
	StepDemote   = "demote"   // it votes no more; its disk may be gone
	StepRemove   = "remove"   // it is a member no more
	StepTransfer = "transfer" // it leads from now on; without an id, any other voter
)

// ChangeMembersHeader is one step: who and, for add and demote, at which address
// of its Raft port.
type ChangeMembersHeader struct{ Step, ID, Addr string }

// EncodeFields writes the fields that are set.
func (h *ChangeMembersHeader) EncodeFields(w *FieldWriter) {
	for _, f := range [][2]string{{"step", h.Step}, {"memberId", h.ID}, {"raftAddr", h.Addr}} {
		if f[1] != "" {
			w.String(f[0], f[1])
		}
	}
}

// States of a GroupMember, as the answering member sees them.
const (
	MemberOK          = "ok"          // it answers and has everything that is committed
	MemberBehind      = "behind"      // it answers and is being sent entries
	MemberReceiving   = "receiving"   // it is being sent the whole log
	MemberUnreachable = "unreachable" // it has not answered for a while
	MemberUnknown     = "unknown"     // only the leader knows
)

// GroupMember is one member of a replica group. The JSON names are a contract
// with scripts.
type GroupMember struct {
	ID       string `json:"id"`
	RaftAddr string `json:"raftAddr"`
	// Addr is where clients reach it, as it said when it last led; "" if it never
	// did.
	Addr  string `json:"addr"`
	Role  string `json:"role"` // leader, follower; candidate only of the answering member
	Voter bool   `json:"voter"`
	State string `json:"state"`
	// ContactMs is how long ago the answering member heard of it; -1 never.
	ContactMs int64 `json:"contactMs"`

	LastIndex uint64 `json:"lastIndex"` // of its log, 0 unknown
	Behind    uint64 `json:"behind"`    // entries that it has not got
	// Bytes of TotalBytes of the log are there; Rate is bytes a second, EtaMs how
	// long the rest takes at the rate at which the gap closes, -1 unknown.
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"totalBytes"`
	Rate       int64 `json:"bytesPerSecond"`
	EtaMs      int64 `json:"etaMs"`
}

// GroupMembers is the answer to CodeGroupMembers.
type GroupMembers struct {
	BrokerName string `json:"brokerName"`
	Group      string `json:"group"`
	Leader     string `json:"leader"` // "" while nobody leads
	Term       uint64 `json:"term"`
	// From is who answered, Standing what it is to the group: founding, joining,
	// non-voter, voter or removed.
	From     string `json:"from"`
	Standing string `json:"standing"`
	// CommitIndex is the last committed entry, MembersIndex the one that the list
	// of members is from.
	CommitIndex  uint64        `json:"commitIndex"`
	MembersIndex uint64        `json:"membersIndex"`
	Members      []GroupMember `json:"members"`
	// Note says what is wrong, if anything is.
	Note string `json:"note,omitempty"`
}

// Member returns one of them, or nil.
func (g *GroupMembers) Member(id string) *GroupMember {
	for i := range g.Members {
		if g.Members[i].ID == id {
			return &g.Members[i]
		}
	}
	return nil
}

// AppendJSON appends the members.
func (g *GroupMembers) AppendJSON(dst []byte) []byte { return appendPlain(dst, g) }

// Decode reads the members.
func (g *GroupMembers) Decode(body []byte) error { return json.Unmarshal(body, g) }

// MemberStep is the answer to CodeChangeMembers.
type MemberStep struct {
	Step   string `json:"step"`
	ID     string `json:"id"`
	Leader string `json:"leader"` // who leads after it, "" if that is not known yet
	Term   uint64 `json:"term"`
	TookMs int64  `json:"tookMs"`
	Text   string `json:"text"` // a sentence for people
}

// AppendJSON appends the step.
func (s *MemberStep) AppendJSON(dst []byte) []byte { return appendPlain(dst, s) }

// Decode reads the step.
func (s *MemberStep) Decode(body []byte) error { return json.Unmarshal(body, s) }

// appendPlain is for bodies that are asked for by people: no RocketMQ client
// reads them, and their cost does not matter.
func appendPlain(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return dst // strings and numbers always can be
	}
	return append(dst, b...)
}
