package embed_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

// canned answers every request of batch texts with the same ready-made bytes, so that a benchmark of the client in the
// same process hardly measures the server.
func canned(tb testing.TB, batch, dims int) string {
	tb.Helper()
	s := embedtest.New(embedtest.Options{Dims: dims, Vector: hashed})
	texts := catalogue(batch)
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"model":"m","encoding_format":"base64","input":[%q`, texts[0])
	for _, t := range texts[1:] {
		fmt.Fprintf(&body, ",%q", t)
	}
	body.WriteString("]}")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("POST", "/v1/embeddings", &body))
	if rec.Code != 200 {
		tb.Fatal(rec.Body)
	}
	answer := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", rec.Body.Len(), rec.Body))
	return serveRaw(tb, answer)
}

// serveRaw answers each request on a connection with answer, without net/http's work.
func serveRaw(tb testing.TB, answer []byte) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				br := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/v1"
}

// BenchmarkOpenAI1536 measures the CPU of this process a vector, both ends of the connection included: cpu-us/vector.
func BenchmarkOpenAI1536(b *testing.B) {
	const batch = 256
	o := openAI(b, embed.OpenAIConfig{BaseURL: canned(b, batch, 1536), Dims: 1536, BatchTexts: batch})
	texts := catalogue(batch * 8)
	b.ReportAllocs()
	before := cpu()
	n := 0
	for b.Loop() {
		if err := o.Embed(context.Background(), texts, func(int, []float32, int) error { return nil }); err != nil {
			b.Fatal(err)
		}
		n += len(texts)
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(n), "cpu-us/vector")
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestMemoryIsFlatHoweverManyTexts(t *testing.T) {
	const batch, dims = 256, 32
	n := 1 << 18
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		n = 1 << 20
	}
	o := openAI(t, embed.OpenAIConfig{BaseURL: canned(t, batch, dims), Dims: dims, BatchTexts: batch})
	texts := make([]string, n) // 16 bytes each of headers over few strings, allocated before the baseline
	few := catalogue(batch)
	for i := range texts {
		texts[i] = few[i%batch]
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, peak, batches := m.HeapInuse, uint64(0), 0
	if err := o.Embed(context.Background(), texts, func(int, []float32, int) error {
		if batches++; batches%256 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d batches, %d kB in use before, at most %d kB during", batches, base>>10, peak>>10)
	if batches != n/batch || peak > base+8<<20 {
		t.Errorf("%d batches; heap grew from %d to %d kB", batches, base>>10, peak>>10)
	}
}
