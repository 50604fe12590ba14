package ledger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestPrefixesArePartOfTheSpecAndOfWhatIsHashed(t *testing.T) {
	plain := snapshot.Spec{Embedding: snapshot.Embedding{Provider: "openai", Model: "m", Dims: 3, Version: "1"}, Metric: "inner_product", TextTemplate: "1", IndexKind: "auto"}
	data, err := json.Marshal(plain)
	if err != nil || strings.Contains(string(data), "prefix") {
		t.Errorf("a spec without prefixes, whose digest is in older manifests, is %s", data)
	}
	e5 := plain
	e5.Embedding.DocumentPrefix, e5.Embedding.QueryPrefix = "passage: ", "query: "
	other := e5
	other.Embedding.QueryPrefix = ""
	if plain.Digest() == e5.Digest() || e5.Digest() == other.Digest() {
		t.Error("a prefix does not change the spec's digest")
	}
	key := func(text string, e snapshot.Embedding) Key { return NewKey(text, e, "host") }
	switch {
	case key("冷凍倉庫", plain.Embedding) == key("冷凍倉庫", e5.Embedding):
		t.Error("with and without a prefix it is one vector")
	case key("passage: 冷凍倉庫", plain.Embedding) != key("冷凍倉庫", e5.Embedding):
		t.Error("what is sent is the same, and yet bought twice")
	case key("冷凍倉庫", e5.Embedding) != key("冷凍倉庫", other.Embedding):
		t.Error("the prefix of queries changes the vectors of documents")
	}
}
