package wire

import (
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestLocalModels(t *testing.T) {
	sentence := snapshot.Embedding{Provider: "local", Model: "use-multilingual-v3", Dims: 512, Version: "1"}
	for _, c := range []struct {
		m    Model
		want snapshot.Embedding
		err  string
	}{
		{m: Model{Model: "use-multilingual-v3"}, want: sentence},
		{m: Model{Model: "use-multilingual-v3", Dims: 512}, want: sentence},
		{m: Model{Model: "use-multilingual-v3", Dims: 384}, err: "EMBEDDING_DIMENSIONS: use-multilingual-v3 has 512, not 384"},
		{m: Model{Model: "local-ngram-v1", Dims: 256}, want: snapshot.Embedding{Provider: "local", Model: "local-ngram-v1", Dims: 256, Version: "1"}},
		{m: Model{Model: "text-embedding-3-small"}, err: "local-ngram-v1 and use-multilingual-v3"},
	} {
		e, err := Provider{Name: "local", Weights: t.TempDir()}.Open(t.Context(), c.m, Calls{})
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v, want %s", c.m, err, c.err)
			}
		case err != nil || e.Embedding() != c.want:
			t.Errorf("%+v: %v, %v", c.m, e, err)
		}
	}
}

// A server embeds queries with the model of the snapshot that it serves, and must not swap to one whose model it lacks.
func TestQueriesNeedTheSnapshotsModel(t *testing.T) {
	spec := snapshot.Embedding{Provider: "local", Model: "use-multilingual-v3", Dims: 512, Version: "1"}
	if _, err := (Provider{Weights: t.TempDir()}).ForSnapshot(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("without the weights: %v", err)
	}
	with := Provider{Name: "openai", APIKey: "k", Weights: harness.Weights(t)}
	if e, err := with.ForSnapshot(t.Context(), spec); err != nil || e.Embedding() != spec {
		t.Errorf("with them: %v, %v", e, err)
	}
	spec.Version = "2"
	if _, err := with.ForSnapshot(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version: %v", err)
	}
}
