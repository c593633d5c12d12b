package dledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cometmq/cometmq/internal/vfs"
	"github.com/cometmq/cometmq/internal/wall"
	"github.com/cometmq/cometmq/store"
	"github.com/cometmq/cometmq/store/commitlog"
)

// When a majority of a group's disks is gone for good, nothing can elect a leader
// any more, and that is right: the disks that are left cannot know what was
// acknowledged without them. Recovery is an operator's decision to go on with
// what one disk has, and to lose the rest.
//
// It appends one entry, a configuration with this member alone, in a term of its
// own. For Raft that is an ordinary log that ends in a configuration entry: the
// member elects itself, and its first entry commits everything before it. Nothing
// is deleted or rewritten. raft.RecoverCluster would empty the log, that is,
// delete every message.
//
// The term is saved first. A crash between the two leaves a term that was never
// used, and recovery can be done again; a torn entry is cut off at the next open.

// Recovery is what can be said about recovering a group from one member's disk,
// before it is done.
type Recovery struct {
	StoreDir string `json:"storeDir"`
	Member   string `json:"member"`
	Cluster  string `json:"cluster"`
	Group    string `json:"group"`

	// First to Last are the entries of its log, and LastTerm and LastAt say when
	// the last one was written.
	First    uint64    `json:"first"`
	Last     uint64    `json:"last"`
	LastTerm uint64    `json:"lastTerm"`
	LastAt   time.Time `json:"lastAt"`
	// Term is the newest one that the member took part in. If it is newer than
	// LastTerm there was a leader, or a candidate, that this log has nothing of.
	Term uint64 `json:"term"`
	// Committed is the last entry that is certainly committed (and was
	// checkpointed). Those behind it may be or not, and become visible.
	Committed uint64 `json:"committed"`
	Uncertain uint64 `json:"uncertain"`
	// Messages are in the uncertain entries.
	Messages uint64 `json:"messages"`

	// Members are those of the newest configuration in the log, at index
	// MembersIndex, written as in dLegerPeers; Voter says whether this one votes.
	Members      []string `json:"members"`
	MembersIndex uint64   `json:"membersIndex"`
	Voter        bool     `json:"voter"`
	// Blank: this disk was empty not long ago and may lack what it had before.
	Blank bool `json:"blank"`
	// Done: the log ends in a group of this member alone already.
	Done bool `json:"done"`

	raftDir     string
	segmentSize int64
	self        raft.Server
	fs          vfs.FS
	openKV      func(string) (store.KVFile, error)
}

// ErrNotRecoverable says why a disk is not one to recover a group from.
var ErrNotRecoverable = errors.New("the group cannot be recovered from this disk")

// PlanRecovery reads a stopped member's store and Raft state, all of it, and
// changes nothing.
func PlanRecovery(storeDir, raftDir, id string) (*Recovery, error) {
	return planRecovery(store.Config{Dir: storeDir}, raftDir, id)
}

func planRecovery(cfg store.Config, raftDir, id string) (*Recovery, error) {
	report, err := store.Verify(cfg)
	if err != nil {
		return nil, err
	}
	if !report.OK {
		return nil, fmt.Errorf("%w: it is damaged; see: mqadmin store verify --dir %s", ErrNotRecoverable, cfg.Dir)
	}
	r := &Recovery{
		StoreDir: cfg.Dir, Member: id, Cluster: report.Identity["cluster"], Group: report.Identity["group"],
		First: report.Log.First, Last: report.Log.Last, LastTerm: report.Log.LastTerm, Committed: report.Applied,
		raftDir: raftDir, segmentSize: report.Log.SegmentSize, fs: cfg.FS, openKV: cfg.OpenKV,
	}
	if r.Last == 0 {
		return nil, fmt.Errorf("%w: its log is empty", ErrNotRecoverable)
	}
	if err := r.readStable(); err != nil {
		return nil, err
	}
	conf, err := r.readLog(cfg)
	if err != nil {
		return nil, err
	}
	for _, s := range conf.Servers {
		r.Members = append(r.Members, fmt.Sprintf("%s-%s", s.ID, s.Address))
	}
	self := serverOf(conf, id)
	if self == nil {
		return nil, fmt.Errorf("%w: %s is none of the group's members, which are %s: give --id as this member's dLegerSelfId was",
			ErrNotRecoverable, id, strings.Join(r.Members, ";"))
	}
	r.self, r.Voter = *self, self.Suffrage == raft.Voter
	r.Done = len(conf.Servers) == 1 && r.Voter && !r.Blank
	r.Uncertain = r.Last - min(r.Committed, r.Last)
	return r, nil
}

// readStable reads the term, and whether the member is blank.
func (r *Recovery) readStable() (err error) {
	if _, err := os.Stat(filepath.Join(r.raftDir, stableFile)); err != nil {
		return fmt.Errorf("%w: its term and vote are not there: %w", ErrNotRecoverable, err)
	}
	s, err := openStableAs(r.raftDir, &watch{}, func(error) {}, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if r.Term, err = s.number(keyTerm); err != nil {
		return err
	}
	b, _, err := loadBlank(s)
	r.Blank = b != nil
	return err
}

// readLog finds the newest configuration and what lies behind the checkpoint.
func (r *Recovery) readLog(cfg store.Config) (conf raft.Configuration, err error) {
	raw, err := store.SavedRaftMeta(cfg, snapshotKey)
	if err != nil {
		return conf, err
	}
	if raw != nil {
		meta, err := decodeSnapshotMeta(raw)
		if err != nil {
			return conf, fmt.Errorf("%w: Raft's part of its checkpoint: %w", ErrNotRecoverable, err)
		}
		conf, r.MembersIndex = meta.Configuration, meta.ConfigurationIndex
		r.Committed = max(r.Committed, meta.Index)
	}
	visit := func(e commitlog.Entry, _ int64) error {
		switch {
		case e.Kind == uint8(raft.LogConfiguration):
			conf, r.MembersIndex = decodeConfiguration(e.Data), e.Index
		case e.Kind == store.KindRecords && e.Index > r.Committed:
			err := store.EachRecord(e.Data, func(rec store.Record) error {
				if !rec.IsCommand() {
					r.Messages++
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if e.AppendedAt != 0 {
			r.LastAt = time.Unix(0, e.AppendedAt).UTC()
		}
		return nil
	}
	from := max(min(r.Committed+1, r.Last), r.First)
	_, err = commitlog.Inspect(commitlog.Config{FS: cfg.FS, Dir: filepath.Join(cfg.Dir, "commitlog"), SegmentSize: r.segmentSize},
		commitlog.Inspection{From: from, Visit: visit})
	if err == nil && len(conf.Servers) == 0 {
		err = fmt.Errorf("%w: it holds no list of members", ErrNotRecoverable)
	}
	return conf, err
}

// decodeConfiguration reads an entry's data, which the entry's checksum covers;
// raft's decoder panics on bytes it does not know.
func decodeConfiguration(data []byte) raft.Configuration {
	return raft.DecodeConfiguration(slices.Clone(data))
}

// CarryOut makes this member the group's only one. It may be repeated.
func (r *Recovery) CarryOut() (err error) {
	if r.Done {
		return nil
	}
	term := max(r.Term, r.LastTerm) + 1
	s, err := openStable(r.raftDir, &watch{}, func(error) {})
	if err != nil {
		return err
	}
	err = s.SetUint64([]byte(keyTerm), term)
	if err == nil {
		err = errors.Join(s.Set([]byte(keyBlank), nil), s.setDoubt(nil))
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	server := r.self
	server.Suffrage = raft.Voter
	conf := raft.Configuration{Servers: []raft.Server{server}}
	return store.AppendOffline(store.Config{Dir: r.StoreDir, FS: r.fs, OpenKV: r.openKV, SegmentSize: r.segmentSize}, commitlog.Entry{
		Index: r.Last + 1, Term: term, Kind: uint8(raft.LogConfiguration),
		Data: raft.EncodeConfiguration(conf), AppendedAt: wall.Now().UnixNano(),
	})
}

// Text says for people what is known, and what may be lost.
func (r *Recovery) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("store      %s (cluster %s, group %s)", r.StoreDir, r.Cluster, r.Group)
	line("member     %s of %s", r.Member, strings.Join(r.Members, ";"))
	line("log        entries %d to %d, the last of term %d, written %s", r.First, r.Last, r.LastTerm, r.LastAt.Format(time.RFC3339Nano))
	line("committed  for certain up to entry %d", r.Committed)
	if r.Done {
		line("This member is the group's only one already.")
		return b.String()
	}
	line("")
	line("What is lost: every message that was acknowledged and is not in this log. Nothing")
	line("that was stored after the last entry above is in it, and nobody can say how much that")
	line("was without the other disks. Topics, groups and consumer offsets go back to it, too.")
	if r.Term > r.LastTerm {
		line("This member took part in term %d, of which its log has nothing: the group may have gone", r.Term)
		line("on without it.")
	}
	if r.Uncertain > 0 {
		line("What becomes visible: entries %d to %d, with %d messages. They may have been", r.Committed+1, r.Last, r.Messages)
		line("acknowledged or not; producers that were told of a failure may find their message stored.")
	}
	if !r.Voter {
		line("This member did not vote: it may have been behind.")
	}
	if r.Blank {
		line("This member's disk was empty and it had not yet got everything from the group.")
	}
	line("")
	line("If another disk of the group is left, look at it, too, and take the one whose last term,")
	line("and then whose last entry, is higher. No other disk of this group may be started again")
	line("after this: two of them would go on as a second group. Empty them, and let them join.")
	return b.String()
}
