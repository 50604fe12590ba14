// Package load drives an HTTP server and times its answers.
//
// It shares the machine with what it measures, so it is as cheap as it can be: requests are whole byte strings made
// beforehand, connections are kept alive, answers are read by a parser that knows only what it needs of HTTP/1.1.
package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// maxAnswer bounds head and body of an answer.
const maxAnswer = 16 << 20

var (
	errHead  = errors.New("malformed answer")
	errLarge = fmt.Errorf("answer larger than %d bytes", maxAnswer)
)

// Request returns the bytes of a POST with a JSON body.
func Request(host, path string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, host, len(body))
	b.Write(body)
	return b.Bytes()
}

// conn is one keep-alive connection. Not for concurrent use.
type conn struct {
	addr    string
	timeout time.Duration
	net     net.Conn
	buf     []byte // what was read of the current answer
	body    []byte // of a chunked answer, put together
}

func (c *conn) close() {
	if c.net != nil {
		c.net.Close()
		c.net = nil
	}
}

// do sends a request and returns the status and body of the answer; body is valid until the next do. After an error,
// or when the server says so, the next do opens a new connection.
func (c *conn) do(request []byte) (status int, body []byte, err error) {
	if c.net == nil {
		if c.net, err = net.DialTimeout("tcp", c.addr, c.timeout); err != nil {
			c.net = nil
			return 0, nil, err
		}
	}
	if err = c.net.SetDeadline(time.Now().Add(c.timeout)); err == nil {
		if _, err = c.net.Write(request); err == nil {
			var keep bool
			if status, body, keep, err = c.read(); err == nil && keep {
				return status, body, nil
			}
		}
	}
	c.close()
	return status, body, err
}

// read reads one answer.
func (c *conn) read() (status int, body []byte, keep bool, err error) {
	c.buf = c.buf[:0]
	end := -1
	for from := 0; end < 0; {
		if err := c.fill(); err != nil {
			return 0, nil, false, err
		}
		if i := bytes.Index(c.buf[from:], []byte("\r\n\r\n")); i >= 0 {
			end = from + i + 4
		}
		from = max(0, len(c.buf)-3)
	}
	head := c.buf[:end]
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return 0, nil, false, errHead
	}
	if status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return 0, nil, false, errHead
	}
	keep = !bytes.EqualFold(field(head, "connection"), []byte("close"))
	switch length := field(head, "content-length"); {
	case length != nil:
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 0 || n > maxAnswer {
			return 0, nil, false, errHead
		}
		for len(c.buf) < end+n {
			if err := c.fill(); err != nil {
				return 0, nil, false, err
			}
		}
		return status, c.buf[end : end+n], keep, nil
	case bytes.EqualFold(field(head, "transfer-encoding"), []byte("chunked")):
		body, err := c.chunks(end)
		return status, body, keep, err
	case status == 204 || status == 304:
		return status, nil, keep, nil
	}
	return 0, nil, false, errHead
}

// chunks puts a chunked body together that starts at c.buf[at].
func (c *conn) chunks(at int) ([]byte, error) {
	c.body = c.body[:0]
	for {
		line := bytes.Index(c.buf[at:], []byte("\r\n"))
		if line < 0 {
			if err := c.fill(); err != nil {
				return nil, err
			}
			continue
		}
		size, _, _ := bytes.Cut(c.buf[at:at+line], []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil || n > maxAnswer {
			return nil, errHead
		}
		at += line + 2
		for len(c.buf) < at+int(n)+2 {
			if err := c.fill(); err != nil {
				return nil, err
			}
		}
		if n == 0 { // no peer sends trailers
			return c.body, nil
		}
		c.body = append(c.body, c.buf[at:at+int(n)]...)
		at += int(n) + 2
	}
}

// fill reads more of the answer into c.buf.
func (c *conn) fill() error {
	if len(c.buf) >= maxAnswer {
		return errLarge
	}
	if cap(c.buf)-len(c.buf) < 2048 {
		grown := make([]byte, len(c.buf), 2*cap(c.buf)+8192)
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.net.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// field returns the value of a header, nil when absent. name is in lower case.
func field(head []byte, name string) []byte {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}
