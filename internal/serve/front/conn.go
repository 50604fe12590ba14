package front

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// headBuffer holds a whole head, and most often the body with it: 384 numbers in JSON are 4.3 KB.
	headBuffer = 8 << 10
	// keepBuffer is the most that a connection keeps for its next answer.
	keepBuffer = 64 << 10
)

// conn is one connection. All of it but the marked is used by its own goroutine alone.
type conn struct {
	front  *Listener
	net    net.Conn
	remote string
	in     *bufio.Reader
	out    answer
	idle   bool // guarded by front.mu
	watch  atomic.Pointer[watch]
}

func newConn(f *Listener, nc net.Conn) *conn {
	return &conn{front: f, net: nc, remote: nc.RemoteAddr().String(), in: bufio.NewReaderSize(nc, headBuffer)}
}

// serve answers plain requests until the connection ends or is handed over.
func (c *conn) serve() {
	handed := false
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			c.front.cfg.ErrorLog.Printf("panic serving %s: %v\n%s", c.remote, p, debug.Stack())
		}
		c.front.end(c)
		if !handed {
			c.net.Close()
		}
	}()
	wait := c.front.cfg.HeaderTimeout // as net/http: the first head must not wait
	for c.front.rest(c, true) {
		v, head, body, err := c.head(wait)
		if !c.front.rest(c, false) || err != nil {
			return // idle for too long, closed by the client, or too slow
		}
		if v == other {
			_ = c.net.SetDeadline(time.Time{})
			read, _ := c.in.Peek(c.in.Buffered())
			handed = c.front.hand(&handover{Conn: c.net, read: bytes.Clone(read)}, nil)
			return
		}
		if !c.answer(head, body) {
			return
		}
		wait = c.front.cfg.IdleTimeout
	}
}

// head waits for a request and reads until its head can be judged. Nothing is consumed.
func (c *conn) head(wait time.Duration) (v verdict, head int, body int64, err error) {
	if c.in.Buffered() == 0 {
		_ = c.net.SetReadDeadline(time.Now().Add(wait))
		if _, err := c.in.Peek(1); err != nil {
			return other, 0, 0, err
		}
	}
	slow := false
	for {
		read, _ := c.in.Peek(c.in.Buffered())
		v, head, body = judge(read, c.front.line, c.front.cfg.MaxBody)
		if v == unfinished && len(read) == headBuffer {
			return other, 0, 0, nil // a very long head
		}
		if v != unfinished {
			return v, head, body, nil
		}
		if !slow {
			slow = true
			_ = c.net.SetReadDeadline(time.Now().Add(c.front.cfg.HeaderTimeout))
		}
		if _, err := c.in.Peek(len(read) + 1); err != nil {
			return other, 0, 0, err
		}
	}
}

// answer reads a plain request, lets the handler answer it and writes that; false when the connection must end.
func (c *conn) answer(head int, length int64) bool {
	read, _ := c.in.Peek(head)
	r := request(read, c.front.cfg.Path, length)
	_, _ = c.in.Discard(head)
	r.RemoteAddr = c.remote
	if int64(c.in.Buffered()) < length {
		_ = c.net.SetReadDeadline(time.Now().Add(c.front.cfg.ReadTimeout))
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	body := &body{in: c.in, left: length}
	r.Body = body
	c.out.reset()
	w := c.front.watch(c, body, cancel)
	c.front.cfg.Handler.ServeHTTP(&c.out, r.WithContext(ctx))
	w.end()
	keep := c.out.header.Get("Connection") != "close" && !c.front.isClosing()
	if !body.skip() {
		keep = false
	}
	_ = c.net.SetWriteDeadline(time.Now().Add(c.front.cfg.WriteTimeout))
	_, err := c.net.Write(c.out.bytes(keep))
	return err == nil && keep
}

// body is the next left bytes of a connection. It notes when it was read to its end: from then on the connection may be
// watched.
type body struct {
	in   *bufio.Reader
	left int64
	read atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF // the reader may be the watch's now
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		b.read.Store(true)
		return n, io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// maxSkip is how much of an unread body is read over to keep a connection, as net/http does it.
const maxSkip = 256 << 10

// skip reads over what the handler left unread; false when that is too much, or does not come.
func (b *body) skip() bool {
	if b.left >= maxSkip {
		return false
	}
	_, err := b.in.Discard(int(b.left))
	return err == nil
}

// Close does nothing: what is left is read over by the connection.
func (b *body) Close() error { return nil }

// handover is a connection of which some bytes were read already.
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
