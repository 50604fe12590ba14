// Package e2e runs the real binaries against real stores, as an operator would, and watches from outside.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

const prefix = "vectorstore/prod"

// backend is a store as the tests see it: what the binaries need to reach it, and a client of its own.
type backend struct {
	name    string // as in vectorstore_source: S3 or dir
	env     map[string]string
	objects store.Objects
	layout  store.Layout
	server  *s3test.Server // nil for dir
}

// fast are the intervals of a test: everything happens within seconds. Without weights the local provider has its n-grams
// alone, which embed catalogues of any size at once and on every machine alike; localmodel_test.go has the model.
var fast = map[string]string{
	"POLL_INTERVAL": "200ms", "RESYNC_INTERVAL": "500ms", "LEASE_TTL": "5s", "EMBEDDING_PROVIDER": "local", "VECTORSTORE_WEIGHTS_DIR": "/nonexistent",
	"DRAIN_TIME": "500ms",
}

func with(env map[string]string, more ...string) map[string]string {
	out := maps.Clone(env)
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func dirBackend(t *testing.T) *backend {
	t.Helper()
	root := t.TempDir()
	objects, err := store.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return &backend{"dir", with(fast, "VECTORSTORE_STORE_DIR", root), objects, store.NewLayout(prefix, ""), nil}
}

func s3Backend(t *testing.T, start func(testing.TB) *s3test.Server) *backend {
	t.Helper()
	srv := start(t)
	const bucket = "vendor-search"
	srv.CreateBucket(bucket, true)
	env := with(fast, "VECTORSTORE_S3_BUCKET", bucket)
	for _, kv := range srv.Env() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	objects, err := store.NewS3(t.Context(), srv.Config(bucket))
	if err != nil {
		t.Fatal(err)
	}
	return &backend{"S3", env, objects, store.NewLayout(prefix, ""), srv}
}

// put writes an object as a person would: unconditionally.
func (b *backend) put(t testing.TB, key string, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.objects.PutFile(t.Context(), key, path, store.PutOptions{}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func (b *backend) get(t testing.TB, key string) []byte {
	t.Helper()
	body, _, err := b.objects.Get(t.Context(), key, store.GetOptions{})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (b *backend) exists(t testing.TB, key string) bool {
	t.Helper()
	_, err := b.objects.Head(t.Context(), key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func (b *backend) pointer(t testing.TB) store.Pointer {
	t.Helper()
	p, _, err := store.ReadPointer(t.Context(), b.objects, b.layout, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// awaitPointer waits for a pointer that satisfies ok.
func (b *backend) awaitPointer(t testing.TB, what string, ok func(store.Pointer) bool) store.Pointer {
	t.Helper()
	var p store.Pointer
	harness.Eventually(t, what, func() error {
		var err error
		if p, _, err = store.ReadPointer(t.Context(), b.objects, b.layout, ""); err != nil {
			return err
		}
		if !ok(p) {
			return fmt.Errorf("pointer is %s, generation %d", p.ID, p.Generation)
		}
		return nil
	})
	return p
}

// sample is the catalogue that ships with the repository.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "testdata", "vendors.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sampleQuery is one of testdata/queries.json.
type sampleQuery struct {
	Query  string   `json:"query"`
	Expect []string `json:"expect"`
}

// edited returns the sample catalogue with a description added to one vendor, every other byte as it was.
func edited(t testing.TB, id, description string) []byte {
	t.Helper()
	at := fmt.Sprintf("\"vendor_id\": %q,", id)
	out := bytes.Replace(sample(t), []byte(at), fmt.Appendf(nil, "%s \"description\": %q,", at, description), 1)
	if !bytes.Contains(out, []byte(description)) {
		t.Fatalf("no vendor %s in the sample", id)
	}
	return out
}

// revision makes a catalogue of n vendors whose every id and name says which revision it is of.
func revision(rev, n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"vendors":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"vendor_id":"R%d-%03d","name":"会社%03d 第%d版","description":"倉庫と物流の管理サービス %d","revision":%d}`, rev, i, i, rev, i*7, rev)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}
