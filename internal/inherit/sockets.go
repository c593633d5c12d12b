package inherit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/hashicorp/go-hclog"
)

// Remoting is the name (FileDescriptorName=) of a socket that is the client port
// whatever its number is.
const Remoting = "remoting"

// first is the first descriptor that the protocol passes.
const first = 3

// Sockets are the descriptors that were passed to this process, 3 and following.
type Sockets struct{ files []*os.File }

// Take takes over what the environment says was passed to this process, and
// removes it from there.
func Take() *Sockets { return &Sockets{activation.Files(true)} }

// Want says which socket a server can use.
type Want struct {
	Key  string // the setting that chooses the port
	Port int    // what it is set to
	// Never names ports that must refuse while this process is dead, with the
	// reason.
	Never map[int]string
}

// Listener returns the listener that was passed for the wanted port, nil when
// nothing was passed. Everything else that was passed is an error, which names it
// and the remedy.
func (s *Sockets) Listener(want Want) (found net.Listener, err error) {
	defer func() {
		if err != nil && found != nil {
			err = errors.Join(err, found.Close())
			found = nil
		}
	}()
	for i, f := range s.files {
		l, port, err := listen(f, first+i)
		if err != nil {
			return found, fmt.Errorf("%s is not a listening TCP socket (%w): pass one that is (ListenStream=%d in a socket unit), or none", what(f, first+i), err, want.Port)
		}
		why, never := want.Never[port]
		switch {
		case never:
			err = fmt.Errorf("%s listens on %s, %s: take it out of the socket unit", what(f, first+i), l.Addr(), why)
		case port != want.Port && f.Name() != Remoting:
			err = fmt.Errorf("%s listens on %s, but %s is %d: set %s=%d or ListenStream=%d, or name the socket (FileDescriptorName=%s), or pass none",
				what(f, first+i), l.Addr(), want.Key, want.Port, want.Key, port, want.Port, Remoting)
		case found != nil:
			err = fmt.Errorf("%s listens on %s and another one on %s: pass only one for %s (ListenStream=%d serves IPv4 and IPv6)",
				what(f, first+i), l.Addr(), found.Addr(), want.Key, want.Port)
		}
		if err != nil {
			return found, errors.Join(err, l.Close())
		}
		found = l
	}
	return found, nil
}

// Setting is where a socket's port goes, a *config.Set.
type Setting interface {
	Put(key, value, source string) error
}

// Adopt is Listener for a server whose port is a setting: a socket that is the
// client port by its name decides it, because other ports follow from it.
func (s *Sockets) Adopt(set Setting, want Want, log hclog.Logger) (net.Listener, error) {
	l, err := s.Listener(want)
	if err != nil || l == nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	log.Info("the port for clients is held by who started this process", "addr", l.Addr().String())
	if port != want.Port {
		log.Warn("the port of the socket that was passed replaces "+want.Key, want.Key, want.Port, "port", port)
	}
	if err := set.Put(want.Key, strconv.Itoa(port), "the socket that was passed"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// what names a descriptor to people.
func what(f *os.File, fd int) string {
	return fmt.Sprintf("the socket passed as descriptor %d (%s)", fd, f.Name())
}

// listen makes a listener of a descriptor, with a copy of its own.
func listen(f *os.File, fd int) (net.Listener, int, error) {
	// A connection would be taken for a listener otherwise, until it is accepted from.
	listening, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return nil, 0, err
	}
	if listening == 0 {
		return nil, 0, errors.New("it does not listen")
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, 0, err
	}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("its address is %s %s", l.Addr().Network(), l.Addr()), l.Close())
	}
	return l, tcp.Port, nil
}

// HandOn prepares for this process to be replaced by another program (exec), and
// returns the variables by which that one takes the sockets over. Nothing else may
// be started from then on.
func (s *Sockets) HandOn() ([]string, error) {
	if len(s.files) == 0 {
		return nil, nil
	}
	names := make([]string, len(s.files))
	for i, f := range s.files {
		// Not f.Fd(), which would make the socket block for all copies of it.
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(first+i), syscall.F_SETFD, 0); errno != 0 {
			return nil, fmt.Errorf("hand on %s: %w", what(f, first+i), errno)
		}
		names[i] = f.Name()
	}
	return []string{
		"LISTEN_PID=" + strconv.Itoa(os.Getpid()), "LISTEN_FDS=" + strconv.Itoa(len(s.files)), "LISTEN_FDNAMES=" + strings.Join(names, ":"),
	}, nil
}
