package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// patience is for what must happen; no test waits for it when all is well.
const patience = 20 * time.Second

// handler answers with what it understood of the request.
var handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Seen", r.Header.Get("X-Sent"))
	w.Header().Set("Content-Type", "text/plain")
	if r.URL.Path == "/teapot" {
		w.WriteHeader(http.StatusTeapot)
	}
	fmt.Fprintf(w, "%s %s %s %q", r.Method, r.URL, r.Host, body)
})

func config(h http.Handler) Config {
	return Config{
		Path: "/search", MaxBody: 1000, Handler: h, ErrorLog: log.New(io.Discard, "", 0),
		HeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience,
	}
}

// start serves cfg.Handler with net/http behind the front, or without it.
func start(t *testing.T, cfg Config, with bool) (addr string, f *Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	server := &http.Server{Handler: cfg.Handler, ReadHeaderTimeout: cfg.HeaderTimeout, MaxHeaderBytes: 32 << 10, ErrorLog: cfg.ErrorLog}
	if with {
		f = Listen(l, cfg)
		l = f
		server.ConnState = ConnState
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if f != nil && !f.closing.Load() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := f.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return addr, f
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func send(t *testing.T, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func post(path, body string, fields ...string) string {
	all := ""
	for _, f := range fields {
		all += f + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s", path, len(body), all, body)
}

// receive reads one answer.
func receive(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// What a client sends on one connection. Plain ones are answered by the front, as counted; of the others net/http
// must see every byte.
var conversations = []struct {
	name string
	sent string
	here int // requests answered by the front
}{
	{"plain", post("/search", "x"), 1},
	{"fields", post("/search", "x", "X-Sent: a b", "Authorization: Bearer k", "Connection: Keep-Alive"), 1},
	{"pipelined", post("/search", "x") + post("/search", "yy") + post("/search", "zzz"), 3},
	{"body at the limit", post("/search", strings.Repeat("b", 1000)), 1},
	{"body over the limit", post("/search", strings.Repeat("b", 1001)), 0},
	{"another path, then plain", post("/teapot", "x") + post("/search", "x"), 1},
	{"plain, then another path", post("/search", "x") + post("/teapot", "x") + post("/search", "x"), 2},
	{"get, then plain", "GET /other HTTP/1.1\r\nHost: a\r\n\r\n" + post("/search", "x"), 1},
	{"head, then plain", "HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n" + post("/search", "x"), 1},
	{"a preflight, then plain", "OPTIONS /search HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n" + post("/search", "x"), 1},
	{"a large body elsewhere, then plain", post("/teapot", strings.Repeat("b", 100_000)) + post("/search", "x"), 1},
	{"to and fro", post("/search", "x") + "GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + post("/search", "y") + "GET /b HTTP/1.1\r\nHost: a\r\n\r\n" + post("/search", "z"), 3},
	{"line breaks after a body", post("/search", "x") + "\r\n" + post("/search", "x") + "\r\n\r\n" + post("/teapot", "x") + "\n" + post("/search", "x"), 3},
	{"too many line breaks after a body", post("/search", "x") + "\r\n\r\n\r\n" + post("/search", "x"), 1},
	{"line breaks after no body", "GET /other HTTP/1.1\r\nHost: a\r\n\r\n\r\n" + post("/search", "x"), 0},
	{"line breaks first", "\r\n" + post("/search", "x"), 0},
	{"closed elsewhere", "GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + post("/search", "x"), 0},
	{"half a head", "POST /search HTTP/1.1\r\nHost", 0},
	{"half a body", strings.TrimSuffix(post("/search", "xyz"), "z"), 1},
	{"half a body elsewhere", strings.TrimSuffix(post("/teapot", "xyz"), "z"), 0},
	{"a line feed in an unfinished head", "POST /search HTTP/1.1\r\nHost: a\n\n", 0},
	{"a head beyond all limits", post("/search", "x", "X-Sent: "+strings.Repeat("a", 50_000)) + post("/search", "x"), 0},
	{"a longer path", post("/searches", "x"), 0},
	{"a query", post("/search?a=b", "x"), 0},
	{"no body", post("/search", ""), 0},
	{"get", "GET /search HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	{"chunked", "POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 0},
	{"chunked and a length", post("/search", "1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 0},
	{"two lengths", post("/search", "xy", "Content-Length: 1"), 0},
	{"the same length twice", post("/search", "x", "Content-Length: 1"), 0},
	{"a signed length", "POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 0},
	{"a list of lengths", "POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 0},
	{"no length", "POST /search HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	{"no host", "POST /search HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 0},
	{"two hosts", post("/search", "x", "Host: b"), 0},
	{"a strange host", "POST /search HTTP/1.1\r\nHost: a/b\r\nContent-Length: 1\r\n\r\nx", 0},
	{"closing", post("/search", "x", "Connection: close"), 0},
	{"upgrade", post("/search", "x", "Connection: upgrade", "Upgrade: h2c"), 0},
	{"expectation", post("/search", "x", "Expect: 100-continue"), 0},
	{"old version", "POST /search HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 0},
	{"folded field", post("/search", "x", "X-Sent: a", " b"), 0},
	{"space before the colon", post("/search", "x", "X-Sent : a"), 0},
	{"control character", post("/search", "x", "X-Sent: a\x01"), 0},
	{"line feeds alone", "POST /search HTTP/1.1\nHost: a\nContent-Length: 1\n\nx", 0},
	{"a return in a value", post("/search", "x", "X-Sent: a\rHost: b"), 0},
	{"long head", post("/search", "x", "X-Sent: "+strings.Repeat("a", headBuffer)), 0},
	{"no http", "hello\r\n\r\n", 0},
}

func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			here := 0
			cfg := config(handler)
			without, _ := start(t, cfg, false)
			cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, ok := w.(*answer); ok {
					here++
				}
				handler(w, r)
			})
			with, _ := start(t, cfg, true)
			want, got := converse(t, without, c.sent), converse(t, with, c.sent)
			if got != want || want == "" {
				t.Errorf("answered\n%s\nnet/http\n%s", got, want)
			}
			if here != c.here {
				t.Errorf("%d requests answered by the front, want %d", here, c.here)
			}
		})
	}
}

// converse sends everything, then closes its side, and returns all answers without their dates.
func converse(t *testing.T, addr, sent string) string {
	t.Helper()
	c, r := dial(t, addr)
	send(t, c, sent)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for range strings.Count(sent, " HTTP/1.") + strings.Count(sent, "hello") {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			break // net/http closes after what it does not understand
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		resp.Header.Del("Date")
		if resp.StatusCode != http.StatusContinue {
			resp.Header.Del("Content-Length") // of an error of net/http's own there is none
		}
		fmt.Fprintln(&all, resp.Status, resp.Close, resp.Header, string(body), err)
	}
	return all.String()
}

// A head that comes in pieces is judged when it is whole.
func TestPieces(t *testing.T) {
	addr, _ := start(t, config(handler), true)
	for _, path := range []string{"/search", "/teapot"} {
		c, r := dial(t, addr)
		for _, b := range []byte(post(path, "some body")) {
			send(t, c, string(b))
		}
		if _, body := receive(t, r); body != `POST `+path+` a "some body"` {
			t.Errorf("answered %q", body)
		}
	}
}

// A request whose client leaves, or closes its side, ends; so does what was derived from it.
func TestADisconnectCancels(t *testing.T) {
	for _, path := range []string{"/search", "/teapot"} {
		for name, leave := range map[string]func(*net.TCPConn) error{"closed": (*net.TCPConn).Close, "half closed": (*net.TCPConn).CloseWrite} {
			began, cause := make(chan struct{}), make(chan error, 1)
			addr, _ := start(t, config(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				derived, cancel := context.WithTimeout(r.Context(), patience)
				defer cancel()
				close(began)
				<-derived.Done()
				cause <- errors.Join(r.Context().Err(), context.Cause(derived))
				w.WriteHeader(http.StatusTeapot)
			})), true)
			nc, r := dial(t, addr)
			send(t, nc, post(path, "x"))
			<-began
			if err := leave(nc.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if err := <-cause; !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s %s: %v", path, name, err)
			}
			if name == "half closed" {
				if resp, _ := receive(t, r); resp.StatusCode != http.StatusTeapot {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
		}
	}
}

// What outlives a request sees its end and can still ask for it.
func TestAContextIsOverWithItsRequest(t *testing.T) {
	for _, asked := range []bool{false, true} {
		w := &waiting{body: &body{}}
		told := make(chan struct{})
		if asked {
			w.AfterFunc(func() { close(told) })
			if stop := w.AfterFunc(func() { t.Error("told though stopped") }); !stop() || stop() {
				t.Error("stopped not once")
			}
		}
		if w.Err() != nil {
			t.Error(w.Err())
		}
		w.end()
		<-w.Done()
		if w.Err() != context.Canceled || context.Cause(w) != context.Canceled {
			t.Error(w.Err(), context.Cause(w))
		}
		if !asked {
			if stop := w.AfterFunc(func() { close(told) }); stop() {
				t.Error("stopped what was told")
			}
		}
		<-told
	}
}

// A request that takes long, one whose body does, and one that comes before the answer to the last: the watch gives
// the connection back each time.
func TestSlowRequests(t *testing.T) {
	addr, _ := start(t, config(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
			t.Error(context.Cause(r.Context()))
		case <-time.After(3 * watchAfter):
		}
		_, _ = w.Write(body)
	})), true)
	c, r := dial(t, addr)
	for i := range 6 {
		want := fmt.Sprintf("%d abc", i)
		paths := []string{"/search", "/teapot", "/search"}
		request := post(paths[i%2], want)
		send(t, c, request[:len(request)-2])
		time.Sleep(3 * watchAfter)
		send(t, c, request[len(request)-2:]+post(paths[i%3], "early"))
		for _, want := range []string{want, "early"} {
			if resp, body := receive(t, r); body != want || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %q, want %q", resp.Status, body, want)
			}
		}
	}
}

func TestTimeouts(t *testing.T) {
	const soon = 50 * time.Millisecond
	for name, c := range map[string]struct {
		set  func(*Config)
		sent string
	}{
		"first head": {func(c *Config) { c.HeaderTimeout = soon }, ""},
		"slow head":  {func(c *Config) { c.HeaderTimeout = soon }, "POST /sea"},
		"slow body":  {func(c *Config) { c.ReadTimeout = soon }, strings.TrimSuffix(post("/search", "xyz"), "z")},
		"idle":       {func(c *Config) { c.IdleTimeout = soon }, post("/search", "xyz")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(handler)
			c.set(&cfg)
			addr, _ := start(t, cfg, true)
			nc, r := dial(t, addr)
			send(t, nc, c.sent)
			if name == "idle" {
				receive(t, r)
			}
			if b, err := io.ReadAll(r); err != nil || bytes.Contains(b, []byte("200 OK")) {
				t.Errorf("%q, %v: want the end of the connection", b, err)
			}
		})
	}
}

func TestShutdown(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	addr, f := start(t, config(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) == "slow" {
			close(began)
			<-finish
		}
		_, _ = io.WriteString(w, "done")
	})), true)
	idle, idleReader := dial(t, addr)
	send(t, idle, post("/search", "x"))
	receive(t, idleReader)
	busy, busyReader := dial(t, addr)
	send(t, busy, post("/search", "slow"))
	<-began

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Shutdown(ctx) }()
	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("idle connection: %v, want its end", err)
	}
	select {
	case err := <-ended:
		t.Errorf("ended before the answer: %v", err)
	default:
	}
	close(finish)
	if resp, body := receive(t, busyReader); body != "done" || !resp.Close {
		t.Errorf("%q, close %v", body, resp.Close)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("still accepting")
	}
}

// A request that does not end is cut when the time for it is over.
func TestShutdownEndsInTime(t *testing.T) {
	began := make(chan struct{})
	addr, f := start(t, config(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(began)
		<-r.Context().Done()
	})), true)
	c, _ := dial(t, addr)
	send(t, c, post("/search", "x"))
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A handler that panics costs its connection, not the process.
func TestPanic(t *testing.T) {
	addr, _ := start(t, config(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) == "panic" {
			panic("as told")
		}
		_, _ = io.WriteString(w, "fine")
	})), true)
	c, r := dial(t, addr)
	send(t, c, post("/search", "panic"))
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("%v, want the end", err)
	}
	c, r = dial(t, addr)
	send(t, c, post("/search", "x"))
	if _, body := receive(t, r); body != "fine" {
		t.Error(body)
	}
}

// FuzzJudge: what is judged plain, net/http's parser reads as one request of that length with nothing special; what is
// judged framed ends where it says, if it is a request at all.
func FuzzJudge(f *testing.F) {
	for _, c := range conversations {
		f.Add([]byte(c.sent))
	}
	line := []byte("POST /search HTTP/1.1\r\n")
	f.Fuzz(func(t *testing.T, in []byte) {
		j := judge(in, line, 1000)
		head, length := j.head, j.body
		if j.verdict != plain && j.verdict != framed {
			return
		}
		left := bytes.NewReader(in)
		br := bufio.NewReaderSize(left, len(in)+16)
		r, err := http.ReadRequest(br)
		if err != nil {
			if j.verdict == framed {
				return // an answer and the end of the connection
			}
			t.Fatalf("%q: %v", in, err)
		}
		if j.verdict == framed {
			if got := len(in) - left.Len() - br.Buffered(); got != head || r.ContentLength != length || len(r.TransferEncoding) > 0 || r.Close || j.post != (r.Method == "POST") {
				t.Errorf("%q: %+v, net/http reads a head of %d: %+v", in, j, got, r)
			}
			return
		}
		if got := len(in) - left.Len() - br.Buffered(); got != head {
			t.Errorf("%q: head of %d bytes, net/http reads %d", in, head, got)
		}
		if r.ContentLength != length || len(r.TransferEncoding) > 0 || r.Close || r.Method != "POST" || r.RequestURI != "/search" || r.Host == "" {
			t.Errorf("%q: read as %+v", in, r)
		}
		got := request(in[:head], "/search", length)
		r.Body = nil
		if !reflect.DeepEqual(got, r) {
			t.Errorf("%q: read as\n%+v, net/http reads\n%+v", in, got, r)
		}
		for _, name := range []string{"Transfer-Encoding", "Expect", "Upgrade", "Trailer"} {
			if _, ok := r.Header[name]; ok {
				t.Errorf("%q: has %s", in, name)
			}
		}
	})
}

// Once its end was read, a body leaves the reader alone: a watch may be using it.
func TestABodyIsReadOnce(t *testing.T) {
	b := &body{in: bufio.NewReader(strings.NewReader("abcdef")), left: 3}
	if got, err := io.ReadAll(b); string(got) != "abc" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	b.in = nil
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("then %d, %v", n, err)
	}
	b = &body{in: bufio.NewReader(strings.NewReader("ab")), left: 3}
	if got, err := io.ReadAll(b); string(got) != "ab" || err != io.ErrUnexpectedEOF || b.read.Load() {
		t.Errorf("cut short: %q, %v", got, err)
	}
}
