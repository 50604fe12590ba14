package front

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a Listener.
type Config struct {
	Path    string       // of the requests answered here
	MaxBody int64        // a longer body is net/http's
	Handler http.Handler // reads the body as a handler under net/http does; it must not hijack or flush

	HeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration

	ErrorLog *log.Logger
}

// Listener owns the connections that the one it wraps accepts. Accept returns those that net/http is to have, for one
// request or for good; the server that accepts them must have ConnState as its own.
type Listener struct {
	net.Listener

	cfg     Config
	line    []byte
	next    chan accepted
	done    chan struct{} // closed by Close
	closing atomic.Bool   // no request begins any more

	mu    sync.Mutex
	conns map[*conn]struct{}
	ended sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

// Listen starts to accept from l.
func Listen(l net.Listener, cfg Config) *Listener {
	f := &Listener{
		Listener: l, cfg: cfg, line: []byte("POST " + cfg.Path + " HTTP/1.1\r\n"),
		next: make(chan accepted), done: make(chan struct{}), conns: make(map[*conn]struct{}),
	}
	go f.accept()
	return f
}

func (f *Listener) accept() {
	for {
		nc, err := f.Listener.Accept()
		switch {
		case err == nil:
			f.begin(nc)
		case errors.Is(err, net.ErrClosed) || !f.hand(nil, err): // the server waits between its tries
			return
		}
	}
}

// Accept returns the next connection whose request is not for here.
func (f *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-f.next:
		return a.conn, a.err
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// hand gives a connection or an error to Accept; false after Close.
func (f *Listener) hand(nc net.Conn, err error) bool {
	select {
	case f.next <- accepted{nc, err}:
		return true
	case <-f.done:
		return false
	}
}

// Close stops accepting. Connections live on until Shutdown.
func (f *Listener) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return nil
	default:
		close(f.done)
	}
	return f.Listener.Close()
}

// Shutdown closes the connections: idle ones now, the others after their answer, all when ctx ends. It is called once.
func (f *Listener) Shutdown(ctx context.Context) error {
	err := f.Close()
	f.mu.Lock()
	f.closing.Store(true)
	for c := range f.conns {
		if c.idle.Load() {
			c.net.Close()
		}
	}
	f.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		f.ended.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
	}
	f.mu.Lock()
	for c := range f.conns {
		c.net.Close()
	}
	f.mu.Unlock()
	return errors.Join(err, ctx.Err())
}

func (f *Listener) begin(nc net.Conn) {
	c := newConn(f, nc)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing.Load() {
		nc.Close()
		return
	}
	f.conns[c] = struct{}{}
	f.ended.Add(1)
	go c.serve()
}

// end forgets a connection.
func (f *Listener) end(c *conn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	f.ended.Done()
}
