package store_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// stub answers like S3 where the real servers of the other tests do not: 409, 503 SlowDown, silence, lies.
type stub struct {
	t      *testing.T
	answer func(w http.ResponseWriter, r *http.Request, body []byte, n int) // n counts requests like this one, from 1

	mu       sync.Mutex
	requests []string // "METHOD kind"
}

const stubSecret = "stub-secret-key-that-must-not-show"

// kind names a request as S3 means it.
func kind(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "create"
	case r.Method == http.MethodPost:
		return "complete"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "part"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "abort"
	case q.Has("list-type"):
		return "list"
	}
	return strings.ToLower(r.Method)
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, kind(r))
	n := s.count(kind(r))
	s.mu.Unlock()
	w.Header().Set("x-amz-request-id", "REQ1")
	s.answer(w, r, body, n)
}

func (s *stub) count(kind string) int {
	n := 0
	for _, k := range s.requests {
		if k == kind {
			n++
		}
	}
	return n
}

func (s *stub) seen(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(kind)
}

func (s *stub) open(change func(*store.S3Config)) *store.S3 {
	s.t.Helper()
	server := httptest.NewServer(s)
	cfg := store.S3Config{
		Bucket: "bucket", PartSize: 5 << 20, HeaderTimeout: 10 * time.Second, IdleTimeout: time.Second,
		Load: []func(*config.LoadOptions) error{
			config.WithRegion("ap-northeast-1"),
			config.WithBaseEndpoint(server.URL),
			config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIDSTUB", stubSecret, "")),
			config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		},
	}
	if change != nil {
		change(&cfg)
	}
	o, err := store.NewS3(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		o.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return o
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>the words for %s</Message></Error>`, code, code)
}
