package front

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRandomConversationsAreAnsweredAsByNetHTTP sends the same bytes, most of them nearly requests, in the same pieces to
// net/http behind the front and without it, closes its side and compares all that comes back.
func TestRandomConversationsAreAnsweredAsByNetHTTP(t *testing.T) {
	n := 2000
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		n = 50_000
	}
	var here atomic.Int64
	cfg := config(differing)
	without, _ := start(t, cfg, false)
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(*answer); ok {
			here.Add(1)
		}
		differing(w, r)
	})
	with, _ := start(t, cfg, true)
	var answered, next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for seed := next.Add(1); seed <= int64(n) && !t.Failed(); seed = next.Add(1) {
				c := conversation(rand.New(rand.NewPCG(1, uint64(seed))))
				want, got := c.hold(t, without), c.hold(t, with)
				for tries := 0; got != want && tries < 3; tries++ { // what the system did with the pieces may differ
					want, got = c.hold(t, without), c.hold(t, with)
				}
				if got != want {
					t.Errorf("conversation %d\nsent %q\nanswered\n%s\nnet/http\n%s", seed, c.pieces, got, want)
				}
				answered.Add(int64(strings.Count(want, "\n")))
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers, %d by the front", answered.Load(), here.Load())
	if here.Load() < answered.Load()/10 {
		t.Errorf("only %d of %d answers came from the front", here.Load(), answered.Load())
	}
}

// differing behaves as the request tells it.
var differing = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Header.Get("X-Early") == "" {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	if r.Header.Get("X-Wait") != "" { // last in its conversation, whose end is seen
		select {
		case <-r.Context().Done():
			w.WriteHeader(499)
		case <-time.After(patience):
			w.WriteHeader(http.StatusGatewayTimeout)
		}
		fmt.Fprint(w, context.Cause(r.Context()))
		return
	}
	if r.Header.Get("X-Close") != "" {
		w.Header().Set("Connection", "close")
	}
	if r.Header.Get("X-Panic") != "" {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/plain")
	fields := make([]string, 0, len(r.Header))
	for name, values := range r.Header {
		fields = append(fields, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(fields)
	fmt.Fprintf(w, "%s %s %s %s %d %q %q", r.Method, r.RequestURI, r.Proto, r.Host, r.ContentLength, fields, body)
})

// dialogue is what is sent, in pieces that are apart.
type dialogue struct{ pieces []string }

// hold sends the pieces and gives the answers without what differs always.
func (d dialogue) hold(t *testing.T, addr string) string {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(2 * patience))
	go func() {
		for i, p := range d.pieces {
			if i > 0 {
				time.Sleep(time.Millisecond)
			}
			if _, err := io.WriteString(nc, p); err != nil {
				break // the server has closed
			}
		}
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	raw, err := io.ReadAll(nc) // a reset after the last answer depends on what had arrived
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return "hangs"
	}
	var all strings.Builder
	for br := bufio.NewReader(bytes.NewReader(raw)); ; {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				fmt.Fprintf(&all, "then %q\n", rest)
			}
			return all.String()
		}
		body, err := io.ReadAll(resp.Body)
		resp.Header.Del("Date")
		resp.Header.Del("Content-Length") // of an error of net/http's own there is none
		fmt.Fprintln(&all, resp.Status, resp.Close, resp.Header, string(body), err != nil)
	}
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// conversation makes up to four requests, broken here and there.
func conversation(r *rand.Rand) dialogue {
	var all string
	for range 1 + r.IntN(4) {
		q := randomRequest(r)
		if r.IntN(2) == 0 {
			q = post("/search", pick(r, "x", "hello", post("/search", "z"), "\r\n\r\n", strings.Repeat("b", 1+r.IntN(1000))), pick(r, "X-A: b", "Connection: keep-alive", "User-Agent: f", "X-Early: 1", "X-Close: 1", "Accept: */*"))
		}
		if r.IntN(8) == 0 {
			q = mutated(r, q)
		}
		all += q
	}
	switch {
	case r.IntN(12) == 0:
		all = all[:r.IntN(len(all))]
	case r.IntN(12) == 0:
		all += post("/search", "w", "X-Wait: 1")
	}
	var d dialogue
	for len(all) > 0 {
		n := len(all)
		if r.IntN(2) == 0 && len(d.pieces) < 6 {
			n = 1 + r.IntN(n)
		}
		d.pieces = append(d.pieces, all[:n])
		all = all[n:]
	}
	return d
}

func randomRequest(r *rand.Rand) string {
	rarely := func(n int, usual string, odd ...string) string {
		if r.IntN(n) == 0 {
			return pick(r, odd...)
		}
		return usual
	}
	end := rarely(30, "\r\n", "\n", "\r\r\n", "\r", "\n\r")
	lead := rarely(20, "", "\r\n", "\n", "\r\n\r\n", "\r", " ", "\x00", "\x16\x03\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n\r\n")
	method := rarely(5, "POST", "GET", "PUT", "OPTIONS", "post", "DELETE", "CONNECT", "TRACE", "P\x00ST", "", "PATCH")
	target := rarely(6, "/search", "/search/", "/search?a=b", "/SEARCH", "//search", "http://h/search", "*", "/%73earch", "/search#f", "/search\x7f",
		"/sea rch", "", "/search;x", "/./search", "/other", "/search%00", "h:443", "/search\t", "?", "/检索", "/search?q=検索", "/%zz")
	version := rarely(12, "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", "HTTP/0.9", "", "HTTP/1,1")
	body := pick(r, "x", "hello", "", post("/search", "z"), "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "\r\n\r\n", strings.Repeat("b", r.IntN(1500)), "{}")
	if r.IntN(200) == 0 {
		body = strings.Repeat("d", []int{9000, 255 << 10, 256 << 10, 300 << 10}[r.IntN(4)])
	}
	fields, chunked := randomFields(r, len(body))
	var b strings.Builder
	b.WriteString(lead + method + rarely(40, " ", "  ", "\t", "") + target + " " + version + end)
	for _, f := range fields {
		b.WriteString(f + rarely(150, end, "\n", "\r", "\r\r\n", "\r\n ", "\r\n\t", "\x00\r\n", ""))
	}
	b.WriteString(rarely(100, end, "\n", "\r", "\r\r\n", "\r\n\r\n", "", " \r\n", "\t\r\n"))
	if chunked {
		body = fmt.Sprintf("%x%s\r\n%s\r\n%s", len(body), pick(r, "", "", ";ext=1", " ", ";\n"), body,
			pick(r, "0\r\n\r\n", "0\r\n\r\n", "0\r\nX-T: v\r\n\r\n", "0\n\n", "00\r\n\r\n", "0\r\n"))
	}
	return b.String() + body
}

func randomFields(r *rand.Rand, n int) (fields []string, chunked bool) {
	if r.IntN(25) != 0 {
		fields = append(fields, pick(r, "Host: a", "Host: a", "Host: a", "Host: a", "Host: a", "host: vendor.example:8080", "HOST:a", "Host: [::1]:80", "Host:", "Host: a b", "Host: a/b", "Host: ä", "Host: a\t", "Host: a,b", "Host: user@a"))
	}
	if r.IntN(40) == 0 {
		fields = append(fields, pick(r, "Host: b", "Host: a", "host:", "X-Host: c"))
	}
	switch r.IntN(24) {
	case 0:
		fields = append(fields, fmt.Sprintf(pick(r, "Content-Length: +%d", "Content-Length: -%d", "Content-Length: %[1]d, %[1]d", "Content-Length: 0x%x", "Content-Length:%d", "Content-Length:\t%d",
			"Content-Length: %03d", "Content-Length: %012d", "Content-Length: %d.0", "Content-Length : %d", " Content-Length: %d", "Content-Length: %d\x00", "Content_Length: %d", "Content-Length: %d %[1]d", "Content-Length: 99999999999999999999%d"), n))
	case 1:
		fields = append(fields, fmt.Sprintf("Content-Length: %d", n), fmt.Sprintf("Content-Length: %d", max(n+r.IntN(3)-1, 0)))
	case 2:
		fields = append(fields, fmt.Sprintf("Content-Length: %d", max(n+r.IntN(9)-4, 0)))
	case 3:
	default:
		fields = append(fields, fmt.Sprintf("%s: %d", pick(r, "Content-Length", "content-length", "CONTENT-LENGTH"), n))
	}
	if r.IntN(12) == 0 {
		fields = append(fields, pick(r, "Transfer-Encoding: chunked", "transfer-encoding: chunked", "Transfer-Encoding: CHUNKED", "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked",
			"Transfer-Encoding : chunked", "Transfer-Encoding:\x0bchunked", "Transfer-Encoding: xchunked", " Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "Transfer-Encoding:", "TE: trailers", "Trailer: X-T"))
		chunked = r.IntN(2) == 0
	}
	for range r.IntN(4) {
		fields = append(fields, pick(r, "Content-Type: application/json", "User-Agent: f", "Accept: */*", "Connection: keep-alive", "X-A: b",
			"Connection: keep-alive", "Connection: Keep-Alive", "Connection: close", "Connection: keep-alive, close", "connection: upgrade", "Connection: X-A", "Connection:", "Connection: host",
			"Expect: 100-continue", "Expect: 200-ok", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5",
			"X-A:  b  c ", "X-A:", "X-A: é", "X-A: \xff\xfe", "X-A: a\tb", "X-A: a\x01", "X-A: a\x00b", "X-A: a\x7f", "X-A: a\r b", "X-A: a\nX-B: c", " folded: x", "\tfolded", "X A: b", "X-A : b", ": empty", "X_A: b", "X.A: b", "X-A", "X-é: b",
			"X-Forwarded-For: 9.9.9.9, 8.8.8.8", "Authorization: Bearer k", "Origin: https://a.example", "Cookie: a=b", "Pragma: no-cache", "Content-Encoding: gzip", "Range: bytes=0-1",
			"X-Early: 1", "X-Close: 1", "X-Panic: 1"))
	}
	switch r.IntN(300) {
	case 0:
		fields = append(fields, "X-Long: "+strings.Repeat("l", 4000+r.IntN(60_000)))
	case 1:
		for i := range 20 + r.IntN(800) {
			fields = append(fields, fmt.Sprintf("X-%d: %d", i, i))
		}
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields, chunked
}

// mutated changes a few of the first bytes.
func mutated(r *rand.Rand, s string) string {
	b := []byte(s)
	for range 1 + r.IntN(3) {
		i := r.IntN(min(len(b), 600))
		switch j := min(len(b), i+1+r.IntN(10)); r.IntN(5) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = slices.Insert(b, i, []byte(pick(r, "\r", "\n", "\r\n", "\x00", " ", "\t", ":", ",", "0", ";", "\r\n ", "\r\n\r\n"))...)
		case 2:
			b = slices.Insert(b, j, bytes.Clone(b[i:j])...)
		case 3:
			b = slices.Delete(b, i, j)
		case 4:
			b[i] = byte(r.IntN(256))
		}
		if len(b) == 0 {
			return "x"
		}
	}
	return string(b)
}
