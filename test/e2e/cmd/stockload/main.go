// Command stockload sends and consumes with the official Go client, unmodified,
// while a drill breaks the cluster; internal/drill (Stock) says what it is given
// and prints.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// event is one line of output.
type event struct {
	Event  string `json:"event"`
	Sender int    `json:"sender"`
	Seq    int64  `json:"seq"`
	At     int64  `json:"at"`
	Took   int64  `json:"took"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`
	Error  string `json:"error,omitempty"`
}

type loader struct {
	topic, run string
	out        *json.Encoder
	mu         sync.Mutex // guards out
	stop       chan struct{}
}

func main() {
	rlog.SetLogLevel("fatal")
	if err := run(os.Args[1:]); err != nil {
		_ = json.NewEncoder(os.Stdout).Encode(event{Event: "error", Error: err.Error()})
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("usage: stockload NAMESRV TOPIC GROUP RUN SENDERS PAUSE_MS")
	}
	namesrv, group := strings.Split(args[0], ";"), args[2]
	senders, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	pause, err := strconv.Atoi(args[5])
	if err != nil {
		return err
	}
	l := &loader{topic: args[1], run: args[3], out: json.NewEncoder(os.Stdout), stop: make(chan struct{})}
	c, err := l.consume(namesrv, group)
	if err != nil {
		return err
	}
	// As an application would have it: the library's own time limits and retries.
	p, err := rocketmq.NewProducer(producer.WithNameServer(namesrv), producer.WithGroupName(group+"-p"), producer.WithRetry(2))
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	l.say(event{Event: "ready"})
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() { l.send(p, s, time.Duration(pause)*time.Millisecond) })
	}
	l.obey()
	wg.Wait()
	if err := c.Shutdown(); err != nil {
		return err
	}
	return p.Shutdown()
}

func (l *loader) say(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = time.Now().UnixMilli()
	_ = l.out.Encode(e) // whoever does not listen any more will not miss it
}

// obey returns when all is to end.
func (l *loader) obey() {
	stopped := false
	stop := func() {
		if !stopped {
			close(l.stop)
		}
		stopped = true
	}
	defer stop()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "stop":
			stop()
		case "quit":
			return
		}
	}
}

func (l *loader) send(p rocketmq.Producer, sender int, pause time.Duration) {
	seq := int64(0)
	for ; ; seq++ {
		select {
		case <-l.stop:
			l.say(event{Event: "sent", Sender: sender, Seq: seq})
			return
		case <-time.After(pause):
		}
		began := time.Now()
		r, err := p.SendSync(context.Background(), primitive.NewMessage(l.topic, body(l.run, sender, seq)))
		e := event{Event: "acked", Sender: sender, Seq: seq, Took: time.Since(began).Milliseconds()}
		switch {
		case err != nil:
			e.Event, e.Error = "failed", err.Error()
		case r.Status != primitive.SendOK:
			e.Event, e.Error = "failed", fmt.Sprint("status ", r.Status)
		default:
			e.Queue, e.Offset = r.MessageQueue.QueueId, r.QueueOffset
		}
		l.say(e)
	}
}

// consume takes messages until the program ends. A topic that the name server
// has just learned of may not be there for the first attempt.
func (l *loader) consume(namesrv []string, group string) (rocketmq.PushConsumer, error) {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(namesrv), consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, err
	}
	listen := func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			if f := strings.Fields(string(m.Body)); len(f) > 4 && f[1] == l.run {
				sender, err1 := strconv.Atoi(f[2])
				seq, err2 := strconv.ParseInt(f[3], 10, 64)
				if err1 == nil && err2 == nil {
					l.say(event{Event: "consumed", Sender: sender, Seq: seq, Queue: m.Queue.QueueId, Offset: m.QueueOffset})
				}
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe(l.topic, consumer.MessageSelector{}, listen); err != nil {
		return nil, err
	}
	return c, c.Start()
}

// body is laid out as internal/drill (history.go) lays it out: the run, who sent
// it and as which, a filler, and the checksum of all that.
func body(run string, sender int, seq int64) []byte {
	b := fmt.Appendf(nil, "drill %s %d %d ", run, sender, seq)
	for len(b) < 120 {
		b = append(b, '.')
	}
	return fmt.Appendf(b, "%08x", crc32.ChecksumIEEE(b))
}
