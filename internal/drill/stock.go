package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cometmq/cometmq/admin"
	"github.com/cometmq/cometmq/internal/local"
)

// Stock is a program that sends and consumes with an unmodified client library.
// It is given NAMESRV TOPIC GROUP RUN SENDERS PAUSE_MS, prints one JSON object a
// line for each thing that happens (stockEvent), and obeys the lines of its
// standard input: "stop" ends the sending, "quit" or the end all.
type Stock struct {
	Name string   // go or java
	Args []string // how to start it
}

// StockNames are the clients that there are load programs for.
var StockNames = []string{"go", "java"}

// StockProgram says how to start the load program of a client: the binary of
// test/e2e/cmd/stockload, or the jar of test/interop/java with lib/ beside it.
func StockProgram(name, path string) (Stock, error) {
	if _, err := os.Stat(path); err != nil {
		return Stock{}, fmt.Errorf("the load program of the %s client is not at %s; build it with: make drill-clients", name, path)
	}
	switch name {
	case "go":
		return Stock{Name: name, Args: []string{path}}, nil
	case "java":
		if _, err := exec.LookPath("java"); err != nil {
			return Stock{}, errors.New("the java client needs a Java runtime 11 or later; none is in PATH")
		}
		lib := filepath.Join(filepath.Dir(path), "lib", "*")
		return Stock{Name: name, Args: []string{"java", "-Xmx256m", "-Drocketmq.client.logUseSlf4j=false", "-Drocketmq.client.logLevel=ERROR",
			"-Duser.home=" + os.TempDir(), "-cp", path + string(os.PathListSeparator) + lib, "com.cometmq.interop.Main", "stockload"}}, nil
	}
	return Stock{}, fmt.Errorf("client %q is not known: eager, go or java", name)
}

const (
	stockSenders = 8
	stockPause   = 10 * time.Millisecond // between two messages of a sender
	stockStart   = 2 * time.Minute       // for a virtual machine, on a busy machine
)

// stockEvent is one line of a load program.
type stockEvent struct {
	// Event is ready (sends begin now), acked, failed, consumed, sent (the number
	// of messages of one sender, in seq) or error (the program gives up).
	Event  string `json:"event"`
	Sender int    `json:"sender"`
	Seq    int64  `json:"seq"`
	AtMs   int64  `json:"at"`     // unix ms of the end
	TookMs int64  `json:"took"`   // of a send
	Queue  int32  `json:"queue"`  // of acked and consumed
	Offset int64  `json:"offset"` // of acked and consumed
	Error  string `json:"error"`
}

// failure is a send that ended in an error.
type failure struct {
	at    time.Time
	error string
}

// stockClient is a load program under way, through all trials of a run.
type stockClient struct {
	name, topic, group string
	run                string
	cmd                *exec.Cmd
	input              io.WriteCloser
	ended              chan struct{} // its output has ended
	offsets            *offsetWatch

	mu       sync.Mutex // guards the rest
	history  History
	isReady  bool
	failures []failure
	last     time.Time  // of the newest acknowledgement
	consumed map[ID]int // how often each was delivered
	sent     map[int]int64
	broken   error // the program said that it cannot go on
	stderr   *os.File
}

func startStock(s Stock, namesrv, topic, run string, client *admin.Client) (*stockClient, error) {
	c := &stockClient{name: s.Name, topic: topic, group: "drill-" + run + "-" + s.Name, run: run, ended: make(chan struct{}),
		consumed: map[ID]int{}, sent: map[int]int64{}}
	args := append(s.Args[1:len(s.Args):len(s.Args)], namesrv, topic, c.group, run, strconv.Itoa(stockSenders), strconv.Itoa(int(stockPause.Milliseconds())))
	c.cmd = exec.Command(s.Args[0], args...)
	var err error
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stderr, err = os.CreateTemp("", "cometmq-stock-"); err != nil {
		return nil, err
	}
	c.cmd.Stderr = c.stderr
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load program of the %s client: %w", s.Name, err)
	}
	go c.read(out)
	c.offsets = watchOffsets(client, c.group, topic, topicQueues)
	return c, nil
}

// read takes up what the program prints, until it ends.
func (c *stockClient) read(out io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e stockEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			c.take(e)
		}
	}
}

func (c *stockClient) take(e stockEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, at := ID{e.Sender, e.Seq}, time.UnixMilli(e.AtMs)
	switch e.Event {
	case "ready":
		c.isReady = true
	case "acked":
		c.history.Acks = append(c.history.Acks, Ack{ID: id, Position: Position{e.Queue, e.Offset}, At: at})
		c.last = at
	case "failed":
		c.history.Unknown = append(c.history.Unknown, id)
		c.failures = append(c.failures, failure{at, e.Error})
	case "consumed":
		c.consumed[id]++
	case "sent":
		c.sent[e.Sender] = e.Seq
	case "error":
		c.broken = errors.New(e.Error)
	}
}

// poll waits until done says so under the lock.
func (c *stockClient) poll(ctx context.Context, what string, done func() bool) error {
	for {
		c.mu.Lock()
		ok, broken := done(), c.broken
		c.mu.Unlock()
		if ok {
			return nil
		}
		if broken != nil {
			return fmt.Errorf("the load program of the %s client: %w", c.name, broken)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the %s client to %s: %w; it printed: %s", c.name, what, context.Cause(ctx), c.printed())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// printed is the end of what the program wrote to its standard error.
func (c *stockClient) printed() string {
	b, err := os.ReadFile(c.stderr.Name())
	if err != nil || len(b) == 0 {
		return "nothing"
	}
	return string(b[max(0, len(b)-1000):])
}

// ready waits until the program sends and its consumer receives.
func (c *stockClient) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stockStart)
	defer cancel()
	return c.poll(ctx, "send and consume", func() bool { return c.isReady && len(c.history.Acks) > 0 && len(c.consumed) > 0 })
}

func (c *stockClient) ackAfter(ctx context.Context, t time.Time) error {
	return c.poll(ctx, "be acknowledged", func() bool { return c.last.After(t) })
}

// kill ends the program at once, if it still runs.
func (c *stockClient) kill() {
	c.offsets.stop()
	_ = c.input.Close()
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	_ = c.cmd.Wait()
	_ = c.stderr.Close()
	_ = os.Remove(c.stderr.Name())
}

// consumePatience is how long a consumer may take to get what was acknowledged:
// it too looks for the leader every 30 s.
const consumePatience = 60 * time.Second

// trial is what the client saw between two moments, and its acknowledgements.
func (c *stockClient) trial(from, fault, to time.Time) (ClientTrial, []Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var acks []Ack
	for _, a := range c.history.Acks {
		if a.At.After(from) && !a.At.After(to) {
			acks = append(acks, a)
		}
	}
	r := ClientTrial{Client: c.name, Acked: len(acks), GapMs: longestGap(acks, fault).Milliseconds(), FirstAckMs: firstAck(acks, fault).Milliseconds()}
	for _, f := range c.failures {
		if !f.at.After(from) || f.at.After(to) {
			continue
		}
		if r.Failed++; r.Failed == 1 {
			r.FirstError = f.error
		}
	}
	return r, acks
}

// audit ends the program and judges what became of its messages.
func (c *stockClient) audit(ctx context.Context, client *admin.Client) (ClientAudit, error) {
	r := ClientAudit{Client: c.name}
	if _, err := io.WriteString(c.input, "stop\n"); err != nil {
		return r, fmt.Errorf("stop the %s client: %w", c.name, err)
	}
	patient, cancel := context.WithTimeout(ctx, consumePatience)
	defer cancel()
	if err := c.poll(patient, "finish its sends", func() bool { return len(c.sent) == stockSenders }); err != nil {
		return r, err
	}
	queues, err := readBack(ctx, client, c.topic, local.BrokerName, topicQueues)
	if err != nil {
		return r, err
	}
	// Whether it gets everything, and says so, is for the verdict.
	_ = c.poll(patient, "consume", func() bool { return c.undelivered() == 0 })
	r.OffsetsShort = c.offsets.short(ctx, queues)
	if _, err := io.WriteString(c.input, "quit\n"); err != nil {
		return r, fmt.Errorf("end the %s client: %w", c.name, err)
	}
	select {
	case <-c.ended:
	case <-patient.Done():
	}
	c.offsets.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.Unordered = map[int]bool{}
	for s := range stockSenders {
		c.history.Sent = append(c.history.Sent, c.sent[s])
		c.history.Unordered[s] = true // the library tries other queues by itself
	}
	r.Verdict = Check(c.run, c.history, queues)
	r.Consumed, r.Undelivered = len(c.consumed), c.undelivered()
	for _, n := range c.consumed {
		r.Redelivered += n - 1
	}
	r.OffsetRewindMs = c.offsets.rewound().Milliseconds()
	r.judge()
	return r, nil
}

func (r *ClientAudit) judge() {
	r.Pass = r.Verdict.Pass() && r.Undelivered == 0 && r.OffsetRewindMs <= offsetsBound.Milliseconds() && r.OffsetsShort == 0
}

// undelivered counts acknowledged messages that were never consumed.
func (c *stockClient) undelivered() int {
	n := 0
	for _, a := range c.history.Acks {
		if c.consumed[a.ID] == 0 {
			n++
		}
	}
	return n
}
