//go:build chaos || refill

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
)

// groupMember is a member of a group as its leader sees it, as far as it is looked at here.
type groupMember struct {
	ID       string `json:"id"`
	RaftAddr string `json:"raftAddr"`
	Voter    bool   `json:"voter"`
	State    string `json:"state"`
}

// groupMembers is what `mqadmin group members -o json` prints.
type groupMembers struct {
	Leader  string        `json:"leader"`
	Members []groupMember `json:"members"`
}

func (c *cluster) members() (g groupMembers, err error) {
	out, err := command("mqadmin", "group", "members", "-n", c.namesrv, "-o", "json")
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal([]byte(out), &g)
}

// health is what a member says of itself.
func health(addr string) (map[string]string, error) {
	r, err := invoke(addr, 28, nil, nil)
	if err != nil || r.Code != 0 {
		return nil, errors.Join(err, fmt.Errorf("status %d", r.Code))
	}
	var table struct {
		Table map[string]string `json:"table"`
	}
	return table.Table, json.Unmarshal(r.Body, &table)
}
