package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// finds asks in the mode that only the vectors answer.
func finds(t *testing.T, s *harness.Server, query, id string) {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"query": query, "k": 3, "mode": "semantic"})
	f, err := harness.Search(s.URL, string(body))
	var ids []string
	for _, h := range f.Results {
		ids = append(ids, h.ID)
	}
	if err != nil || !slices.Contains(ids, id) {
		t.Errorf("%s: %v, %v, want %s", query, ids, err, id)
	}
}

// TestMovingToTheMultilingualModel is the life of a store that began without the weights: they are installed and nothing
// moves, somebody asks for the model and one rebuild moves it, a server without the weights stays where it is, and back.
func TestMovingToTheMultilingualModel(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	without := b.env
	installed := with(b.env, "VECTORSTORE_WEIGHTS_DIR", harness.Weights(t))
	asked := with(installed, "EMBEDDING_MODEL", embed.SentenceModel)
	b.put(t, b.layout.Source, sample(t))

	ix := harness.StartIndexer(t, without)
	first := b.awaitPointer(t, "a first snapshot", func(p store.Pointer) bool { return p.Generation == 1 })
	if first.Spec.Embedding.Model != embed.LocalModel {
		t.Errorf("built with %s", first.Spec.Embedding.Model)
	}
	if said := ix.Await(t, "local model", 1); said["level"] != "WARN" || !strings.Contains(said.Str("why"), "make weights") {
		t.Errorf("the missing model is told as %v", said)
	}
	ix.Signal(15)
	ix.Wait(t)
	behind, s := harness.StartServer(t, without), harness.StartServer(t, installed)

	ix = harness.StartIndexer(t, installed)
	ix.Await(t, "reconciled", 1)
	if p := b.pointer(t); p.ID != first.ID {
		t.Errorf("the weights alone moved the store to %s", p.Spec.Embedding.Model)
	}
	stdout, stderr, code := harness.Run(t, "indexer", installed, "status", "-o", "json")
	if code != 0 || !strings.Contains(stdout, "EMBEDDING_MODEL="+embed.SentenceModel) {
		t.Errorf("status does not say how to move: exit %d, %s%s", code, stdout, stderr)
	}
	ix.Signal(15)
	ix.Wait(t)

	stdout, stderr, code = harness.Run(t, "indexer", with(without, "EMBEDDING_MODEL", embed.SentenceModel), "reconcile", "--once", "--yes")
	if code != 1 || !strings.Contains(stdout+stderr, "is not installed") {
		t.Errorf("without the weights: exit %d, %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = harness.Run(t, "indexer", asked, "reconcile", "--dry-run")
	if code != 0 || !strings.Contains(stdout, embed.SentenceModel) {
		t.Errorf("the plan does not name the model: exit %d, %s%s", code, stdout, stderr)
	}
	harness.StartIndexer(t, asked)
	second := b.awaitPointer(t, "the move", func(p store.Pointer) bool { return p.Generation == 2 })
	harness.AwaitHealth(t, s, "snapshot", second.ID)
	if e := second.Spec.Embedding; e.Model != embed.SentenceModel || second.Stats.Embedded == 0 {
		t.Errorf("moved to %+v, %d texts embedded", e, second.Stats.Embedded)
	}
	finds(t, s, "keeping vaccines cold while they travel", "V-001")
	finds(t, s, "社員の残業時間と有給休暇を管理したい", "V-005")

	harness.Eventually(t, "a server without the weights says why it stays", func() error {
		a := harness.Get(t, behind.URL+"/snapshot")
		if snap := a.JSON(t); snap["id"] != first.ID || !strings.Contains(string(a.Body), "is not installed") {
			return fmt.Errorf("%s", a.Body)
		}
		return nil
	})
	finds(t, behind, "冷凍倉庫の温度監視", "V-001")

	if stdout, stderr, code := harness.Run(t, "indexer", asked, "rollback"); code != 0 {
		t.Fatalf("rollback: exit %d, %s%s", code, stdout, stderr)
	}
	harness.AwaitHealth(t, s, "snapshot", first.ID)
	finds(t, s, "冷凍倉庫の温度監視", "V-001")

}
