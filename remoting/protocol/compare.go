package protocol

import "encoding/json"

// CodeCompareLogs is a code of ours: with the field start=true the leader begins
// to compare the members' logs from the first entry on; without, it only says how
// far that is. The body of the answer is a LogComparison.
const CodeCompareLogs int32 = 31021

// LogComparison is how far the comparison of a group's logs is. The JSON names
// are a contract with scripts.
type LogComparison struct {
	Broker string `json:"broker"`
	Leader string `json:"leader"` // the member that compares
	// Wanted is the pass that was asked for; it is done when a pass of this number
	// or a later one is complete.
	Wanted   uint64 `json:"wanted,omitempty"`
	Number   uint64 `json:"number"`
	From     uint64 `json:"from"` // first and last index of the pass
	To       uint64 `json:"to"`
	At       uint64 `json:"at"` // compared so far
	Complete bool   `json:"complete"`
	// Compared counts the ranges of this pass by member, Missing says why a member
	// did not answer for some range.
	Compared map[string]uint64 `json:"compared"`
	Missing  map[string]string `json:"missing"`
	// Totals since the leader's process began.
	Ranges      uint64          `json:"ranges"`
	Bytes       int64           `json:"bytes"`
	Skipped     uint64          `json:"skipped"`
	Differences uint64          `json:"differences"`
	Passes      uint64          `json:"passes"`
	LastPass    int64           `json:"lastPass"` // unix ms, 0 before the first
	Found       []LogDifference `json:"found"`    // the newest, oldest first
}

// LogDifference is a range of entries that one member has in another way than
// most others.
type LogDifference struct {
	Member   string `json:"member"`
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
	Offset   int64  `json:"offset"`
	End      int64  `json:"end"`
	File     string `json:"file"`
	FoundAt  int64  `json:"foundAt"` // unix ms
	Repaired bool   `json:"repaired"`
}

// EncodeJSON writes the body of an answer.
func (c *LogComparison) EncodeJSON() ([]byte, error) { return json.Marshal(c) }

// DecodeLogComparison reads one.
func DecodeLogComparison(body []byte) (*LogComparison, error) {
	c := new(LogComparison)
	if err := json.Unmarshal(body, c); err != nil {
		return nil, err
	}
	return c, nil
}
