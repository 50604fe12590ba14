package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// bucketPolicyOf turns the inline statements of the two task roles into one bucket policy whose principals are the
// users "indexer" and "server": the same words, on a server that can be asked.
func bucketPolicyOf(t *testing.T, bucket string) string {
	t.Helper()
	tp := load(t, corePath, map[string]string{"BucketName": bucket, "SecretArn": "arn:aws:secretsmanager:r:111122223333:secret:k", "ImageTag": "202601020304"})
	var all []any
	for role, user := range map[string]string{"IndexerRole": "indexer", "ServerRole": "server"} {
		for sid, s := range statements(t, tp, role) {
			s["Sid"], s["Principal"] = user+sid, map[string]any{"AWS": []string{user}}
			all = append(all, s)
		}
	}
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fixture is a real S3 server with a bucket under that policy, and the store as each identity sees it.
type fixture struct {
	server                *s3test.Server
	users                 map[string]s3test.User
	root, indexer, reader *store.S3
}

func underPolicy(t *testing.T) *fixture {
	t.Helper()
	const bucket = "vectors"
	f := &fixture{server: s3test.Versitygw(t), users: map[string]s3test.User{}}
	f.server.CreateBucket(bucket, true)
	for _, u := range []string{"indexer", "server"} {
		f.users[u] = f.server.CreateUser(u)
	}
	f.server.PutBucketPolicy(bucket, bucketPolicyOf(t, bucket))
	open := func(c store.S3Config) *store.S3 {
		o, err := store.NewS3(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close() })
		return o
	}
	f.root = open(f.server.Config(bucket))
	f.indexer = open(f.server.ConfigOf(bucket, f.users["indexer"]))
	f.reader = open(f.server.ConfigOf(bucket, f.users["server"]))
	return f
}

// env of a binary with the keys of a user.
func (f *fixture) env(user string) map[string]string {
	out := map[string]string{
		"VECTORSTORE_S3_BUCKET": "vectors", "EMBEDDING_PROVIDER": "local", "POLL_INTERVAL": "200ms",
	}
	for _, kv := range f.server.EnvOf(f.users[user]) {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

func (f *fixture) put(t *testing.T, key, body string) {
	t.Helper()
	if _, err := f.root.Put(t.Context(), key, []byte(body), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

const prefix = "vectorstore/prod/"

func TestIdentitiesCanDoTheirWorkAndNothingElseOnARealServer(t *testing.T) {
	f := underPolicy(t)
	snapshot := prefix + "20260102T030405Z-01234567/"
	all := []string{
		prefix + "vendors.json", prefix + "golden.json", prefix + "current/manifest.json", prefix + "current/index.faiss",
		prefix + "lease.json", prefix + "control.json", prefix + "gc.json", prefix + "status.json",
		snapshot + "manifest.json", snapshot + "verdict.json", prefix + "embeddings/seg", prefix + "probe/p", prefix + "replicas/r.json",
		"elsewhere.txt", "vectorstore/product-plans.txt", "vectorstore/prod2/vendors.json",
	}
	for _, k := range all {
		f.put(t, k, "x")
	}
	inside := func(k string) bool { return strings.HasPrefix(k, prefix) }
	people := func(k string) bool {
		return strings.HasSuffix(k, "vendors.json") || strings.HasSuffix(k, "golden.json")
	}
	beat := func(k string) bool { return strings.HasPrefix(k, prefix+"replicas/") }
	rebuildable := func(k string) bool {
		return strings.HasPrefix(k, snapshot) || strings.HasPrefix(k, prefix+"embeddings/") || strings.HasPrefix(k, prefix+"probe/") || beat(k)
	}
	for user, may := range map[string]struct {
		as             *store.S3
		put, remove    func(string) bool
		listOutsideErr error
	}{
		"indexer": {f.indexer, func(k string) bool { return inside(k) && !people(k) && !beat(k) }, func(k string) bool { return inside(k) && rebuildable(k) }, store.ErrDenied},
		"server":  {f.reader, beat, func(string) bool { return false }, store.ErrDenied},
	} {
		t.Run(user, func(t *testing.T) {
			for _, k := range all {
				_, err := may.as.Head(t.Context(), k)
				verdict(t, "get "+k, err, inside(k))
				_, err = may.as.Put(t.Context(), k, []byte("y"), store.PutOptions{})
				verdict(t, "put "+k, err, may.put(k))
				verdict(t, "delete "+k, may.as.Delete(t.Context(), k), may.remove(k))
				f.put(t, k, "x")
			}
			for _, p := range []string{prefix, prefix + "replicas/", snapshot} {
				verdict(t, "list "+p, may.as.List(t.Context(), p, func(store.Info) error { return nil }), true)
			}
			for _, p := range []string{"", "vectorstore/", "elsewhere", "vectorstore/prod2/"} {
				verdict(t, "list "+p, may.as.List(t.Context(), p, func(store.Info) error { return nil }), false)
			}
			_, err := may.as.Head(t.Context(), prefix+"not-there.json")
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a missing key below the prefix is %v: the first start would fail", err)
			}
		})
	}
}

func verdict(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	switch {
	case allowed && err != nil:
		t.Errorf("%s: %v", what, err)
	case !allowed && !errors.Is(err, store.ErrDenied):
		t.Errorf("%s: should be denied, is %v", what, err)
	}
}

// deniedCounts reads vectorstore_store_requests_total{code="403"} of a process.
func deniedCounts(t *testing.T, admin string) (lines []string) {
	t.Helper()
	resp, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "vectorstore_store_requests_total{") && strings.Contains(l, `code="403"`) && !strings.HasSuffix(l, " 0") {
			lines = append(lines, l)
		}
	}
	return lines
}

// The programs at work under the roles: first start, a change, a second change, garbage collection, a forced pass.
func TestProgramsRunUnderTheRolesOfTheTemplate(t *testing.T) {
	f := underPolicy(t)
	catalogue, err := os.ReadFile("../testdata/vendors.json")
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, prefix+"vendors.json", string(catalogue))

	indexerEnv := f.env("indexer")
	maps.Copy(indexerEnv, map[string]string{"RESYNC_INTERVAL": "1s", "LEASE_TTL": "5s", "RETAIN_SNAPSHOTS": "1", "RETAIN_GRACE": "1s", "GATE_MAX_REMOVED": "1"})
	indexer := harness.StartIndexer(t, indexerEnv)
	server := harness.StartServer(t, f.env("server"))
	generation := 0.0
	awaitNext := func(what string) {
		t.Helper()
		harness.Eventually(t, what, func() error {
			h := harness.Get(t, server.URL+"/health").JSON(t)
			if g, _ := h["generation"].(float64); g > generation {
				generation = g
				return nil
			}
			return fmt.Errorf("health: %v", h)
		})
	}
	awaitNext("the first snapshot is served")
	for i := range 3 {
		f.put(t, prefix+"vendors.json", fmt.Sprintf(`{"vendors":[{"id":"001","name":"ベンダーA"},{"id":"002","name":"ベンダーB (%d)"}]}`, i))
		awaitNext(fmt.Sprintf("change %d is served", i))
	}
	// RETAIN_SNAPSHOTS is 1: garbage is collected with the indexer's rights.
	harness.Eventually(t, "old snapshots are deleted", func() error {
		n := 0
		err := f.root.List(t.Context(), prefix+"2", func(i store.Info) error {
			if strings.HasSuffix(i.Key, "/manifest.json") {
				n++
			}
			return nil
		})
		if err == nil && n > 3 {
			err = fmt.Errorf("%d snapshots", n)
		}
		return err
	})
	for name, admin := range map[string]string{"indexer": indexer.Admin, "server": server.Admin} {
		if denied := deniedCounts(t, admin); len(denied) > 0 {
			t.Errorf("the %s was refused something that it needs: %v", name, denied)
		}
	}
	// What the server's identity wrote: its heartbeat, nothing else.
	before := time.Now()
	harness.Eventually(t, "a heartbeat", func() error {
		n := 0
		err := f.root.List(t.Context(), prefix+"replicas/", func(store.Info) error { n++; return nil })
		if err == nil && n == 0 {
			err = fmt.Errorf("none since %v", before)
		}
		return err
	})
	server.Signal(syscall.SIGINT)
	if code := server.Wait(t); code != 0 {
		t.Errorf("the server exits %d", code)
	}
	indexer.Signal(syscall.SIGTERM)
	if code := indexer.Wait(t); code != 0 {
		t.Errorf("the indexer exits %d", code)
	}
	if _, err := f.root.Head(t.Context(), prefix+"lease.json"); err != nil {
		t.Errorf("the lease: %v", err)
	}
}
