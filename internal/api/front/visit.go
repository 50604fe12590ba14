package front

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// visit is a connection that net/http has for one request, whose end is known. What follows it on the connection is not
// shown: when net/http has answered and asks for the next request, it is told that there is none, and the connection
// comes back.
type visit struct {
	net.Conn

	conn     *conn
	left     int64         // bytes of the request that net/http has not read
	answered atomic.Bool   // and the connection may stay open
	returned bool          // net/http was told the end
	aborted  chan struct{} // closed when net/http ends its watch for the client's disconnect
	abort    sync.Once
	back     chan bool // whether the connection stays open
	closed   sync.Once
}

// ConnState is for the http.Server that accepts from a Listener.
func ConnState(nc net.Conn, state http.ConnState) {
	if v, ok := nc.(*visit); ok && state == http.StateIdle {
		v.answered.Store(true)
	}
}

// visit has net/http answer the next length bytes; false when the connection must end.
func (c *conn) visit(length int64) (keep bool) {
	v := &visit{Conn: c.net, conn: c, left: length, aborted: make(chan struct{}), back: make(chan bool, 1)}
	_ = c.net.SetDeadline(time.Time{})
	keep = c.front.hand(v, nil) && <-v.back
	_ = c.net.SetDeadline(time.Time{})
	return keep
}

func (v *visit) Read(p []byte) (int, error) {
	if v.left > 0 {
		n, err := v.conn.in.Read(p[:min(int64(len(p)), v.left)])
		v.left -= int64(n)
		return n, err
	}
	if v.answered.Load() {
		v.returned = true
		return 0, io.EOF
	}
	// The request is being answered, and net/http looks for a disconnect. The next request is none.
	if _, err := v.conn.in.Peek(1); err != nil {
		return 0, err
	}
	<-v.aborted
	return 0, os.ErrDeadlineExceeded
}

// SetReadDeadline implements net.Conn. One in the past is how net/http ends its watch.
func (v *visit) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		v.abort.Do(func() { close(v.aborted) })
	}
	return v.Conn.SetReadDeadline(t)
}

// Close gives the connection back.
func (v *visit) Close() error {
	v.abort.Do(func() { close(v.aborted) })
	v.closed.Do(func() { v.back <- v.returned })
	return nil
}

// CloseWrite is what net/http looks for before it waits for the client to read an error.
func (v *visit) CloseWrite() error { return closeWrite(v.Conn) }

// handover is a connection that net/http has for good, of which some bytes were read already.
type handover struct {
	net.Conn

	read []byte
}

func (h *handover) Read(p []byte) (int, error) {
	if len(h.read) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.read)
	h.read = h.read[n:]
	return n, nil
}

// CloseWrite is as visit's.
func (h *handover) CloseWrite() error { return closeWrite(h.Conn) }

func closeWrite(nc net.Conn) error {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
