package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// AddressConfig are the keys of looking name servers up at an HTTP server.
type AddressConfig struct {
	// FetchNamesrv asks an HTTP server for the name servers when namesrvAddr is
	// empty, at start and every two minutes, as RocketMQ's clients do by default.
	// The answer's first line is the list, separated by ";".
	FetchNamesrv bool `cfg:"fetchNamesrvAddrByAddressServer"`
	// AddressServer is its host, or host:port (else port 8080), and AddressGroup
	// the last part of the path: http://HOST:8080/rocketmq/nsaddr. The Java
	// properties rocketmq.namesrv.domain and rocketmq.namesrv.domain.subgroup set
	// them too.
	AddressServer string `cfg:"rmqAddressServerDomain"`
	AddressGroup  string `cfg:"rmqAddressServerSubGroup"`
}

const (
	// addressPeriod is RocketMQ's; addressRetry is the first pause after a
	// failure, which doubles up to it.
	addressPeriod  = 2 * time.Minute
	addressRetry   = time.Second
	addressTimeout = 3 * time.Second
	// addressMax bounds the answer: a list of some thousand name servers.
	addressMax = 64 << 10
)

// validate refuses to look for name servers nowhere. RocketMQ's default is a host
// of its makers' own network.
func (c *AddressConfig) validate() error {
	if !c.FetchNamesrv {
		return nil
	}
	if c.AddressServer == "" || strings.ContainsAny(c.AddressServer, "/ ") {
		return fmt.Errorf("rmqAddressServerDomain=%q is not allowed: fetchNamesrvAddrByAddressServer=true needs a HOST or HOST:PORT to ask", c.AddressServer)
	}
	return nil
}

// url is where the list is, built as RocketMQ builds it.
func (c *AddressConfig) url() string {
	host := c.AddressServer
	if !strings.Contains(host, ":") {
		host += ":8080"
	}
	return "http://" + host + "/rocketmq/" + c.AddressGroup
}

// fetchNameServers asks once and returns the list.
func (c *AddressConfig) fetchNameServers(ctx context.Context) (list string, err error) {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask %s for the name servers: %w", c.url(), err)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(), nil)
	if err != nil {
		return "", err
	}
	// No connection stays: the next question is two minutes away.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, addressMax))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answered %s", resp.Status)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return checkedNameServers(strings.TrimSpace(line))
}

// checkedNameServers refuses an answer that is something else, a login page for
// one: a broker that took it would leave the name servers it has.
func checkedNameServers(list string) (string, error) {
	found := Config{NamesrvAddr: list}.nameServers()
	if len(found) == 0 {
		return "", errors.New("it answered no name server")
	}
	for _, addr := range found {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return "", fmt.Errorf("it answered %.64q, which is not host:port", addr)
		}
	}
	return strings.Join(found, ";"), nil
}

// findNameServers asks the address server before the broker starts, so that the
// first registration goes where it should. It is no failure that it cannot be
// reached: watchNameServers goes on asking.
func (b *Broker) findNameServers(ctx context.Context) {
	b.askForNameServers = b.cfg().FetchNamesrv && b.cfg().NamesrvAddr == ""
	if b.askForNameServers {
		b.refreshNameServers(ctx)
	}
}

// refreshNameServers takes over a changed list, and reports whether it could ask.
func (b *Broker) refreshNameServers(ctx context.Context) bool {
	list, err := b.cfg().fetchNameServers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.log.Warn("the name servers stay as they are", "name-servers", b.cfg().NamesrvAddr, "error", err)
		}
		return false
	}
	b.configMu.Lock()
	changed, err := b.settings.Update(map[string]string{"namesrvAddr": list})
	b.configMu.Unlock()
	if err != nil {
		b.log.Error("the address server's answer is of no use", "answer", list, "error", err)
		return false
	}
	if len(changed) > 0 {
		b.log.Info("name servers from the address server", "name-servers", list, "url", b.cfg().url())
	}
	return true
}

// watchNameServers asks again now and then, and registers where it has not.
func (b *Broker) watchNameServers(ctx context.Context) {
	pause := addressRetry
	for {
		if b.cfg().NamesrvAddr != "" {
			pause = addressPeriod
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		case <-b.askAgain:
		}
		before := b.cfg().NamesrvAddr
		if !b.refreshNameServers(ctx) {
			pause = min(2*pause, addressPeriod)
		}
		if b.cfg().NamesrvAddr != before {
			b.register.kick()
		}
	}
}
