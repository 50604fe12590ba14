package bedrock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// standIn answers POST /model/{id}/invoke like Bedrock's Titan models.
type standIn struct {
	mu       sync.Mutex
	rng      *rand.Rand
	requests int
	texts    map[string]int // successful answers
	failing  float64        // share of throttled, broken and spoilt answers, each
	broken   func(w http.ResponseWriter, text string) bool
	seen     titanRequest
	path     string
	signed   bool
}

func vector(text string, dims int) []float32 {
	v := make([]float32, dims)
	for i := range v {
		v[i] = float32(math.Sin(float64(i+1) * float64(len(text)+int(text[len(text)-1]))))
	}
	return v
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req titanRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.seen, s.path = req, r.URL.EscapedPath()
	s.signed = strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if s.broken != nil && s.broken(w, req.InputText) {
		return
	}
	dims := req.Dimensions
	if dims == 0 {
		dims = 1536
	}
	x := s.rng.Float64()
	switch {
	case x < s.failing:
		refuse(w, 429, "ThrottlingException", "Too many requests, please wait before trying again.")
		return
	case x < 2*s.failing:
		refuse(w, 500, "InternalServerException", "oops")
		return
	case x < 3*s.failing:
		panic(http.ErrAbortHandler)
	case x < 4*s.failing:
		dims--
	default:
		s.texts[req.InputText]++
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"embedding": vector(req.InputText, dims), "inputTextTokenCount": 5})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-Errortype", code)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"message":%q}`, message)
}

func start(t *testing.T, model string, dims int) (*standIn, *Bedrock) {
	t.Helper()
	s := &standIn{rng: rand.New(rand.NewPCG(1, 2)), texts: map[string]int{}}
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
		Model: model, Dims: dims, RetryBase: time.Millisecond, RetryMax: 4 * time.Millisecond, MaxTries: 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestFaultsLoseAndRepeatNothing(t *testing.T) {
	s, b := start(t, TitanV2, 256)
	s.failing = 0.05
	const n = 500
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("会社%04d の説明 %c", i, 'a'+i%26)
	}
	seen, tokens := make([]bool, n), 0
	if err := b.Embed(context.Background(), texts, func(first int, vectors []float32, tok int) error {
		tokens += tok
		for k := range len(vectors) / 256 {
			i := first + k
			if seen[i] {
				t.Errorf("text %d came twice", i)
			}
			seen[i] = true
			want, got, norm := vector(texts[i], 256), vectors[k*256:(k+1)*256], 0.0
			for j := range want {
				norm += float64(want[j]) * float64(want[j])
			}
			for j := range want {
				if math.Abs(float64(want[j])/math.Sqrt(norm)-float64(got[j])) > 1e-5 {
					t.Fatalf("text %d has another vector", i)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, ok := range seen {
		if !ok || s.texts[texts[i]] != 1 {
			t.Errorf("text %d: %v, bought %d times", i, ok, s.texts[texts[i]])
		}
	}
	if tokens < 5*n || s.requests == n {
		t.Errorf("%d tokens, %d requests", tokens, s.requests)
	}
}

func TestTheWireFormatIsThatOfEachModel(t *testing.T) {
	s, b := start(t, TitanV2, 512)
	if v, err := b.EmbedQuery(context.Background(), "冷凍倉庫"); err != nil || len(v) != 512 {
		t.Fatalf("%d numbers, %v", len(v), err)
	}
	if s.seen.InputText != "冷凍倉庫" || s.seen.Dimensions != 512 || s.seen.Normalize == nil || !*s.seen.Normalize || !s.signed {
		t.Errorf("v2 was asked %+v, signed %v", s.seen, s.signed)
	}
	if want := "/model/" + url.PathEscape(TitanV2) + "/invoke"; s.path != want && s.path != strings.Replace(want, ":", "%3A", 1) {
		t.Errorf("path %s", s.path)
	}
	s, b = start(t, TitanV1, 1536)
	if v, err := b.EmbedQuery(context.Background(), "冷凍倉庫"); err != nil || len(v) != 1536 || s.seen.Dimensions != 0 || s.seen.Normalize != nil {
		t.Errorf("v1: %d numbers, %v, asked %+v", len(v), err, s.seen)
	}
	if spec := b.Embedding(); spec != (snapshot.Embedding{Provider: "bedrock", Model: TitanV1, Dims: 1536, Version: "1"}) {
		t.Errorf("spec %+v", spec)
	}
}

func TestTerminalErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status        int
		code, message string
		want          string
	}{
		{403, "AccessDeniedException", "You don't have access to the model", "bedrock:InvokeModel"},
		{404, "ResourceNotFoundException", "Could not resolve the foundation model", "AWS_REGION"},
		{403, "UnrecognizedClientException", "The security token included in the request is invalid.", "credentials"},
		{400, "ServiceQuotaExceededException", "quota", "quota"},
		{400, "ValidationException", "The provided model identifier is invalid.", "EMBEDDING_MODEL"},
	} {
		s, b := start(t, TitanV2, 256)
		s.broken = func(w http.ResponseWriter, _ string) bool { refuse(w, c.status, c.code, c.message); return true }
		err := b.Embed(context.Background(), []string{"a"}, func(int, []float32, int) error { return nil })
		if !errors.Is(err, embed.ErrTerminal) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got %v, want a terminal error with %q", c.code, err, c.want)
		}
		if s.requests != 1 && (c.code != "ValidationException" || s.requests != 2) { // the second is the probe
			t.Errorf("%s: tried %d times", c.code, s.requests)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	s, b := start(t, TitanV2, 256)
	s.broken = func(w http.ResponseWriter, text string) bool {
		if len(text) <= 12_000 {
			return false
		}
		refuse(w, 400, "ValidationException", "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9999")
		return true
	}
	n := 0
	if err := b.Embed(context.Background(), []string{"短い", strings.Repeat("倉", 6000), "終わり"}, func(_ int, v []float32, _ int) error {
		n += len(v) / 256
		return nil
	}); err != nil || n != 3 || b.Stats().Cut != 1 {
		t.Errorf("%d vectors, %d cut, %v", n, b.Stats().Cut, err)
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for _, c := range []Config{
		{Model: "text-embedding-3-small", Dims: 256, AWS: aws.Config{Region: "r"}},
		{Model: CohereV3, Dims: 1536, AWS: aws.Config{Region: "r"}},
		{Model: CohereV4, Dims: 768, AWS: aws.Config{Region: "r"}},
		{Model: "cohere.embed-v2", Dims: 1024, AWS: aws.Config{Region: "r"}},
		{Dims: 1536, AWS: aws.Config{Region: "r"}},
		{Model: TitanV1, Dims: 1024, AWS: aws.Config{Region: "r"}},
		{Dims: 1024},
	} {
		if _, err := New(c); !errors.Is(err, embed.ErrTerminal) {
			t.Errorf("%s, %d: %v", c.Model, c.Dims, err)
		}
	}
	b, err := New(Config{Dims: 1024, AWS: aws.Config{Region: "ap-northeast-1"}})
	if err != nil || b.Endpoint() != "bedrock-runtime.ap-northeast-1.amazonaws.com" || b.EstimateTokens("冷凍") < 2 {
		t.Errorf("%v, %v", b, err)
	}
}
