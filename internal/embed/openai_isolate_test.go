package embed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// scripted is an embeddings server that refuses what refuse says, and answers the rest as shape makes it.
type scripted struct {
	refuse func(w http.ResponseWriter, texts []string, call int) bool
	shape  func(answer map[string]any)

	mu     sync.Mutex
	sizes  []int          // texts of each call
	bought map[string]int // texts of accepted calls
	asked  map[string]any // the last request
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req struct{ Input []string }
	body := map[string]any{}
	dec := json.NewDecoder(r.Body)
	_ = dec.Decode(&body)
	again, _ := json.Marshal(body)
	_ = json.Unmarshal(again, &req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = body
	s.sizes = append(s.sizes, len(req.Input))
	if s.refuse != nil && s.refuse(w, req.Input, len(s.sizes)) {
		return
	}
	data := []any{}
	for i, text := range req.Input {
		if s.bought == nil {
			s.bought = map[string]int{}
		}
		s.bought[text]++
		v := make([]float32, 8)
		hashed(text, v)
		numbers := make([]any, len(v))
		for k, x := range v {
			numbers[k] = x
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": numbers})
	}
	answer := map[string]any{"object": "list", "data": data, "usage": map[string]any{"prompt_tokens": 1, "total_tokens": 1}}
	if s.shape != nil {
		s.shape(answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func reply(w http.ResponseWriter, status int, body string) bool {
	w.WriteHeader(status)
	fmt.Fprint(w, body)
	return true
}

// client talks to s within the bubble of a synctest, with all defaults of time.
func (s *scripted) client(t *testing.T, o embed.Observer) *embed.OpenAI {
	return openAI(t, embed.OpenAIConfig{BaseURL: "http://stand-in/v1", Transport: inProcess{s}, Dims: 8, Observer: o})
}

// embedMost embeds and returns what was refused; every other text must have come, with its own vector.
func embedMost(t *testing.T, o *embed.OpenAI, texts []string) []int {
	t.Helper()
	c := &collector{t: t, texts: texts, dims: 8, vector: hashed, seen: make([]bool, len(texts))}
	err := o.Embed(context.Background(), texts, c.done)
	var refused *embed.RefusedError
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	var lost []int
	if refused != nil {
		lost = slices.Sorted(maps.Keys(refused.RefusedTexts()))
	}
	for i, ok := range c.seen {
		if ok == slices.Contains(lost, i) {
			t.Errorf("text %d: has a vector %v, named as refused %v", i, ok, !ok)
		}
	}
	return lost
}

func TestBatchLimitsAreFoundHoweverTheyAreWorded(t *testing.T) {
	said := func(format string) func(http.ResponseWriter, int) {
		return func(w http.ResponseWriter, n int) { fmt.Fprintf(w, format, n) }
	}
	for name, c := range map[string]struct {
		limit, status int
		body          func(http.ResponseWriter, int)
	}{
		"Gemini":           {100, 400, said(`[{"error":{"code":400,"message":"* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch, not %d","status":"INVALID_ARGUMENT"}}]`)},
		"Cohere":           {96, 400, said(`{"message":"invalid request: total number of texts must be at most 96 - received %d"}`)},
		"Voyage":           {128, 400, said(`{"detail":"The example count of the batch is %d, but the maximum count is 128."}`)},
		"pydantic":         {128, 422, said(`{"detail":[{"type":"too_long","loc":["body","input"],"msg":"List should have at most 128 items after validation, not %d"}]}`)},
		"Ollama":           {200, 400, said(`{"error":{"message":"tokenize: EOF","n":%d}}`)},
		"DashScope":        {10, 400, said(`{"error":{"code":"InvalidParameter","message":"Value error, batch size is invalid, it should not be larger than 10.: input.contents (%d)"}}`)},
		"old Azure":        {16, 400, said(`{"error":{"message":"Too many inputs. The max number of inputs is 16. (%d)","type":"invalid_request_error"}}`)},
		"in Japanese":      {64, 400, said(`{"error":"一度に送れるのは64件までです（%d件）"}`)},
		"a proxy":          {32, 413, said(`<html><h1>413 Request Entity Too Large</h1>%d</html>`)},
		"no words":         {48, 400, func(http.ResponseWriter, int) {}},
		"within a 200":     {64, 200, said(`{"error":"Too big: %d"}`)},
		"no data in a 200": {64, 200, said(`{"object":"list","data":[],"n":%d}`)},
		"one at a time":    {1, 400, said(`{"error":{"message":"input must be a single text, not %d"}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := 0
				s := &scripted{refuse: func(w http.ResponseWriter, texts []string, _ int) bool {
					if len(texts) <= c.limit {
						return false
					}
					over++
					w.WriteHeader(c.status)
					c.body(w, len(texts))
					return true
				}}
				start := time.Now()
				o := s.client(t, embed.Observer{})
				first := 0 // requests of the first window
				for range 2 {
					first = len(s.sizes)
					if lost := embedMost(t, o, catalogue(600)); lost != nil {
						t.Errorf("refused %v", lost)
					}
				}
				if over > 4*8 {
					t.Errorf("%d requests over the limit were sent: %v", over, s.sizes)
				}
				// In the second window of a pass the limit is remembered from the start.
				if big := slices.IndexFunc(s.sizes[first:], func(n int) bool { return n > c.limit }); big >= 0 {
					t.Errorf("the limit was forgotten: %v", s.sizes)
				}
				for text, n := range s.bought {
					if n != 2 && text != "test" {
						t.Fatalf("%q was bought %d times in two rounds", text, n)
					}
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("took %v: nothing had to be waited for", d)
				}
			})
		})
	}
}

func TestAServerErrorForLargeBatchesIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{refuse: func(w http.ResponseWriter, texts []string, _ int) bool {
			return len(texts) > 64 && reply(w, 500, `{"error":{"message":"out of memory"}}`)
		}}
		if lost := embedMost(t, s.client(t, embed.Observer{}), catalogue(600)); lost != nil {
			t.Errorf("refused %v", lost)
		}
	})
}

func TestAPoisonousTextIsFoundAndTheOthersAreKept(t *testing.T) {
	const word = "毒"
	poisoned := func(texts []string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, word) })
	}
	refusing := func(status int, body string) *scripted {
		return &scripted{refuse: func(w http.ResponseWriter, texts []string, _ int) bool {
			return poisoned(texts) && reply(w, status, body)
		}}
	}
	spoiling := func(v any) *scripted { // a vector that cannot be one
		s := &scripted{}
		var texts []string
		s.refuse = func(_ http.ResponseWriter, sent []string, _ int) bool { texts = sent; return false }
		s.shape = func(a map[string]any) {
			for i, text := range texts {
				if strings.Contains(text, word) {
					a["data"].([]any)[i].(map[string]any)["embedding"] = v
				}
			}
		}
		return s
	}
	for name, c := range map[string]struct {
		server   *scripted
		n        int
		poisoned []int
	}{
		"500, NaN in the server": {refusing(500, `{"error":{"message":"failed to encode response: json: unsupported value: NaN"}}`), 40, []int{17}},
		"400":                    {refusing(400, `{"error":{"message":"input contains a forbidden token"}}`), 40, []int{0}},
		"422":                    {refusing(422, `{"detail":[{"msg":"bad character"}]}`), 300, []int{299}},
		"502 of a proxy":         {refusing(502, `<html>Bad Gateway</html>`), 100, []int{50}},
		"200 with an error":      {refusing(200, `{"error":"content filter"}`), 100, []int{3}},
		"two in one batch":       {refusing(500, `NaN`), 64, []int{10, 11}},
		"five, far apart":        {refusing(400, `no`), 1000, []int{0, 255, 256, 700, 999}},
		"alone":                  {refusing(500, `NaN`), 1, []int{0}},
		"all of them":            {refusing(400, `no`), 3, []int{0, 1, 2}},
		"numbers that are none":  {spoiling([]any{"NaN", 1, 1, 1, 1, 1, 1, 1}), 40, []int{17}},
		"only zeros":             {spoiling([]any{0, 0, 0, 0, 0, 0, 0, 0}), 40, []int{17, 18}},
		"null for a vector":      {spoiling(nil), 40, []int{39}},
		"a vector of nothing":    {spoiling([]any{}), 40, []int{20}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				texts := catalogue(c.n)
				for _, i := range c.poisoned {
					texts[i] += word
				}
				if lost := embedMost(t, c.server.client(t, embed.Observer{}), texts); !slices.Equal(lost, c.poisoned) {
					t.Errorf("refused %v, want %v", lost, c.poisoned)
				}
				for text, n := range c.server.bought {
					if n > 1 && text != "test" && !strings.Contains(text, word) {
						t.Errorf("%q was bought %d times", text, n)
					}
				}
				if n := len(c.server.sizes); n > 40+30*len(c.poisoned) {
					t.Errorf("%d calls: %v", n, c.server.sizes)
				}
			})
		})
	}
}

func TestTooManyRefusedTextsAreLeftToTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{refuse: func(w http.ResponseWriter, texts []string, _ int) bool {
			return (len(texts) > 1 || texts[0] != "test") && reply(w, 400, `{"error":{"message":"not today"}}`)
		}}
		err := s.client(t, embed.Observer{}).Embed(context.Background(), catalogue(1000), func(int, []float32, int) error { return nil })
		var refused *embed.RefusedError
		if !errors.As(err, &refused) || len(refused.Texts) < 16 || len(refused.Texts) > 20 || !strings.Contains(err.Error(), "not today") {
			t.Errorf("got %v", err)
		}
		if n := len(s.sizes); n > 600 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestARequestAtFaultEndsAtOnceWithTheProvidersWords(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		body, want string
	}{
		"parameter":          {400, `{"error":{"message":"user must be a UUID"}}`, "user must be a UUID"},
		"validation":         {422, `{"detail":[{"loc":["body","model"],"msg":"value is not one of ours"}]}`, "not one of ours"},
		"an error in a 200":  {200, `{"error":{"message":"No models loaded. Please load a model."}}`, "No models loaded"},
		"a string in a 200":  {200, `{"error":"Unexpected endpoint or method. (POST /embeddings)"}`, "Unexpected endpoint"},
		"a page in a 200":    {200, `<!DOCTYPE html><html><title>Sign in to the proxy</title></html>`, "Sign in to the proxy"},
		"another JSON":       {200, `{"embeddings":[[1,2]]}`, "OPENAI_BASE_URL"},
		"413 for everything": {413, ``, "413"},
		"key quoted":         {400, `{"error":{"message":"bad sk-proj-PLANTEDkey0123456789 ` + strings.Repeat("x", 5000) + `"}}`, "bad [redacted]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{refuse: func(w http.ResponseWriter, _ []string, _ int) bool { return reply(w, c.status, c.body) }}
				start := time.Now()
				err := s.client(t, embed.Observer{}).Embed(context.Background(), catalogue(400), func(int, []float32, int) error { return nil })
				if !errors.Is(err, embed.ErrTerminal) || !strings.Contains(err.Error(), c.want) || hasKey(err.Error()) || len(err.Error()) > 1000 {
					t.Errorf("got %v, want a terminal error with %q", err, c.want)
				}
				if len(s.sizes) > 16 || time.Since(start) > time.Second {
					t.Errorf("%d calls in %v: %v", len(s.sizes), time.Since(start), s.sizes)
				}
			})
		})
	}
}

func TestWhatIsNobodysTextIsNeverHalved(t *testing.T) {
	type answer struct {
		status int
		header map[string]string
		body   string
	}
	for name, c := range map[string]struct {
		answer
		fails bool
	}{
		"401":                          {answer{401, nil, `{"error":{"message":"no such key"}}`}, true},
		"402":                          {answer{402, nil, `{"error":{"message":"no credit"}}`}, true},
		"403":                          {answer{403, nil, `{"error":{"message":"not yours"}}`}, true},
		"404":                          {answer{404, nil, `not here`}, true},
		"301":                          {answer{301, map[string]string{"Location": "https://elsewhere.example/"}, ``}, true},
		"spent budget":                 {answer{429, nil, `{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}`}, true},
		"403 inside a 200":             {answer{200, nil, `{"error":{"code":403,"message":"moderated"}}`}, true},
		"408":                          {answer{408, nil, `too slow`}, false},
		"429":                          {answer{429, nil, `{"error":{"message":"slow down"}}`}, false},
		"429, Retry-After":             {answer{429, map[string]string{"Retry-After": "7"}, `{}`}, false},
		"429, words about a quota":     {answer{429, nil, `[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}]}}]`}, false},
		"429 inside a 200":             {answer{200, nil, `{"error":{"code":429,"message":"upstream is busy"}}`}, false},
		"403 that says for how long":   {answer{403, map[string]string{"Retry-After": "3"}, `{"error":{"message":"userRateLimitExceeded"}}`}, false},
		"400 that says for how long":   {answer{400, nil, `{"error":{"message":"minute quota","retry_after":5}}`}, false},
		"503, Retry-After":             {answer{503, map[string]string{"Retry-After": "2"}, `loading`}, false},
		"500, Retry-After":             {answer{500, map[string]string{"Retry-After": "2"}, `oops`}, false},
		"503 that says it in its body": {answer{503, nil, `{"error":{"message":"loading","retry_after_ms":1500}}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{}
				s.refuse = func(w http.ResponseWriter, _ []string, call int) bool {
					if call > 3 && !c.fails {
						return false
					}
					for k, v := range c.header {
						w.Header().Set(k, v)
					}
					return reply(w, c.status, c.body)
				}
				start := time.Now()
				err := s.client(t, embed.Observer{}).Embed(context.Background(), catalogue(40), func(int, []float32, int) error { return nil })
				if (err != nil) != c.fails {
					t.Errorf("got %v", err)
				}
				if slices.ContainsFunc(s.sizes, func(n int) bool { return n != 40 }) {
					t.Errorf("sizes %v", s.sizes)
				}
				if after, _ := strconv.Atoi(c.header["Retry-After"]); !c.fails && time.Since(start) < time.Duration(after)*time.Second {
					t.Errorf("came back after %v", time.Since(start))
				}
			})
		})
	}
}

func TestAMinutesLimitIsWaitedForWhateverItIsCalled(t *testing.T) {
	for name, body := range map[string]string{
		"Gemini":    `[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x.RetryInfo","retryDelay":"38.5s"}]}}]`,
		"seconds":   `{"error":{"message":"quota","retry_after":38.5}}`,
		"text":      `{"detail":{"retryAfter":"38.5"}}`,
		"in millis": `{"error":"quota exceeded for today's minute","retry-after-ms":38500}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{refuse: func(w http.ResponseWriter, _ []string, call int) bool { return call == 1 && reply(w, 429, body) }}
				start := time.Now()
				embedMost(t, s.client(t, embed.Observer{}), catalogue(40))
				if d := time.Since(start); d < 38*time.Second || d > 45*time.Second || len(s.sizes) != 2 {
					t.Errorf("%d calls in %v", len(s.sizes), d)
				}
			})
		})
	}
}

func TestWhatDecoratesAnAnswerCannotSpoilIt(t *testing.T) {
	each := func(a map[string]any, change func(i int, entry map[string]any)) {
		for i, e := range a["data"].([]any) {
			change(i, e.(map[string]any))
		}
	}
	for name, shape := range map[string]func(map[string]any){
		"usage null":       func(a map[string]any) { a["usage"] = nil },
		"no usage":         func(a map[string]any) { delete(a, "usage") },
		"usage of strings": func(a map[string]any) { a["usage"] = map[string]any{"prompt_tokens": "12", "total_tokens": "12"} },
		"usage of nulls":   func(a map[string]any) { a["usage"] = map[string]any{"prompt_tokens": nil, "total_tokens": nil} },
		"usage a list":     func(a map[string]any) { a["usage"] = []any{1, "x", nil} },
		"negative usage":   func(a map[string]any) { a["usage"] = map[string]any{"total_tokens": -1} },
		"an error as well": func(a map[string]any) { a["error"] = nil; a["warnings"] = []any{"deprecated"} },
		"index null":       func(a map[string]any) { each(a, func(_ int, e map[string]any) { e["index"] = nil }) },
		"no index":         func(a map[string]any) { each(a, func(_ int, e map[string]any) { delete(e, "index") }) },
		"index of strings": func(a map[string]any) { each(a, func(i int, e map[string]any) { e["index"] = strconv.Itoa(i) }) },
		"index always 0":   func(a map[string]any) { each(a, func(_ int, e map[string]any) { e["index"] = 0 }) },
		"index from 1, alone": func(a map[string]any) {
			if len(a["data"].([]any)) == 1 {
				each(a, func(_ int, e map[string]any) { e["index"] = 1 })
			}
		},
		"entry with extras": func(a map[string]any) {
			each(a, func(_ int, e map[string]any) { e["object"] = nil; e["x"] = []any{map[string]any{}} })
		},
		"numbers as strings": func(a map[string]any) {
			each(a, func(_ int, e map[string]any) {
				for k, v := range e["embedding"].([]any) {
					e["embedding"].([]any)[k] = fmt.Sprint(v)
				}
			})
		},
		"another order": func(a map[string]any) { slices.Reverse(a["data"].([]any)) },
		"model null":    func(a map[string]any) { a["model"], a["object"] = nil, 7 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{shape: shape}
				if lost := embedMost(t, s.client(t, embed.Observer{}), catalogue(100)); lost != nil || len(s.sizes) != 2 {
					t.Errorf("refused %v in %d calls", lost, len(s.sizes))
				}
				if v, err := s.client(t, embed.Observer{}).EmbedQuery(context.Background(), "冷凍倉庫"); err != nil || len(v) != 8 {
					t.Errorf("query: %v", err)
				}
			})
		})
	}
}

func TestOfAnAnswerInPartTheGoodVectorsAreKept(t *testing.T) {
	for name, spoil := range map[string]func(data []any) []any{
		"the last ones missing": func(d []any) []any { return d[:30] },
		"one in the middle":     func(d []any) []any { return slices.Delete(d, 10, 11) },
		"the first missing":     func(d []any) []any { return d[1:] },
		"every second missing": func(d []any) []any {
			return slices.DeleteFunc(d, func(e any) bool { return e.(map[string]any)["index"].(int)%2 == 1 })
		},
		"one vector is null":     func(d []any) []any { d[7].(map[string]any)["embedding"] = nil; return d },
		"one is too short":       func(d []any) []any { d[7].(map[string]any)["embedding"] = []any{1, 2}; return d },
		"one is not a number":    func(d []any) []any { d[1].(map[string]any)["embedding"].([]any)[3] = "NaN"; return d },
		"one number is infinite": func(d []any) []any { d[1].(map[string]any)["embedding"].([]any)[3] = math.MaxFloat64; return d },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{}
				calls := 0
				s.shape = func(a map[string]any) {
					if calls++; calls == 1 {
						a["data"] = spoil(a["data"].([]any))
					}
				}
				if lost := embedMost(t, s.client(t, embed.Observer{}), catalogue(40)); lost != nil {
					t.Errorf("refused %v", lost)
				}
				twice := 0
				for _, n := range s.bought {
					twice += n - 1
				}
				if twice > 20 { // what did not come; and the last that came, to make sure of the others
					t.Errorf("%d texts were bought again", twice)
				}
			})
		})
	}
}

func TestAServerThatNumbersFromOneIsAskedForOneTextAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{shape: func(a map[string]any) {
			for i, e := range a["data"].([]any) {
				e.(map[string]any)["index"] = i + 1
			}
		}}
		if lost := embedMost(t, s.client(t, embed.Observer{}), catalogue(40)); lost != nil {
			t.Errorf("refused %v", lost)
		}
	})
}

func TestAFeatureThatIsRefusedInUnknownWordsIsLeftOut(t *testing.T) {
	for name, key := range map[string]string{"dimensions": "dimensions", "base64": "encoding_format"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lacks []string
				s := &scripted{}
				s.refuse = func(w http.ResponseWriter, _ []string, _ int) bool {
					v, has := s.asked[key]
					return has && v != "float" && reply(w, 400, `{"error":{"message":"Invalid request body."}}`)
				}
				o := s.client(t, embed.Observer{Lacks: func(f, _ string) { lacks = append(lacks, f) }})
				if lost := embedMost(t, o, catalogue(300)); lost != nil || !slices.Contains(lacks, key) {
					t.Errorf("refused %v, lacks %v", lost, lacks)
				}
			})
		})
	}
}

func TestKeysThatCannotBeSentAreRefused(t *testing.T) {
	for key, ok := range map[string]bool{
		"sk-test-01234": true, " sk-test-01234\r\n": true, "a b": true, "": true,
		"sk-test-\r\n01234": false, "sk-test-\n01234": false, "sk\t01234": false, "sk-\x00": false, "sk-\x7f1": false, "ｓｋ－０１": false, "sk-\u200b01": false, "“sk-01”": false,
	} {
		_, err := embed.NewOpenAI(embed.OpenAIConfig{APIKey: embed.NewSecret(key), Dims: 8})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "OPENAI_API_KEY") || err != nil && strings.Contains(err.Error(), "01") {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// closed is a port at which nobody listens.
type closed struct{ dials int }

func (c *closed) RoundTrip(*http.Request) (*http.Response, error) {
	c.dials++
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// A command must end soon, a daemon waits; a server that answers badly is no reason for either to be less patient.
func TestPatienceIsWithAnEndpointThatCannotBeReached(t *testing.T) {
	for _, c := range []struct {
		what        string
		patience    time.Duration
		down        bool
		least, most time.Duration
	}{
		{"a command, nobody there", 30 * time.Second, true, 30 * time.Second, 65 * time.Second},
		{"a daemon, nobody there", 0, true, 2 * time.Minute, 10 * time.Minute},
		{"a command, a server that fails", 30 * time.Second, false, 5 * time.Second, time.Minute},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var transport http.RoundTripper = &closed{}
				if !c.down {
					transport = inProcess{&scripted{refuse: func(w http.ResponseWriter, _ []string, _ int) bool { return reply(w, 503, "") }}}
				}
				o := openAI(t, embed.OpenAIConfig{BaseURL: "http://stand-in/v1", Transport: transport, Dims: 8, Patience: c.patience})
				began := time.Now()
				err := o.Embed(t.Context(), []string{"a"}, func(int, []float32, int) error { return nil })
				if took := time.Since(began); err == nil || took < c.least || took > c.most {
					t.Errorf("%v after %v, want an error within %v to %v", err, took, c.least, c.most)
				}
				if says := strings.Contains(fmt.Sprint(err), "was not reached"); says != (c.down && c.patience > 0) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// A server that spoils the vectors of a text now in one way, now in another, is in trouble; the text is not to blame.
func TestATextIsGivenUpOnlyForWhatStaysTheSame(t *testing.T) {
	for _, c := range []struct {
		what string
		ways []any // in turn
		lost []int
	}{
		{"always too short", []any{[]any{1, 2, 3}}, []int{1}},
		{"never right, in two ways", []any{[]any{1, 2, 3}, []any{0, 0, 0, 0, 0, 0, 0, 0}}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const bad = "spoilt"
				s, at, times := &scripted{}, -1, 0
				s.refuse = func(_ http.ResponseWriter, sent []string, _ int) bool { at = slices.Index(sent, bad); return false }
				s.shape = func(a map[string]any) {
					if at >= 0 && times < 9 {
						a["data"].([]any)[at].(map[string]any)["embedding"] = c.ways[times%len(c.ways)]
						times++
					}
				}
				if lost := embedMost(t, s.client(t, embed.Observer{}), []string{"a", bad, "b"}); !slices.Equal(lost, c.lost) {
					t.Errorf("given up %v, want %v", lost, c.lost)
				}
			})
		})
	}
}
