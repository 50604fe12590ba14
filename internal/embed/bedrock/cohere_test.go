package bedrock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// cohereStub answers POST /model/{id}/invoke as Bedrock documents it for Cohere's models.
type cohereStub struct {
	mu      sync.Mutex
	asked   []cohereRequest
	members []string // of the last request's body
	refuse  func(w http.ResponseWriter, texts []string) bool
	spoil   func(rows [][]float32) [][]float32
}

func (s *cohereStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var raw map[string]any
	_ = json.NewDecoder(r.Body).Decode(&raw)
	again, _ := json.Marshal(raw)
	var req cohereRequest
	_ = json.Unmarshal(again, &req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.members = append(s.asked, req), nil
	for k := range raw {
		s.members = append(s.members, k)
	}
	slices.Sort(s.members)
	v4 := strings.Contains(r.URL.Path, "embed-v4")
	switch {
	case len(req.Texts) > 96:
		refuse(w, 400, "ValidationException", "Malformed input request: #/texts: expected maximum item count: 96, found: 128, please reformat your input and try again.")
		return
	case !v4 && slices.ContainsFunc(req.Texts, func(t string) bool { return utf8.RuneCountInString(t) > 2048 }):
		refuse(w, 400, "ValidationException", "Malformed input request: #/texts/0: expected maxLength: 2048, actual: 3000, please reformat your input and try again.")
		return
	case s.refuse != nil && s.refuse(w, req.Texts):
		return
	}
	dims := 1024
	if v4 {
		dims = req.Dims
	}
	rows := make([][]float32, len(req.Texts))
	for i, t := range req.Texts {
		rows[i] = vector(t+req.InputType, dims)
	}
	if s.spoil != nil {
		rows = s.spoil(rows)
	}
	answer := map[string]any{"id": "x", "response_type": "embeddings_floats", "texts": req.Texts, "embeddings": rows}
	if len(req.Types) > 0 {
		answer["response_type"], answer["embeddings"] = "embeddings_by_type", map[string]any{"float": rows}
	}
	w.Header().Set("X-Amzn-Bedrock-Input-Token-Count", fmt.Sprint(7*len(req.Texts)))
	_ = json.NewEncoder(w).Encode(answer)
}

func startCohere(t *testing.T, model string, dims int) (*cohereStub, *Bedrock) {
	t.Helper()
	s := &cohereStub{}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	b, err := New(Config{
		AWS: aws.Config{
			Region: "ap-northeast-1", BaseEndpoint: aws.String(srv.URL), HTTPClient: client,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "SECRETTEST"}, nil
			}),
		},
		Model: model, Dims: dims, RetryBase: time.Millisecond, RetryMax: 4 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// embedTexts checks that each text but the refused ones gets its own vector, and returns the tokens.
func embedTexts(t *testing.T, b *Bedrock, texts []string, refused ...int) (tokens int) {
	t.Helper()
	dims, seen := b.Embedding().Dims, make([]bool, len(texts))
	err := b.Embed(context.Background(), texts, func(first int, vectors []float32, tok int) error {
		tokens += tok
		for k := range len(vectors) / dims {
			seen[first+k] = true
			want, norm, dot := vector(texts[first+k]+"search_document", dims), 0.0, 0.0
			for j, x := range want {
				norm += float64(x) * float64(x)
				dot += float64(x) * float64(vectors[k*dims+j])
			}
			if dot/math.Sqrt(norm) < 0.999 && len(texts[first+k]) < 2048 {
				t.Errorf("text %d has another vector", first+k)
			}
		}
		return nil
	})
	var lost *embed.RefusedError
	if err != nil && !errors.As(err, &lost) {
		t.Fatal(err)
	}
	for i, ok := range seen {
		if ok == slices.Contains(refused, i) {
			t.Errorf("text %d: %v", i, ok)
		}
	}
	return tokens
}

func manyTexts(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("会社%04d の説明 %s", i, strings.Repeat("あ", i%7))
	}
	return texts
}

func TestCohereIsAskedAsEachVersionWantsIt(t *testing.T) {
	for model, want := range map[string]struct {
		dims     int
		members  string
		truncate string
	}{
		CohereV3:         {1024, "[input_type texts truncate]", "END"},
		CohereV3English:  {1024, "[input_type texts truncate]", "END"},
		CohereV4:         {1536, "[embedding_types input_type output_dimension texts truncate]", "RIGHT"},
		"us." + CohereV4: {256, "[embedding_types input_type output_dimension texts truncate]", "RIGHT"},
		"arn:aws:bedrock:ap-northeast-1:1:inference-profile/global." + CohereV4: {512, "[embedding_types input_type output_dimension texts truncate]", "RIGHT"},
	} {
		s, b := startCohere(t, model, want.dims)
		if tokens := embedTexts(t, b, manyTexts(200)); tokens != 1400 {
			t.Errorf("%s: %d tokens", model, tokens)
		}
		for _, r := range s.asked {
			if r.InputType != "search_document" || len(r.Texts) > 96 || r.Truncate != want.truncate || strings.Contains(model, "v4") != (r.Dims == want.dims) {
				t.Errorf("%s: asked %s, %d texts, %s, %d dims", model, r.InputType, len(r.Texts), r.Truncate, r.Dims)
			}
		}
		if got := fmt.Sprint(s.members); got != want.members {
			t.Errorf("%s: members %s", model, got)
		}
		v, err := b.EmbedQuery(context.Background(), "冷凍倉庫")
		if last := s.asked[len(s.asked)-1]; err != nil || len(v) != want.dims || last.InputType != "search_query" || !slices.Equal(last.Texts, []string{"冷凍倉庫"}) {
			t.Errorf("%s: query %v, asked %+v", model, err, last)
		}
		if DefaultDims(model) != map[bool]int{true: 1536, false: 1024}[strings.Contains(model, "v4")] {
			t.Errorf("%s: %d by default", model, DefaultDims(model))
		}
	}
}

func TestCoheresBadDaysLoseOnlyWhatTheyMust(t *testing.T) {
	s, b := startCohere(t, CohereV3, 1024)
	texts := manyTexts(100)
	texts[40] = strings.Repeat("倉", 3000) // over 2,048 characters
	embedTexts(t, b, texts)
	if b.Stats().Cut != 1 || len(s.asked) > 3 {
		t.Errorf("%d cut in %d calls", b.Stats().Cut, len(s.asked))
	}

	s.refuse = func(w http.ResponseWriter, texts []string) bool {
		if !slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, "毒") }) {
			return false
		}
		refuse(w, 400, "ValidationException", "The provided input is not permitted.")
		return true
	}
	texts[7] += "毒"
	embedTexts(t, b, texts, 7)

	s.refuse = nil
	texts = manyTexts(100)
	for name, spoil := range map[string]func([][]float32) [][]float32{
		"the last missing": func(r [][]float32) [][]float32 { return r[:len(r)-1] },
		"the first missing": func(r [][]float32) [][]float32 {
			if len(r) > 1 {
				return r[1:]
			}
			return r
		},
		"one too short": func(r [][]float32) [][]float32 { r[len(r)/2] = r[len(r)/2][:3]; return r },
		"two for one":   func(r [][]float32) [][]float32 { return append(r, r[0]) },
	} {
		calls := 0
		s.spoil = func(r [][]float32) [][]float32 {
			if calls++; calls == 1 {
				return spoil(r)
			}
			return r
		}
		t.Run(name, func(t *testing.T) { embedTexts(t, b, texts) })
	}

	s.spoil = nil
	s.refuse = func(w http.ResponseWriter, _ []string) bool {
		refuse(w, 400, "ValidationException", "Malformed input request: #: extraneous key [x] is not permitted")
		return true
	}
	err := b.Embed(context.Background(), texts, func(int, []float32, int) error { return nil })
	if !errors.Is(err, embed.ErrTerminal) || !strings.Contains(err.Error(), "extraneous key") {
		t.Errorf("got %v", err)
	}
}
