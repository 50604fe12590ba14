package embed_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

// inProcess lets a client talk to a handler without sockets, so that time can be virtual.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	p.h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// angle is a vector of a text that costs next to nothing to compute.
func angle(text string, dst []float32) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	sin, cos := math.Sincos(float64(h.Sum32()))
	dst[0], dst[1] = float32(sin), float32(cos)
}

func TestThroughputUnderARateLimitIsNineTenthsOfWhatIsAllowed(t *testing.T) {
	const rate, batch, n = 1000.0, 100, 40_000 // texts a second: 10 calls a second, for 40 seconds
	tokens := 0.0
	for _, text := range catalogue(n) {
		tokens += float64(embedtest.Tokens(text)) / n
	}
	for _, burst := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second} {
		for name, limit := range map[string]embedtest.Limit{
			"Retry-After in seconds":      {Texts: rate, After: embedtest.Seconds},
			"Retry-After in milliseconds": {Texts: rate, After: embedtest.Precise},
			"no Retry-After":              {Texts: rate, After: embedtest.Silent},
			"requests, headers":           {Requests: rate / batch, Headers: true},
			"tokens, headers":             {Tokens: rate * tokens, Headers: true},
			"tokens, no headers":          {Tokens: rate * tokens, After: embedtest.Seconds},
		} {
			t.Run(fmt.Sprintf("%s, bucket of %v", name, burst), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					limit.Burst = burst
					s := embedtest.New(embedtest.Options{Dims: 2, Vector: angle, Limit: limit, Latency: 50 * time.Millisecond})
					o := openAI(t, embed.OpenAIConfig{BaseURL: "http://stand-in/v1", Transport: inProcess{s}, Dims: 2, BatchTexts: batch})
					c := &collector{t: t, texts: catalogue(n), dims: 2, vector: angle}
					start := time.Now()
					if err := o.Embed(context.Background(), c.texts, c.done); err != nil {
						t.Fatal(err)
					}
					c.complete()
					allowed := rate*time.Since(start).Seconds() + rate*burst.Seconds() // the bucket was full at the start
					t.Logf("%.0f %% of the allowed rate, %d refusals for %d calls, %.0f s", 100*n/allowed, s.Stats().Throttled, n/batch, time.Since(start).Seconds())
					share := 0.9
					switch { // a bucket of one call: each call that comes a little early is refused
					case burst < time.Second && limit.After == embedtest.Seconds:
						share = 0.6 // and ten calls' time is lost, which is learned slowly
					case burst < time.Second:
						share = 0.8
					}
					if n < share*allowed {
						t.Errorf("%d texts in %v, %.0f were allowed", n, time.Since(start), allowed)
					}
				})
			})
		}
	}
}
