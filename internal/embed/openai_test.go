package embed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func embedAll(t *testing.T, e embed.Embedder, texts []string) *collector {
	t.Helper()
	c := &collector{t: t, texts: texts, dims: e.Embedding().Dims, vector: hashed}
	if err := e.Embed(context.Background(), texts, c.done); err != nil {
		t.Fatal(err)
	}
	c.complete()
	return c
}

func TestOtherServersAreFoundOutWithoutConfiguration(t *testing.T) {
	for name, opts := range map[string]embedtest.Options{
		"OpenAI":                   {Dims: 1536},
		"OpenAI, small batches":    {Dims: 64, MaxBatch: 7},
		"OpenAI, few tokens":       {Dims: 64, MaxTokens: 400},
		"vLLM":                     {Dims: 64, Compat: embedtest.VLLM()},
		"vLLM without base64":      {Dims: 64, Compat: embedtest.Compat{RejectBase64: true, RejectDimensions: true, Errors: embedtest.FlatErrors}},
		"Ollama":                   {Dims: 64, Compat: embedtest.Ollama()},
		"TEI, 32 texts":            {Dims: 64, MaxBatch: 32, Compat: embedtest.TEI()},
		"LocalAI":                  {Dims: 64, Compat: embedtest.LocalAI()},
		"a model behind FastAPI":   {Dims: 64, Compat: embedtest.Compat{RejectBase64: true, RejectDimensions: true, Errors: embedtest.FastAPIErrors}},
		"no base64, native length": {Dims: 64, Compat: embedtest.Compat{RejectBase64: true}},
	} {
		t.Run(name, func(t *testing.T) {
			opts.Vector = hashed
			s := embedtest.Start(t, opts)
			o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 64, RetryBase: time.Millisecond})
			embedAll(t, o, catalogue(300))
			if q, err := o.EmbedQuery(context.Background(), "冷凍倉庫"); err != nil || len(q) != 64 {
				t.Errorf("query: %d numbers, %v", len(q), err)
			}
			if got := s.Stats(); got.DistinctTexts > 302 || got.AnsweredTexts > 301+12 { // the probe, once for each time the batch was halved
				t.Errorf("%d texts were bought for 301, %d of them distinct", got.AnsweredTexts, got.DistinctTexts)
			}
		})
	}
}

func TestTerminalErrorsSayWhatToDo(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const key = "sk-proj-abcdefghijklmnop"
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"wrong key":       {answer(401, `{"error":{"message":"Incorrect API key provided: sk-proj-abcdefghijklmnop.","code":"invalid_api_key"}}`), "OPENAI_API_KEY"},
		"unknown model":   {answer(404, `{"error":{"message":"The model does not exist","code":"model_not_found"}}`), "EMBEDDING_MODEL"},
		"Ollama's model":  {answer(404, `{"error":"model \"x\" not found, try pulling it first"}`), "EMBEDDING_MODEL"},
		"exhausted quota": {answer(429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`), "add credit"},
		"no permission":   {answer(403, `{"error":{"message":"Project does not have access"}}`), "permissions"},
		"wrong path":      {answer(404, `404 page not found`), "OPENAI_BASE_URL"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/"+r.Header.Get("Authorization"), http.StatusTemporaryRedirect)
		}, "OPENAI_BASE_URL"},
		"bad request": {answer(400, `{"error":{"message":"Something is off"}}`), "Something is off"},
		"other dims":  {answer(200, `{"data":[{"index":0,"embedding":[1,2,3]}]}`), "EMBEDDING_DIMENSIONS=3"},
		"zeros":       {answer(200, `{"data":[{"index":0,"embedding":[0,0]}]}`), "only zeros"},
		"NaN":         {answer(200, `{"data":[{"index":0,"embedding":[NaN,0]}]}`), "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.h)
			defer s.Close()
			o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL, APIKey: embed.NewSecret(key), Dims: 2, RetryBase: time.Millisecond, RetryMax: 2 * time.Millisecond})
			err := o.Embed(context.Background(), []string{"a"}, func(int, []float32, int) error { return nil })
			if !errors.Is(err, embed.ErrTerminal) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a terminal error with %q", err, c.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "abcdefgh") {
				t.Errorf("the key is in %v", err)
			}
		})
	}
}

func TestTransientErrorsAreNotTerminal(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer s.Close()
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL, MaxTries: 3, RetryBase: time.Millisecond})
	err := o.Embed(context.Background(), []string{"a"}, func(int, []float32, int) error { return nil })
	if err == nil || errors.Is(err, embed.ErrTerminal) {
		t.Errorf("got %v, want an error that is not terminal", err)
	}
	if n := o.Stats().Requests; n != 6 {
		t.Errorf("%d requests, want 3 and as many probes", n)
	}
}

func TestLongTextsAreCutAtARuneAndReported(t *testing.T) {
	s := embedtest.Start(t, embedtest.Options{Dims: 8, Vector: hashed})
	var cuts atomic.Int64
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 8, RetryBase: time.Millisecond, Observer: embed.Observer{
		Cut: func(text, bytes, kept int) {
			cuts.Add(1)
			if text != 1 && text != 2 || kept >= bytes || kept%3 != 0 {
				t.Errorf("text %d cut from %d to %d bytes", text, bytes, kept)
			}
		},
	}})
	texts := []string{"短い", strings.Repeat("倉", 100_000), strings.Repeat("庫", 8_300), strings.Repeat("a ", 8_100), "終わり"}
	seen := make([]bool, len(texts))
	if err := o.Embed(context.Background(), texts, func(first int, v []float32, _ int) error {
		for i := range len(v) / 8 {
			seen[first+i] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(seen, false) || cuts.Load() != 2 || o.Stats().Cut != 2 {
		t.Errorf("seen %v, %d cuts reported, %d counted", seen, cuts.Load(), o.Stats().Cut)
	}
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	var refused, again atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refused.CompareAndSwap(0, time.Now().UnixNano()) {
			w.Header().Set("Retry-After-Ms", "300")
			w.WriteHeader(429)
			return
		}
		again.Store(time.Now().UnixNano())
		fmt.Fprint(w, `{"data":[{"index":0,"embedding":[3,4]}],"usage":{"prompt_tokens":1,"total_tokens":1}}`)
	}))
	defer s.Close()
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL, Dims: 2, RetryBase: time.Millisecond})
	if err := o.Embed(context.Background(), []string{"a"}, func(_ int, v []float32, tokens int) error {
		if v[0] != 0.6 || v[1] != 0.8 || tokens != 1 {
			t.Errorf("vector %v, %d tokens", v, tokens)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if d := time.Duration(again.Load() - refused.Load()); d < 300*time.Millisecond {
		t.Errorf("came back after %v", d)
	}
}

func TestAzureIsAMatterOfTheBaseURL(t *testing.T) {
	var path, query, key, model string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, query, key = r.URL.Path, r.URL.RawQuery, r.Header.Get("Api-Key")
		var body struct{ Model string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		model = body.Model
		fmt.Fprint(w, `{"data":[{"index":0,"embedding":[3,4]}]}`)
	}))
	defer s.Close()
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL + "?api-version=2024-10-21", APIKey: embed.NewSecret("azurekey"), Deployment: "our-small", Dims: 2})
	if _, err := o.EmbedQuery(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if path != "/openai/deployments/our-small/embeddings" || query != "api-version=2024-10-21" || key != "azurekey" || model != "text-embedding-3-small" {
		t.Errorf("asked %s?%s with key %q for %s", path, query, key, model)
	}
	if o.Endpoint() != strings.TrimPrefix(s.URL, "http://") {
		t.Errorf("endpoint %q", o.Endpoint())
	}
}

func TestAnErrorOfDoneEndsTheWork(t *testing.T) {
	s := embedtest.Start(t, embedtest.Options{Dims: 8, Vector: hashed, Latency: time.Millisecond})
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 8, BatchTexts: 10})
	stop, calls := errors.New("disk full"), 0
	err := o.Embed(context.Background(), catalogue(1000), func(int, []float32, int) error {
		if calls++; calls == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || calls != 3 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	if n := s.Stats().Requests; n > 20 {
		t.Errorf("%d requests although the third answer could not be stored", n)
	}
}

func TestWhatIsPaidForIsHandedOverBeforeAnError(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "poison") {
			defer close(release)
			w.WriteHeader(401)
			return
		}
		<-release
		time.Sleep(20 * time.Millisecond)
		fmt.Fprint(w, `{"data":[{"index":0,"embedding":[3,4]}]}`)
	}))
	defer s.Close()
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL, Dims: 2, BatchTexts: 1, Concurrency: 3})
	var got []int
	err := o.Embed(context.Background(), []string{"a", "b", "poison", "never sent"}, func(first int, _ []float32, _ int) error {
		got = append(got, first)
		return nil
	})
	slices.Sort(got)
	if !errors.Is(err, embed.ErrTerminal) || !slices.Equal(got, []int{0, 1}) {
		t.Errorf("got batches %v, %v", got, err)
	}
}

func TestCancellationStopsAtOnceWithItsCause(t *testing.T) {
	s := embedtest.Start(t, embedtest.Options{Dims: 8, Vector: hashed, Latency: time.Minute})
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 8})
	cause := errors.New("lost the lease")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := o.Embed(ctx, catalogue(10), func(int, []float32, int) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestASlowServerIsAskedForFewerTexts(t *testing.T) {
	s := embedtest.Start(t, embedtest.Options{Dims: 8, Vector: hashed, TextsPerSecond: 400})
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 8, BatchTexts: 256, Concurrency: 1, CallTimeout: 300 * time.Millisecond, RetryBase: time.Millisecond})
	embedAll(t, o, catalogue(256))
}

func TestAQueryDoesNotWaitLongerThanItsCaller(t *testing.T) {
	s := embedtest.Start(t, embedtest.Options{Dims: 8, Vector: hashed, Faults: embedtest.Faults{TooManyAfter: 1, RetryAfter: time.Minute}})
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL(), Dims: 8})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	start := time.Now()
	_, err := o.EmbedQuery(ctx, "a")
	if err == nil || errors.Is(err, embed.ErrTerminal) || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for _, c := range []embed.OpenAIConfig{
		{Dims: 0}, {Dims: 8, BaseURL: "api.openai.com/v1"}, {Dims: 8, BaseURL: "ftp://x"}, {Dims: 8, BaseURL: "https://user:pass@x/v1"},
	} {
		if _, err := embed.NewOpenAI(c); !errors.Is(err, embed.ErrTerminal) || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAnAnswerThatNumbersItsVectorsAnewIsNotBelieved(t *testing.T) {
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Input []string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		texts := body.Input
		if requests.Add(1)%2 == 1 && len(texts) > 1 {
			texts = texts[1:] // the first is lost, the others move up
		}
		var data []map[string]any
		for i, text := range texts {
			v := make([]float32, 8)
			hashed(text, v)
			data = append(data, map[string]any{"index": i, "embedding": v})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	defer s.Close()
	o := openAI(t, embed.OpenAIConfig{BaseURL: s.URL, Dims: 8, BatchTexts: 10, Concurrency: 1, RetryBase: time.Millisecond})
	embedAll(t, o, catalogue(50))
}
