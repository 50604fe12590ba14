package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// heavy is a catalogue of n records of size bytes each.
func heavy(n, size int) []string {
	var all []string
	pad := strings.Repeat("重", size/3)
	for i := range n {
		all = append(all, fmt.Sprintf(`{"vendor_id":"H-%03d","name":"重い %d","kind":"heavy","_pad":"%s"}`, i, i, pad))
	}
	return all
}

// TestAnswersAreBoundedInBytes asks for 920 MB, which must not become memory.
func TestAnswersAreBoundedInBytes(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(heavy(92, 100_000))
	r := start(t, w)
	r.serving(p.ID)
	one := `{"filter":{"kind":"heavy"},"k":100}`
	batch := `{"queries":[` + strings.TrimSuffix(strings.Repeat(one+",", 100), ",") + `]}`
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	code, _, data := r.do("POST", "/search/batch", batch)
	runtime.ReadMemStats(&after)
	if code != 422 || !strings.Contains(string(data), "fewer results") {
		t.Errorf("%d %.200s", code, data)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("refusing it allocated %d MiB", grown>>20)
	}
	// What fits is answered, whole.
	for path, body := range map[string]string{"/search": one, "/search/batch": `{"queries":[` + one + `,` + one + `,` + one + `]}`} {
		res, data := r.raw("POST", path, body)
		if res.StatusCode != 200 || !json.Valid(data) || res.ContentLength != int64(len(data)) || len(data) < 92*100_000 {
			t.Errorf("%s: %d, %d bytes", path, res.StatusCode, len(data))
		}
	}
	if n := r.answers.used.Load(); n != 0 {
		t.Errorf("%d bytes of answers are still claimed", n)
	}
	// Without room now, it is 503 and not more memory.
	r.answers.enter(maxAnswers)
	if code, h, _ := r.do("POST", "/search", one); code != 503 || h.Get("Retry-After") == "" {
		t.Errorf("no room: %d", code)
	}
	if code, _, _ := r.do("POST", "/search", `{"filter":{"kind":"heavy"},"k":1}`); code != 200 {
		t.Errorf("a small answer meanwhile: %d", code)
	}
	r.answers.leave(maxAnswers)
}

// A panic while an answer is rendered ends that answer; what it had claimed is there for others again.
func TestAnswerThatPanicsClaimsNothing(t *testing.T) {
	w := followtest.New(t)
	p := w.Publish(followtest.Catalogue())
	r := start(t, w)
	r.serving(p.ID)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		rec, req := httptest.NewRecorder(), httptest.NewRequest("POST", "/search", strings.NewReader("{}"))
		r.handle(rec, req, time.Now(), &r.searches, maxBody, func([]byte) (answerFunc, error) {
			return func(context.Context, *follow.Snapshot) (int, func([]byte) ([]byte, error), error) {
				return 1 << 20, func([]byte) ([]byte, error) { panic("a record that nobody foresaw") }, nil
			}, nil
		})
	}()
	if n := r.answers.used.Load(); n != 0 {
		t.Errorf("%d bytes of answers are still claimed", n)
	}
	if n := r.searches.used.Load(); n != 0 {
		t.Errorf("%d searches are still under way", n)
	}
}

// dial opens a connection and sends text.
func (r *replica) dial(text string) *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	must(r.t, err)
	_, err = io.WriteString(c, text)
	must(r.t, err)
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func request(path, body string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, length, body)
}

// everyPath of a search: the lean one, net/http's, and the batches.
func everyPath(body string) map[string]string {
	return map[string]string{"/search": body, "/search?x": body, "/search/batch": `{"queries":[` + body + `]}`}
}

func counted(r *replica, code string) float64 {
	return testutil.ToFloat64(r.m.requests.WithLabelValues(code))
}

func TestAClientThatLeavesIs499InEveryPath(t *testing.T) {
	var asked atomic.Int64
	r := served(t, func(d *follow.Deps, _ *Config) {
		d.Embedder = func(snapshot.Embedding) (view.Embedder, error) {
			return followtest.EmbedFunc(func(ctx context.Context, _ string) ([]float32, error) {
				asked.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			}), nil
		}
	})
	i := 0
	for path, body := range everyPath(`{"query":"会計 %d"}`) {
		for name, leave := range map[string]func(*net.TCPConn){
			"closed":      func(c *net.TCPConn) { c.Close() },
			"reset":       func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() },
			"half closed": func(c *net.TCPConn) { _ = c.CloseWrite() },
		} {
			i++
			gone, before := counted(r, "499"), asked.Load()
			body := fmt.Sprintf(body, i)
			c := r.dial(request(path, body, len(body)))
			followtest.Eventually(t, "the provider is asked", func() bool { return asked.Load() > before })
			leave(c)
			followtest.Eventually(t, path+" "+name+" is counted as 499", func() bool { return counted(r, "499") > gone })
			if name != "half closed" {
				continue
			}
			if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != statusGone {
				t.Errorf("%s %s: %v %v", path, name, res, err)
			}
		}
	}
	r.close()
	if log := r.log.String(); strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, "search failed") {
		t.Errorf("logged: %s", log)
	}
	if n := counted(r, "500") + counted(r, "502"); n != 0 {
		t.Errorf("%v requests are counted as failures", n)
	}
}

func TestAHalfClosedClientGetsItsAnswer(t *testing.T) {
	r := served(t)
	r.search(`{"query":"会計"}`) // its vector is known from now on
	for path, body := range everyPath(`{"query":"会計"}`) {
		c := r.dial("")
		_, err := io.WriteString(c, request(path, body, len(body)))
		must(t, err)
		must(t, c.CloseWrite())
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %v %v", path, res, err)
			continue
		}
		if data, err := io.ReadAll(res.Body); err != nil || !json.Valid(data) {
			t.Errorf("%s: %v %.100s", path, err, data)
		}
	}
}

func TestABrokenBodyIs400InEveryPath(t *testing.T) {
	r := served(t)
	for path := range everyPath("") {
		for name, text := range map[string]string{
			"cut off":              request(path, `{"query":"会`, 500),
			"no byte of it":        request(path, ``, 500),
			"chunk without length": "POST " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
			"chunks cut off":       "POST " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"q\"",
		} {
			before := counted(r, "400")
			c := r.dial(text)
			must(t, c.CloseWrite())
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != 400 || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: %v %v", path, name, res, err)
			}
			c.Close()
			if counted(r, "400") != before+1 {
				t.Errorf("%s %s is not counted as 400", path, name)
			}
		}
	}
	r.close()
	if log := r.log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("logged: %s", log)
	}
}

func TestErrorsOfBodiesBecomeTheirStatus(t *testing.T) {
	r := served(t)
	for want, cause := range map[int]error{
		400: io.ErrUnexpectedEOF, 408: &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, 413: &http.MaxBytesError{Limit: 1}, 499: net.ErrClosed,
	} {
		for path := range everyPath("") {
			req := httptest.NewRequest("POST", path, io.MultiReader(strings.NewReader(`{"query"`), errorReader{cause}))
			w := httptest.NewRecorder()
			r.publicHandler().ServeHTTP(w, req)
			if w.Code != want {
				t.Errorf("%s, %v: %d, want %d", path, cause, w.Code, want)
			}
		}
	}
	req := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("q=x"), errorReader{errors.New("malformed chunked encoding")}))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if r.publicHandler().ServeHTTP(w, req); w.Code != 400 {
		t.Errorf("the page: %d", w.Code)
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }
