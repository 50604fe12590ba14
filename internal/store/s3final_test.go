package store_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// What a store will say again ends at once; what may pass is tried again.
func TestS3RefusalsAreToldApartFromOutages(t *testing.T) {
	for _, c := range []struct {
		status  int
		code    string
		refusal bool
	}{
		{403, "AccessDenied", true}, {403, "InvalidAccessKeyId", true}, {403, "SignatureDoesNotMatch", true},
		{404, "NoSuchBucket", true}, {404, "NoSuchKey", true}, // of a write: it looks for nothing
		{301, "PermanentRedirect", true}, {307, "TemporaryRedirect", true},
		{400, "AuthorizationHeaderMalformed", true}, {400, "InvalidBucketName", true}, {400, "ExpiredToken", true},
		{405, "MethodNotAllowed", true}, {411, "MissingContentLength", true}, {501, "NotImplemented", true},
		{400, "RequestTimeout", false}, {400, "IncompleteBody", false}, {400, "ThrottlingException", false},
		{408, "RequestTimeout", false}, {409, "OperationAborted", false}, {429, "TooManyRequests", false},
		{500, "InternalError", false}, {503, "SlowDown", false},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.code), func(t *testing.T) {
			t.Parallel() // the pauses between attempts
			s := &stub{t: t, answer: func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) { s3Error(w, c.status, c.code) }}
			err := store.SelfTest(t.Context(), s.open(nil), store.NewLayout("p", ""))
			if err == nil || errors.Is(err, store.ErrUnusable) || store.Refusal(err) != c.refusal {
				t.Errorf("%v: a refusal %v, want %v", err, store.Refusal(err), c.refusal)
			}
			// Each of the eight writers sends once when it is refused.
			if n := s.seen("put"); c.refusal && n != 8 || !c.refusal && n <= 8 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

func TestS3PatienceEndsEveryRequestOfASilentStore(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request, _ []byte, _ int) { <-r.Context().Done() }
	headersOnly := func(w http.ResponseWriter, r *http.Request, _ []byte, _ int) {
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	cut := func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte, int){"no headers": hang, "no body": headersOnly, "cut": cut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stub{t: t, answer: answer}
			o := s.open(func(c *store.S3Config) {
				c.Patience, c.HeaderTimeout, c.IdleTimeout = 2*time.Second, time.Second, time.Second
			})
			read := func() error {
				_, _, err := store.ReadDoc[store.Status](t.Context(), o, "p/status.json", store.GetOptions{})
				return err
			}
			var err error
			for range 10 { // refused connections come back at once: more than one request passes within the patience
				if err = read(); errors.Is(err, store.ErrNoAnswer) {
					break
				}
			}
			if !errors.Is(err, store.ErrNoAnswer) || store.Refusal(err) {
				t.Fatalf("got %v, want ErrNoAnswer", err)
			}
			sent := len(s.requests)
			if err := store.SelfTest(t.Context(), o, store.NewLayout("p", "")); !errors.Is(err, store.ErrNoAnswer) || len(s.requests) != sent {
				t.Errorf("after that: %v, and %d more requests", err, len(s.requests)-sent)
			}
		})
	}
}

// page writes a ListObjectsV2 answer.
func page(w http.ResponseWriter, truncated, token string, keys ...string) {
	fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>`)
	if truncated != "" {
		fmt.Fprintf(w, "<IsTruncated>%s</IsTruncated>", truncated)
	}
	if token != "" {
		fmt.Fprintf(w, "<NextContinuationToken>%s</NextContinuationToken>", token)
	}
	for _, k := range keys {
		fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>1</Size></Contents>", k)
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

func TestS3ListingsThatAreNotWholeAreErrors(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, n int){
		"cut short, no token": func(w http.ResponseWriter, _ int) { page(w, "true", "", "p/a") },
		"cut short on page two": func(w http.ResponseWriter, n int) {
			page(w, "true", []string{"t", ""}[min(n, 2)-1], fmt.Sprint("p/", n))
		},
		"the answer of version 1": func(w http.ResponseWriter, _ int) {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>p/a</NextMarker></ListBucketResult>`)
		},
		"the same token for ever": func(w http.ResponseWriter, n int) { page(w, "true", "t", fmt.Sprintf("p/%03d", n)) },
		"the same page for ever":  func(w http.ResponseWriter, n int) { page(w, "true", fmt.Sprint("t", n), "p/a", "p/b") },
		"two tokens in turn":      func(w http.ResponseWriter, n int) { page(w, "true", fmt.Sprint("t", n%2), fmt.Sprint("p/", n%2)) },
		"no key for ever":         func(w http.ResponseWriter, n int) { page(w, "true", fmt.Sprint("t", n)) },
		"out of order":            func(w http.ResponseWriter, _ int) { page(w, "false", "", "p/b", "p/a") },
		"a key twice":             func(w http.ResponseWriter, _ int) { page(w, "false", "", "p/a", "p/a") },
		"keys of another prefix":  func(w http.ResponseWriter, _ int) { page(w, "false", "", "q/a") },
		"nothing":                 func(http.ResponseWriter, int) {},
		"a page for people":       func(w http.ResponseWriter, _ int) { fmt.Fprint(w, "<html><body>Sign in</body></html>") },
		"cut within": func(w http.ResponseWriter, _ int) {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/`)
		},
	} {
		s := &stub{t: t, answer: func(w http.ResponseWriter, _ *http.Request, _ []byte, n int) { answer(w, n) }}
		err := s.open(nil).List(t.Context(), "p/", func(store.Info) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "list s3://bucket/p/") || s.seen("list") > 1200 {
			t.Errorf("%s: %v after %d requests", name, err, s.seen("list"))
		}
	}
}

func TestS3ListingsOfManyPages(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, n int){
		"plain": func(w http.ResponseWriter, n int) {
			page(w, fmt.Sprint(n < 3), []string{"a", "b", ""}[n-1], fmt.Sprint("p/", n))
		},
		"an empty page between": func(w http.ResponseWriter, n int) {
			page(w, fmt.Sprint(n < 4), []string{"a", "b", "c", ""}[n-1], strings.Fields([]string{"p/1", "", "p/2", "p/3"}[n-1])...)
		},
		"a token without IsTruncated":  func(w http.ResponseWriter, n int) { page(w, "", []string{"a", "b", ""}[n-1], fmt.Sprint("p/", n)) },
		"a folder made by the console": func(w http.ResponseWriter, n int) { page(w, "false", "", "p/", "p/1", "p/2", "p/3") },
	} {
		s := &stub{t: t, answer: func(w http.ResponseWriter, r *http.Request, _ []byte, n int) {
			if n == 2 && r.URL.Query().Get("continuation-token") != "a" {
				t.Errorf("%s: asked for %s", name, r.URL.RawQuery)
			}
			answer(w, n)
		}}
		var keys []string
		err := s.open(nil).List(t.Context(), "p/", func(i store.Info) error { keys = append(keys, i.Key); return nil })
		if err != nil || fmt.Sprint(keys) != "[p/1 p/2 p/3]" {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
}

func TestADirectoryThatIsNotThereIsNoEmptyStore(t *testing.T) {
	root := filepath.Join(t.TempDir(), "unmounted")
	d, err := store.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	_, headErr := d.Head(t.Context(), "k")
	_, _, getErr := d.Get(t.Context(), "k", store.GetOptions{})
	_, putErr := d.Put(t.Context(), "k", []byte("x"), store.PutOptions{})
	for name, err := range map[string]error{
		"get": getErr, "head": headErr, "put": putErr,
		"delete":    d.Delete(t.Context(), "k"),
		"list":      d.List(t.Context(), "", func(store.Info) error { return nil }),
		"list p":    d.List(t.Context(), "p/", func(store.Info) error { return nil }),
		"self-test": store.SelfTest(t.Context(), d, store.NewLayout("p", "")),
	} {
		if !store.Refusal(err) || errors.Is(err, store.ErrNotFound) || !strings.Contains(fmt.Sprint(err), root) {
			t.Errorf("%s: %v, want a refusal that names %s", name, err, root)
		}
	}
	if d, err = store.NewDir(filepath.Dir(root)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Head(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an empty directory: %v", err)
	}
}
