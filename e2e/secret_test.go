package e2e

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// TestProvidersKeyIsNowhereToBeFound builds and serves with a key, has it rejected, and crashes on purpose; then it
// looks for the key in everything that was said, counted and stored.
func TestProvidersKeyIsNowhereToBeFound(t *testing.T) {
	t.Parallel()
	const key = "sk-proj-K3yThatMustNotLeak0123456789"
	b := dirBackend(t)
	srv, env := buying(t, b, embedtest.Options{Key: key})
	env = with(env, "OPENAI_API_KEY", key, "LOG_LEVEL", "debug")
	b.put(t, b.layout.Source, sample(t))
	ix := harness.StartIndexer(t, env)
	s := harness.StartServer(t, env)
	s.Await(t, "server ready", 1)
	if _, err := harness.Search(s.URL, `{"query":"物流"}`); err != nil {
		t.Fatal(err)
	}
	said := map[string][]byte{}
	for name, url := range map[string]string{
		"indexer metrics": ix.Admin + "/metrics", "indexer status": ix.Admin + "/status",
		"server metrics": s.Admin + "/metrics", "server status": s.Admin + "/status", "snapshot": s.URL + "/snapshot", "page": s.URL + "/",
	} {
		said[name] = harness.Get(t, url).Body
	}

	// A key of the same look that the provider refuses, quoting it as providers do.
	const wrong = "sk-proj-Wr0ngKeyThatMustNotLeak98765"
	stdout, stderr, _ := harness.Run(t, "indexer", with(env, "OPENAI_API_KEY", wrong, "EMBEDDING_MODEL", "text-embedding-3-large", "LEASE_TTL", "5s"), "reconcile", "--dry-run")
	said["plan"] = []byte(stdout + stderr)
	ix.Signal(15)
	ix.Wait(t)
	stdout, stderr, code := harness.Run(t, "indexer", with(env, "OPENAI_API_KEY", wrong, "EMBEDDING_MODEL", "text-embedding-3-large"), "reconcile", "--once", "--yes")
	said["refused"] = []byte(stdout + stderr)
	if code != 1 || !strings.Contains(stderr, "OPENAI_API_KEY") {
		t.Errorf("a wrong key: exit %d, and it does not say which setting to mend: %s", code, stderr)
	}

	s.Signal(6) // SIGABRT: the runtime prints every goroutine
	s.Wait(t)
	said["indexer logs"], said["server logs"] = []byte(ix.Tail(1<<20)), []byte(s.Tail(1<<20))
	if !bytes.Contains(said["server logs"], []byte("goroutine ")) {
		t.Error("no stacks in the crash's output: the test looked at nothing")
	}
	err := b.objects.List(t.Context(), "", func(i store.Info) error {
		body, _, err := b.objects.Get(t.Context(), i.Key, store.GetOptions{})
		if err != nil {
			return err
		}
		data, err := io.ReadAll(body)
		said[i.Key] = data
		return errors.Join(err, body.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	if srv.Stats().Texts == 0 || len(said) < 15 {
		t.Errorf("%d texts bought, %d outputs looked at", srv.Stats().Texts, len(said))
	}
	for name, data := range said {
		for _, secret := range []string{key, wrong, key[8:24], wrong[8:24]} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds a key", name)
			}
		}
	}
}
