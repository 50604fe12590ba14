package e2e

import (
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// Whoever starts with the wrong environment learns it from the first lines.
func TestAStartSaysWhereItWorksAndWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	env := with(b.env, "S3_BUCKET_NAME", "their-bucket-word", "OPENAI_API_BASE", "https://key-word@example.com", "VECTORSTORE_S3_PREFIX", prefix+"/", "S3_PREFIX", "theirs")
	server := harness.Start(t, "server", with(env, "LISTEN_ADDR", "127.0.0.1:0", "ADMIN_ADDR", "127.0.0.1:0"))
	if l := server.Await(t, "waiting for the first pointer", 1); l.Str("url") != b.objects.URL(b.layout.Pointer()) {
		t.Errorf("waits for %v", l)
	}
	ix := harness.StartIndexer(t, env)
	for name, p := range map[string]*harness.Process{"server": server, "indexer": ix.Process} {
		l := p.Await(t, "store", 1)
		if l.Str("store") != b.env["VECTORSTORE_STORE_DIR"] || l.Str("prefix") != prefix || l.Str("embedding_provider") != "local" || l.Str("embedding_model") == "" {
			t.Errorf("%s: %v", name, l)
		}
		var named []string
		for _, l := range p.Lines("a variable of another service is set, and ours is not") {
			named = append(named, l.Str("level")+" "+l.Str("theirs")+" "+l.Str("ours"))
		}
		if got := strings.Join(named, ", "); got != "WARN S3_BUCKET_NAME VECTORSTORE_S3_BUCKET, WARN OPENAI_API_BASE OPENAI_BASE_URL" {
			t.Errorf("%s: %s", name, got)
		}
		if tail := p.Tail(1000); strings.Contains(tail, "key-word") || strings.Contains(tail, "their-bucket-word") {
			t.Errorf("%s logs values: %s", name, tail)
		}
	}
	b.put(t, b.layout.Source, revision(0, 5))
	server.Await(t, "server ready", 1)
}

func TestAServerSaysThatItsDirectoryIsNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/unmounted"
	server := harness.Start(t, "server", with(fast, "VECTORSTORE_STORE_DIR", dir, "LISTEN_ADDR", "127.0.0.1:0", "ADMIN_ADDR", "127.0.0.1:0"))
	if l := server.Await(t, "pointer not read", 1); l.Str("level") != "ERROR" || !strings.Contains(l.Str("error"), dir+" does not exist") {
		t.Errorf("%v", l)
	}
	if n := len(server.Lines("waiting for the first pointer")); n != 0 {
		t.Errorf("it waits for a pointer in a store that is not there")
	}
}
