package front

import (
	"bufio"
	"bytes"
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

// conn is one connection, used by its own goroutine alone.
type conn struct {
	front  *Listener
	net    net.Conn
	remote string
	in     *bufio.Reader
	out    answer
	idle   atomic.Bool // waits for a request: Shutdown may close it
	posted bool        // the last request was a POST
}

func newConn(f *Listener, nc net.Conn) *conn {
	return &conn{front: f, net: nc, remote: nc.RemoteAddr().String(), in: bufio.NewReaderSize(nc, headBuffer)}
}

// serve answers plain requests, and lends the connection to net/http for others, until it ends or is handed over.
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
	for first := true; ; first = false {
		// Either Shutdown sees that the connection is idle, or this sees that it is time to close.
		c.idle.Store(true)
		if c.front.closing.Load() {
			return
		}
		j, err := c.next(first)
		c.idle.Store(false)
		if err != nil || c.front.closing.Load() {
			return // idle for too long, closed by the client, or too slow
		}
		keep := false
		switch j.verdict {
		case plain:
			keep = c.answer(j.head, j.body)
		case framed:
			keep = c.visit(int64(j.head) + j.body)
		default:
			_ = c.net.SetDeadline(time.Time{})
			read, _ := c.in.Peek(c.in.Buffered())
			handed = c.front.hand(&handover{Conn: c.net, read: bytes.Clone(read)}, nil)
		}
		if !keep {
			return
		}
		c.posted = j.verdict == plain || j.post
	}
}

// next waits for a request and reads until its head can be judged. Of the request nothing is consumed.
func (c *conn) next(first bool) (j judgement, err error) {
	// As net/http: the first head must not wait, the others may as long as a connection may be idle; then four bytes
	// must come before there is anything to judge, and line breaks after the body of a POST are forgiven among them.
	wait, least := c.front.cfg.IdleTimeout, 4
	if first {
		wait, least = c.front.cfg.HeaderTimeout, 1
	}
	if c.in.Buffered() < least {
		_ = c.net.SetReadDeadline(time.Now().Add(wait))
		if _, err := c.in.Peek(least); err != nil {
			return j, err
		}
	}
	if c.posted {
		begin, _ := c.in.Peek(least)
		_, _ = c.in.Discard(least - len(bytes.TrimLeft(begin, "\r\n")))
	}
	slow := false
	for {
		read, _ := c.in.Peek(c.in.Buffered())
		if j = judge(read, c.front.line, c.front.cfg.MaxBody); j.verdict != unfinished {
			return j, nil
		}
		if len(read) == headBuffer {
			return judgement{verdict: other}, nil // a very long head
		}
		if !slow {
			slow = true
			_ = c.net.SetReadDeadline(time.Now().Add(c.front.cfg.HeaderTimeout))
		}
		if _, err := c.in.Peek(len(read) + 1); err == io.EOF && len(read) > 0 {
			return judgement{verdict: other}, nil // net/http has an answer to half a head
		} else if err != nil {
			return j, err
		}
	}
}

// answer reads a plain request, lets the handler answer it and writes that; false when the connection must end.
func (c *conn) answer(head int, length int64) (keep bool) {
	read, _ := c.in.Peek(head)
	r := request(read, c.front.cfg.Path, length)
	_, _ = c.in.Discard(head)
	r.RemoteAddr = c.remote
	if int64(c.in.Buffered()) < length {
		_ = c.net.SetReadDeadline(time.Now().Add(c.front.cfg.ReadTimeout))
	}
	body := &body{in: c.in, left: length}
	r.Body = body
	c.out.reset()
	ctx := &waiting{conn: c, body: body}
	func() {
		defer ctx.end()
		c.front.cfg.Handler.ServeHTTP(&c.out, r.WithContext(ctx))
	}()
	whole, stay := body.skip(), c.out.header.Get("Connection") != "close" && !c.front.closing.Load()
	keep = whole && stay
	_ = c.net.SetWriteDeadline(time.Now().Add(c.front.cfg.WriteTimeout))
	_, err := c.net.Write(c.out.bytes(keep || stay && body.err != nil)) // as net/http, which does not tell those whose body broke off
	if err == nil && !whole {
		c.linger()
	}
	return err == nil && keep
}

// lingerTime is how long a client that is still sending has to read its answer: closing at once could reset the
// connection before. As net/http.
const lingerTime = 500 * time.Millisecond

func (c *conn) linger() {
	_ = closeWrite(c.net)
	_ = c.net.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, c.net)
}

// body is the next left bytes of a connection. It notes when it was read to its end: from then on the connection may be
// watched.
type body struct {
	in   *bufio.Reader
	left int64
	err  error // it broke off
	read atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF // the reader may be the watch's now
	}
	if b.err != nil {
		return 0, b.err
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
	b.err = err
	return n, err
}

// maxSkip is how much of an unread body is read over to keep a connection, as net/http does it.
const maxSkip = 256 << 10

// skip reads over what the handler left unread; false when that is too much, or does not come.
func (b *body) skip() bool {
	if b.left >= maxSkip || b.err != nil {
		return false
	}
	_, err := b.in.Discard(int(b.left))
	return err == nil
}

// Close does nothing: what is left is read over by the connection.
func (b *body) Close() error { return nil }
