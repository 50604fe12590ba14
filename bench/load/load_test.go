package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func target(t *testing.T, h http.HandlerFunc) Target {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	addr := strings.TrimPrefix(srv.URL, "http://")
	var all [][]byte
	for i := range 50 {
		all = append(all, Request(addr, "/search", fmt.Appendf(nil, `{"n":%d}`, i)))
	}
	return Target{Addr: addr, Requests: all}
}

// echo answers with the body it got, framed in every way a server may choose.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch len(body) % 3 {
	case 0:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	case 1: // chunked, in two pieces
		w.Write(body[:2])
		w.(http.Flusher).Flush()
		w.Write(body[2:])
		return
	case 2:
		w.Header().Set("Connection", "close")
	}
	w.Write(body)
}

func TestEachReadsEveryFraming(t *testing.T) {
	tg := target(t, echo)
	big := strings.Repeat("x", 100_000) // 100,008 bytes of JSON: framed by length; 100,009: chunked
	tg.Requests = append(tg.Requests,
		Request(tg.Addr, "/search", []byte(`{"n":"`+big+`"}`)), Request(tg.Addr, "/search", []byte(`{"n":"`+big+`x"}`)))
	seen := make([]string, len(tg.Requests))
	err := Each(t.Context(), tg, 4, func(i, status int, body []byte) error {
		if status != 200 {
			return fmt.Errorf("status %d", status)
		}
		seen[i] = string(body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range seen {
		_, want, _ := strings.Cut(string(tg.Requests[i]), "\r\n\r\n")
		if got != want {
			t.Errorf("request %d: got %.60q, want %.60q", i, got, want)
		}
	}
}

func TestClosedCountsWhatTheServerSaw(t *testing.T) {
	var seen atomic.Int64
	tg := target(t, func(w http.ResponseWriter, r *http.Request) { seen.Add(1); io.WriteString(w, "{}") })
	const clients = 4
	got, err := Closed(t.Context(), tg, clients, 0, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	// The last request of each client may end after the measured time.
	if n := seen.Load(); got.Failed != 0 || got.Requests > n || got.Requests < n-clients {
		t.Errorf("%d requests and %d failures, the server saw %d (%v)", got.Requests, got.Failed, n, got.Error)
	}
	if got.Quantile(0.5) <= 0 || got.Quantile(0.5) > got.Quantile(1) {
		t.Errorf("p50 %s, max %s", got.Quantile(0.5), got.Quantile(1))
	}
}

func TestFailuresAreCountedAndNotTimed(t *testing.T) {
	tg := target(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength%2 == 0 {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "{}")
	})
	got, err := Closed(t.Context(), tg, 2, 0, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got.Failed == 0 || got.Requests == 0 || got.Error == nil || got.hist.TotalCount() != got.Requests {
		t.Errorf("%d answered, %d failed (%v), %d timed", got.Requests, got.Failed, got.Error, got.hist.TotalCount())
	}
}

// One stall of the server must show in all the requests that were due meanwhile, not in one.
func TestOpenBlamesAStallForEveryRequestItHeldUp(t *testing.T) {
	const stall = 300 * time.Millisecond
	var n atomic.Int64
	tg := target(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 20 {
			time.Sleep(stall)
		}
		io.WriteString(w, "{}")
	})
	// One connection, so that a single stalled request holds up the line: of 200 due in a second about 60 are hit.
	got, err := Open(t.Context(), tg, 200, 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests != 200 {
		t.Fatalf("%d requests, want 200 (%d failed: %v)", got.Requests, got.Failed, got.Error)
	}
	if p90 := got.Quantile(0.90); p90 < stall/10 {
		t.Errorf("p90 is %s although a stall of %s held up a quarter of the requests", p90, stall)
	}
	if worst := got.Quantile(1); worst < stall {
		t.Errorf("max is %s, below the stall of %s", worst, stall)
	}
}

func TestAServerThatIsGoneIsAFailureNotAHang(t *testing.T) {
	tg := target(t, echo)
	tg.Addr = "127.0.0.1:1"
	got, err := Closed(t.Context(), tg, 1, 0, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got.Failed == 0 || got.Requests != 0 {
		t.Errorf("%d answered, %d failed", got.Requests, got.Failed)
	}
}

func TestWhileRunsUntilItIsTold(t *testing.T) {
	tg := target(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got, err := While(ctx, tg, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests == 0 || got.Failed != 0 || got.Elapsed < 100*time.Millisecond {
		t.Errorf("%d requests, %d failed in %s", got.Requests, got.Failed, got.Elapsed)
	}
}
