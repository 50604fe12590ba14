package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

func TestS3PutSendsItsConditionChecksumAndEncryptionOnce(t *testing.T) {
	data := []byte("the bytes")
	sum := sha256.Sum256(data)
	for name, c := range map[string]struct {
		opts   store.PutOptions
		header map[string]string
	}{
		"create":  {store.PutOptions{IfAbsent: true}, map[string]string{"If-None-Match": "*", "If-Match": ""}},
		"replace": {store.PutOptions{IfMatch: `"e1"`}, map[string]string{"If-None-Match": "", "If-Match": `"e1"`}},
		"plain":   {store.PutOptions{Metadata: map[string]string{"snapshot-id": "x"}}, map[string]string{"If-None-Match": "", "If-Match": "", "X-Amz-Meta-Snapshot-Id": "x"}},
	} {
		s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, body []byte, _ int) {
			c.header["X-Amz-Server-Side-Encryption"] = "" // the bucket's own
			c.header["X-Amz-Checksum-Sha256"] = base64.StdEncoding.EncodeToString(sum[:])
			for h, want := range c.header {
				if got := r.Header.Get(h); got != want {
					t.Errorf("%s: %s is %q, want %q", name, h, got, want)
				}
			}
			if !bytes.Equal(body, data) || r.URL.Path != "/bucket/p/k" {
				t.Errorf("%s: %q to %s", name, body, r.URL.Path)
			}
			w.Header().Set("Etag", `"e2"`)
		}}
		info, err := s.open(nil).Put(t.Context(), "p/k", data, c.opts)
		if err != nil || info.ETag != `"e2"` || s.seen("put") != 1 {
			t.Errorf("%s: %+v, %v after %d requests", name, info, err, s.seen("put"))
		}
	}
}

func TestS3PutIsNeverRepeatedUnseen(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { s3Error(w, 500, "InternalError") },
		"503": func(w http.ResponseWriter, _ *http.Request) { s3Error(w, 503, "SlowDown") },
		"409": func(w http.ResponseWriter, _ *http.Request) { s3Error(w, 409, "ConditionalRequestConflict") },
		"reset": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		},
		"silence": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, _ []byte, _ int) { answer(w, r) }}
			o := s.open(func(c *store.S3Config) { c.HeaderTimeout = time.Second })
			_, err := o.Put(t.Context(), "k", []byte("x"), store.PutOptions{IfAbsent: true})
			if err == nil || errors.Is(err, store.ErrConflict) || s.seen("put") != 1 {
				t.Errorf("%d requests: %v", s.seen("put"), err)
			}
		})
	}
}

func TestS3WriteBytesRepeatsA409WithTheSameBytes(t *testing.T) {
	var bodies []string
	s := &stub{t: t, answer: func(w http.ResponseWriter, _ *http.Request, body []byte, n int) {
		bodies = append(bodies, string(body))
		if n < 3 {
			s3Error(w, 409, "ConditionalRequestConflict")
			return
		}
		w.Header().Set("Etag", `"e"`)
	}}
	info, err := store.WriteBytes(t.Context(), s.open(nil), "k", []byte("mine"), store.PutOptions{IfMatch: `"a"`})
	if err != nil || info.ETag != `"e"` || fmt.Sprint(bodies) != "[mine mine mine]" {
		t.Errorf("%+v, %v after %v", info, err, bodies)
	}
}

func TestS3WriteBytesAfterALostAnswerFindsItsOwnBytes(t *testing.T) {
	for name, stored := range map[string]string{"ours": "mine", "another's": "theirs"} {
		s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, _ []byte, n int) {
			switch {
			case r.Method == http.MethodGet:
				w.Header().Set("Etag", `"e"`)
				fmt.Fprint(w, stored)
			case n == 1:
				s3Error(w, 500, "InternalError")
			default:
				s3Error(w, 412, "PreconditionFailed")
			}
		}}
		info, err := store.WriteBytes(t.Context(), s.open(nil), "k", []byte("mine"), store.PutOptions{IfAbsent: true})
		if stored == "mine" && (err != nil || info.ETag != `"e"`) || stored != "mine" && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestS3ReadsAreRepeatedWhenTheStoreIsBusy(t *testing.T) {
	s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, _ []byte, n int) {
		if n == 1 {
			s3Error(w, 503, "SlowDown")
			return
		}
		w.Header().Set("Etag", `"e"`)
		w.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
		w.Header().Set("Date", "Fri, 02 Jan 2026 03:05:05 GMT")
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "x")
		}
	}}
	reg := prometheus.NewRegistry()
	o := s.open(func(c *store.S3Config) { c.Metrics = store.NewMetrics(reg) })
	info, err := o.Head(t.Context(), "k")
	if err != nil || info.Age() != time.Minute {
		t.Errorf("head: %+v, %v", info, err)
	}
	body, _, err := o.Get(t.Context(), "k", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	want := map[string]float64{"get 200": 1, "get 503": 1, "head 200": 1, "head 503": 1}
	if got := requests(t, reg); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if store.Observe(o, store.NewMetrics(prometheus.NewRegistry())) != store.Objects(o) {
		t.Error("an S3 that counts for itself was wrapped")
	}
}

func TestS3BodyThatStopsFlowingIsContinued(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, _ []byte, n int) {
		w.Header().Set("Etag", `"e"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if n == 1 {
			_, _ = w.Write(data[:5000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if got := r.Header.Get("Range") + " " + r.Header.Get("If-Match"); got != `bytes=5000- "e"` {
			t.Errorf("continued with %s", got)
		}
		w.Header().Set("Content-Length", "5000")
		w.Header().Set("Content-Range", "bytes 5000-9999/10000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[5000:])
	}}
	path := filepath.Join(t.TempDir(), "src")
	_, sum, err := store.FetchSource(t.Context(), s.open(nil), "k", path, store.GetOptions{})
	if err != nil || sum != store.ManifestDigest(data) {
		t.Errorf("sha256 %s, %v", sum, err)
	}
}

// uploads answers a multipart upload; complete decides how the n-th completion ends.
func uploads(complete func(w http.ResponseWriter, n int)) func(http.ResponseWriter, *http.Request, []byte, int) {
	return func(w http.ResponseWriter, r *http.Request, body []byte, n int) {
		switch kind(r) {
		case "create":
			fmt.Fprintf(w, `<InitiateMultipartUploadResult><UploadId>u%d</UploadId></InitiateMultipartUploadResult>`, n)
		case "part":
			w.Header().Set("Etag", `"part"`)
		case "complete":
			if r.Header.Get("If-None-Match") != "*" {
				s3Error(w, 400, "NoCondition")
				return
			}
			complete(w, n)
		case "abort":
			w.WriteHeader(http.StatusNoContent)
		case "head":
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func completed(w http.ResponseWriter) {
	fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>`)
}

func largeFile(t *testing.T) (string, snapshot.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 11<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := store.HashFile(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return path, f
}

func TestS3UploadStartsAgainWhenItsCompletionComesToNothing(t *testing.T) {
	path, f := largeFile(t)
	for code, status := range map[string]int{"ConditionalRequestConflict": 409, "NoSuchUpload": 404, "InternalError": 500} {
		s := &stub{t: t, answer: uploads(func(w http.ResponseWriter, n int) {
			if n == 1 {
				s3Error(w, status, code)
				return
			}
			completed(w)
		})}
		info, err := store.WriteFile(t.Context(), s.open(nil), "k", path, f, store.PutOptions{IfAbsent: true})
		if err != nil || info.ETag != `"whole"` {
			t.Errorf("%s: %+v, %v", code, info, err)
		}
		if s.seen("create") != 2 || s.seen("part") != 6 || s.seen("complete") != 2 || s.seen("abort") != 1 {
			t.Errorf("%s: requests %v", code, s.requests)
		}
	}
}

func TestS3UploadThatFailsIsAborted(t *testing.T) {
	path, _ := largeFile(t)
	for name, c := range map[string]struct {
		complete func(w http.ResponseWriter, n int)
		want     error
	}{
		"refused":               {func(w http.ResponseWriter, _ int) { s3Error(w, 412, "PreconditionFailed") }, store.ErrConflict},
		"an error inside a 200": {func(w http.ResponseWriter, _ int) { s3Error(w, 200, "InternalError") }, nil},
	} {
		s := &stub{t: t, answer: uploads(c.complete)}
		_, err := s.open(nil).PutFile(t.Context(), "k", path, store.PutOptions{IfAbsent: true})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || s.seen("abort") != 1 || s.seen("complete") != 1 {
			t.Errorf("%s: %v after %v", name, err, s.requests)
		}
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &stub{t: t, answer: uploads(nil)}
		answer := s.answer
		s.answer = func(w http.ResponseWriter, r *http.Request, body []byte, n int) {
			if kind(r) == "part" {
				cancel()
			}
			answer(w, r, body, n)
		}
		if _, err := s.open(nil).PutFile(ctx, "k", path, store.PutOptions{IfAbsent: true}); !errors.Is(err, context.Canceled) || s.seen("abort") != 1 {
			t.Errorf("%v after %v", err, s.requests)
		}
	})
}

func TestS3PutRefusesAStoreThatComputedAnotherChecksum(t *testing.T) {
	s := &stub{t: t, answer: func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) {
		w.Header().Set("Etag", `"e"`)
		w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	}}
	if _, err := s.open(nil).Put(t.Context(), "k", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("accepted")
	}
}

func TestS3ErrorsNameOperationAndObjectAndNoSecret(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		code     string
		sentinel error
		text     string
	}{
		"denied":     {403, "AccessDenied", store.ErrDenied, "get s3://bucket/p/k: access denied (403 AccessDenied: the words for AccessDenied; request id REQ1); without s3:ListBucket a missing key answers so too"},
		"no bucket":  {404, "NoSuchBucket", nil, "get s3://bucket/p/k: the bucket does not exist"},
		"no key":     {404, "NoSuchKey", store.ErrNotFound, "get s3://bucket/p/k: not found"},
		"teapot":     {418, "Teapot", nil, "get s3://bucket/p/k: 418 Teapot: the words for Teapot; request id REQ1"},
		"condition":  {412, "PreconditionFailed", store.ErrConflict, "get s3://bucket/p/k: conflict: another version is stored"},
		"unmodified": {304, "", store.ErrNotModified, "get s3://bucket/p/k: not modified"},
	} {
		s := &stub{t: t, answer: func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) {
			if c.status == 304 {
				w.WriteHeader(304)
				return
			}
			s3Error(w, c.status, c.code)
		}}
		_, _, err := s.open(nil).Get(t.Context(), "p/k", store.GetOptions{IfNoneMatch: `"e"`})
		if fmt.Sprint(err) != c.text {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.text)
		}
		for _, sentinel := range []error{store.ErrDenied, store.ErrNotFound, store.ErrConflict, store.ErrNotModified} {
			if errors.Is(err, sentinel) != (sentinel == c.sentinel) {
				t.Errorf("%s: is %v: %v", name, sentinel, errors.Is(err, sentinel))
			}
		}
		if strings.Contains(fmt.Sprint(err), stubSecret) || strings.Contains(fmt.Sprint(err), "AKIDSTUB") {
			t.Errorf("%s: %v holds credentials", name, err)
		}
	}
}

func TestS3ThatIsNotThereSaysWhere(t *testing.T) {
	s := &stub{t: t}
	o := s.open(func(c *store.S3Config) {
		c.Load = append(c.Load, config.WithBaseEndpoint("http://127.0.0.1:1"))
	})
	_, err := o.Put(t.Context(), "k", []byte("x"), store.PutOptions{})
	text := fmt.Sprint(err)
	if !strings.HasPrefix(text, "put s3://bucket/k: ") || !strings.Contains(text, "127.0.0.1:1") || strings.Contains(text, stubSecret) {
		t.Error(text)
	}
}

func TestNewS3NeedsABucketAndARegion(t *testing.T) {
	if _, err := store.NewS3(t.Context(), store.S3Config{}); err == nil {
		t.Error("opened without a bucket")
	}
	_, err := store.NewS3(t.Context(), store.S3Config{Bucket: "bucket", Load: []func(*config.LoadOptions) error{
		config.WithRegion(""), config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil), config.WithDefaultRegion(""),
	}})
	if os.Getenv("AWS_REGION") == "" && os.Getenv("AWS_DEFAULT_REGION") == "" && (err == nil || !strings.Contains(err.Error(), "AWS_REGION")) {
		t.Errorf("without a region: %v", err)
	}
}

func TestS3EncryptionIsAskedForOnlyWhenSet(t *testing.T) {
	for _, sse := range []string{"", "AES256", "aws:kms"} {
		asked := 0
		parts := uploads(func(w http.ResponseWriter, _ int) { completed(w) })
		s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, body []byte, n int) {
			creates := r.Method == http.MethodPost && r.URL.Query().Has("uploads") || r.Method == http.MethodPut && !r.URL.Query().Has("partNumber")
			if _, set := r.Header["X-Amz-Server-Side-Encryption"]; creates {
				asked++
				if got := r.Header.Get("X-Amz-Server-Side-Encryption"); got != sse || set != (sse != "") {
					t.Errorf("%q: %s %s asks for %q (header set: %v)", sse, r.Method, r.URL, got, set)
				}
			}
			parts(w, r, body, n)
		}}
		o := s.open(func(c *store.S3Config) { c.SSE = sse })
		path, f := largeFile(t)
		_, err := o.PutFile(t.Context(), "p/large", path, store.PutOptions{IfAbsent: true})
		_, perr := o.Put(t.Context(), "p/small", []byte("x"), store.PutOptions{})
		if err != nil || perr != nil || asked != 2 {
			t.Errorf("%q: %v, %v; %d objects of %d bytes created", sse, err, perr, asked, f.Size)
		}
	}
	for sse, ok := range map[string]bool{"": true, "AES256": true, "aws:kms": true, "aws:kms:dsse": true, "aes256": false, "true": false} {
		if err := store.CheckSSE(sse); (err == nil) != ok {
			t.Errorf("%q: %v", sse, err)
		}
	}
}
