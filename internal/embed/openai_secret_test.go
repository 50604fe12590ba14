package embed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

const planted = "sk-proj-PLANTEDkey0123456789"

func hasKey(s string) bool { return strings.Contains(s, "PLANTED") }

// TestTheKeyShowsNowhere prints everything that holds or has met the key, in every way Go can print.
func TestTheKeyShowsNowhere(t *testing.T) {
	cfg := embed.OpenAIConfig{APIKey: embed.NewSecret(planted), Dims: 4, RetryBase: time.Millisecond, MaxTries: 2}
	type outer struct{ inner embed.OpenAIConfig } // fmt does not ask the methods of unexported fields
	o := openAI(t, cfg)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{cfg.APIKey, &cfg.APIKey, cfg, &cfg, outer{cfg}, []any{cfg}, o} {
			if out := fmt.Sprintf(verb, v); hasKey(out) || strings.Contains(out, fmt.Sprintf("%x", planted)) {
				t.Errorf("%s of %T shows the key", verb, v)
			}
		}
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "key", cfg.APIKey, "config", cfg.APIKey, "client", o, "any", outer{cfg})
	}
	if hasKey(log.String()) {
		t.Errorf("the log shows the key: %s", log.String())
	}
	if b, err := json.Marshal(struct{ K embed.Secret }{cfg.APIKey}); err != nil || hasKey(string(b)) {
		t.Errorf("JSON: %s, %v", b, err)
	}
}

// TestErrorsNeverQuoteTheKey lets a server throw the request's own headers back, in every kind of failure.
func TestErrorsNeverQuoteTheKey(t *testing.T) {
	for _, status := range []int{200, 302, 400, 401, 403, 404, 413, 422, 429, 500, 503} {
		for _, shape := range []string{`{"error":{"message":%q}}`, `{"error":%q}`, `{"detail":[{"msg":%q}]}`, `<html>%s</html>`} {
			t.Run(fmt.Sprint(status, shape), func(t *testing.T) {
				t.Parallel()
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", "https://x.example/?k="+r.Header.Get("Authorization"))
					w.WriteHeader(status)
					fmt.Fprintf(w, shape, "bad key "+r.Header.Get("Authorization")+" masked sk-pro*************PLANTEDk")
				}))
				defer s.Close()
				var seen []string
				o := openAI(t, embed.OpenAIConfig{
					BaseURL: s.URL, APIKey: embed.NewSecret(planted), Dims: 4, RetryBase: time.Millisecond, MaxTries: 2, MaxStall: time.Millisecond,
					Observer: embed.Observer{
						Retry: func(reason string, err error) { seen = append(seen, reason, err.Error()) },
						Lacks: func(feature, message string) { seen = append(seen, feature, message) },
					},
				})
				err := o.Embed(context.Background(), []string{"a"}, func(int, []float32, int) error { return nil })
				if err == nil {
					t.Errorf("status %d: no error", status)
				}
				_, err2 := o.EmbedQuery(context.Background(), "a")
				for _, text := range append(seen, fmt.Sprintf("%v %+v %#v", err, err, err), fmt.Sprintf("%v %#v", err2, err2)) {
					if hasKey(text) {
						t.Errorf("status %d: %s", status, text)
					}
				}
			})
		}
	}
}

// TestAPanicPrintsNoKey crashes a child process with the client and its configuration on the stack.
func TestAPanicPrintsNoKey(t *testing.T) {
	if os.Getenv("EMBED_TEST_PANIC") != "" {
		cfg := embed.OpenAIConfig{APIKey: embed.NewSecret(planted), Dims: 4, Transport: panicking{}}
		o, err := embed.NewOpenAI(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = o.EmbedQuery(context.Background(), "a")
		t.Fatal("did not panic")
	}
	for _, traceback := range []string{"single", "system"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAPanicPrintsNoKey$")
		cmd.Env = append(os.Environ(), "EMBED_TEST_PANIC=1", "GOTRACEBACK="+traceback)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic: ") || !strings.Contains(string(out), "goroutine ") {
			t.Fatalf("the child did not panic: %v\n%s", err, out)
		}
		if hasKey(string(out)) {
			t.Errorf("the key is in the panic's output:\n%s", out)
		}
	}
}

type panicking struct{}

func (panicking) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	if !strings.Contains(r.Header.Get("Authorization"), "PLANTED") {
		return nil, fmt.Errorf("no key was sent")
	}
	panic(embed.NewSecret(planted))
}
