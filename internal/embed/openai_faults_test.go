package embed_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

// collector checks what done is told: serial calls, every text once, unit vectors that belong to their texts.
type collector struct {
	t      *testing.T
	texts  []string
	dims   int
	vector func(text string, dst []float32)
	mu     sync.Mutex
	seen   []bool
	calls  int
	tokens int
}

func (c *collector) done(first int, vectors []float32, tokens int) error {
	if !c.mu.TryLock() {
		c.t.Error("done is called while another call of it runs")
		return nil
	}
	defer c.mu.Unlock()
	c.calls++
	c.tokens += tokens
	if c.seen == nil {
		c.seen = make([]bool, len(c.texts))
	}
	if len(vectors)%c.dims != 0 {
		c.t.Errorf("%d numbers are no whole vectors", len(vectors))
	}
	want := make([]float32, c.dims)
	for k := range len(vectors) / c.dims {
		i := first + k
		if c.seen[i] {
			c.t.Errorf("text %d came twice", i)
		}
		c.seen[i] = true
		c.vector(c.texts[i], want)
		normalise(want)
		if d := distance(want, vectors[k*c.dims:(k+1)*c.dims]); d > 1e-3 {
			c.t.Errorf("text %d has another text's vector (off by %g)", i, d)
		}
	}
	return nil
}

func (c *collector) complete() {
	c.t.Helper()
	for i, ok := range c.seen {
		if !ok {
			c.t.Fatalf("text %d has no vector", i)
		}
	}
	if len(c.seen) != len(c.texts) {
		c.t.Fatalf("%d of %d texts", len(c.seen), len(c.texts))
	}
}

func normalise(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

// hashed is a cheap vector of a text, not of unit length, different for different texts.
func hashed(text string, dst []float32) {
	var seed [2]uint64
	for i := range len(text) {
		seed[i%2] = seed[i%2]*1099511628211 + uint64(text[i])
	}
	rng := rand.New(rand.NewPCG(seed[0], seed[1]))
	for i := range dst {
		dst[i] = float32(rng.NormFloat64() * 3)
	}
}

func catalogue(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("会社%06d 冷凍倉庫の温度監視と配送 vendor number %d", i, i)
	}
	return texts
}

func openAI(t testing.TB, cfg embed.OpenAIConfig) *embed.OpenAI {
	t.Helper()
	if cfg.Dims == 0 {
		cfg.Dims = 64
	}
	o, err := embed.NewOpenAI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func TestEveryFaultAtFivePercentLosesAndWastesNothing(t *testing.T) {
	const n, dims = 10_000, 64
	faults := embedtest.Every(0.05)
	faults.SlowBy, faults.RetryAfter, faults.DripFor = 30*time.Millisecond, 40*time.Millisecond, 60*time.Millisecond
	s := embedtest.Start(t, embedtest.Options{Dims: dims, Vector: hashed, Faults: faults, Seed: uint64(time.Now().UnixNano())})
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: dims, BatchTexts: 32, RetryBase: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond, MaxTries: 30})
	c := &collector{t: t, texts: catalogue(n), dims: dims, vector: hashed}
	if err := o.Embed(context.Background(), c.texts, c.done); err != nil {
		t.Fatal(err)
	}
	c.complete()
	got := s.Stats()
	t.Logf("%+v; client %+v", got, o.Stats())
	if got.DistinctTexts != n+1 {
		t.Errorf("%d distinct texts were answered, want %d and the probe", got.DistinctTexts, n)
	}
	if waste := got.Texts - n - got.DestroyedTexts; waste > n*3/100 {
		t.Errorf("%d texts were sent beyond those whose answers were destroyed, 3 %% of %d allowed", waste, n)
	}
	for name, hits := range got.Faults {
		if hits == 0 {
			t.Errorf("fault %q never happened", name)
		}
	}
	if len(got.Faults) != 13 {
		t.Errorf("only %d kinds of faults happened: %v", len(got.Faults), got.Faults)
	}
}
