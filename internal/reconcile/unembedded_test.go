package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// refusing makes the embedder refuse the texts that contain one of the words.
func (r *rig) refusing(words ...string) {
	r.embed.Refuse = func(text string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
}

func (r *rig) unembedded() []string {
	r.t.Helper()
	p := r.pointer()
	if _, ok := p.File(snapshot.FileUnembedded); !ok {
		return nil
	}
	dir := r.t.TempDir()
	if err := store.Fetch(r.t.Context(), r.objects, r.layout, p.Manifest, dir, store.FetchOptions{}); err != nil {
		r.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, snapshot.FileUnembedded))
	if err != nil {
		r.t.Fatal(err)
	}
	var file struct {
		Records []struct{ ID string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		r.t.Fatal(err)
	}
	list := file.Records
	docs, err := documents.Open(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer docs.Close()
	if docs.Len() != p.Source.Records || docs.Len() != p.Stats.Vectors+len(list) {
		r.t.Errorf("%d documents, %d records, %d vectors, %d without", docs.Len(), p.Source.Records, p.Stats.Vectors, len(list))
	}
	var ids []string
	for i, u := range list {
		if got := docs.ID(p.Stats.Vectors + i); got != u.ID {
			r.t.Errorf("record %d behind the vectors is %q, listed is %q", i, got, u.ID)
		}
		ids = append(ids, u.ID)
	}
	return ids
}

func (r *rig) wantUnembedded(want ...string) {
	r.t.Helper()
	if got := r.unembedded(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("without a vector: %v, want %v", got, want)
	}
}

func TestRefusedTextsAreServedWithoutVectors(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 40, "old")
	r.refusing("about 3 ", "about 17 ")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-003", "V-017")
	r.condition(reconcile.Embedded, reconcile.False, "TextsRefused")
	r.condition(reconcile.Ready, reconcile.True, "")
	if !strings.Contains(r.logs.String(), `"msg":"records not embedded"`) || !strings.Contains(r.logs.String(), "V-017") {
		t.Error("the log does not name them")
	}
	asked := r.embed.Refused()

	// Not asked again: unchanged, and with another record changed.
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	r.condition(reconcile.Embedded, reconcile.False, "TextsRefused")
	r.put(r.layout.Source, []byte(strings.Replace(string(catalogue(0, 40, "old")), "about 5 old", "about 5 new", 1)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-003", "V-017")
	if n := r.embed.Refused(); n != asked {
		t.Errorf("refused texts were asked for %d times again", n-asked)
	}

	// Another text is another attempt, and the other one stays.
	r.put(r.layout.Source, []byte(strings.Replace(string(catalogue(0, 40, "old")), "about 17 old", "harmless", 1)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-003")

	// --force asks again.
	r.refusing("nothing of the kind")
	r.want(r.onceWith(reconcile.OnceOptions{Force: true}), reconcile.ResultPromoted, 0)
	r.wantUnembedded()
	r.condition(reconcile.Embedded, reconcile.True, "AllEmbedded")
	if p := r.pointer(); p.Stats.Vectors != 40 {
		t.Errorf("%d vectors", p.Stats.Vectors)
	}
}

func TestRefusedTextsAreTriedAgainDaily(t *testing.T) {
	r := newRig(t)
	var shift time.Duration
	r.mem = storetest.NewMem(func() time.Time { return time.Now().Add(shift) })
	r.objects = r.mem
	r.catalogue(0, 20, "old")
	r.refusing("about 3 ")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	asked := r.embed.Refused()
	shift += 23 * time.Hour
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if n := r.embed.Refused(); n != asked {
		t.Errorf("asked for again after 23 hours")
	}
	shift += 2 * time.Hour
	first := r.pointer().ID
	r.embed.Before = func(context.Context, []string) error { return errors.New("the provider is away") }
	r.want(r.once(), reconcile.ResultUnchanged, 0) // what is served is up to date all the same
	r.embed.Before = nil
	x := r.indexer()
	for range 3 { // in vain: nothing is built, and it is not asked for again and again
		out, _ := x.Once(t.Context(), reconcile.OnceOptions{})
		r.want(out, reconcile.ResultUnchanged, 0)
	}
	if n := r.embed.Refused() - asked; n != 1 || r.pointer().ID != first {
		t.Errorf("asked for %d times again, serving %s", n, r.pointer().ID)
	}
	r.refusing("nothing of the kind")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded()
	if p := r.pointer(); p.Reason != reconcile.ReasonRetried {
		t.Errorf("reason %q", p.Reason)
	}
}

func TestTooManyRefusedTextsFailThePass(t *testing.T) {
	for _, c := range []struct {
		records, refused int
		fails            bool
	}{
		{40, 10, false}, {40, 11, true}, {2000, 20, false}, {2000, 21, true}, {1, 1, true}, {3, 3, true}, {3, 2, false},
	} {
		r := newRig(t)
		r.catalogue(0, c.records, "old")
		var words []string
		for i := range c.refused {
			words = append(words, fmt.Sprintf("about %d ", i))
		}
		r.refusing(words...)
		out := r.once()
		if c.fails != (out.Result == reconcile.ResultFailed) {
			t.Errorf("%d of %d refused: %s, %v", c.refused, c.records, out.Result, out.Err)
		}
		if c.fails && !strings.Contains(fmt.Sprint(out.Err), "this text is refused") {
			t.Errorf("the provider's words are not in %v", out.Err)
		}
	}
}

func TestARecordThatLosesItsTextsVectorAndOneThatGetsIt(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 30, "old")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.refusing("poison")
	r.put(r.layout.Source, []byte(strings.Replace(string(catalogue(0, 30, "old")), "about 0 old", "poison", 1)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-000")
	r.put(r.layout.Source, []byte(strings.Replace(string(catalogue(5, 30, "old")), "about 29 old", "poison", 1)))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-029")
	r.catalogue(0, 30, "old")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded()
}

func TestRowsAreCarriedOverBesideRefusedRecords(t *testing.T) {
	r := newRig(t)
	r.indexes.Kind = "hnsw"
	r.refusing("poison")
	swap := func(n int) []byte { // record n has the text that is refused
		return []byte(strings.Replace(string(catalogue(0, 100, "a")), fmt.Sprintf(`"about %d a"`, n), `"poison"`, 1))
	}
	r.put(r.layout.Source, swap(10))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-010")
	// Another one: all rows behind it move, and each is found where it was. The text of V-010 is new.
	r.put(r.layout.Source, swap(50))
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded("V-050")
	if s := r.pointer().Stats; s.Carried != 98 || s.Vectors != 99 || s.Embedded != 1 {
		t.Errorf("%+v", s)
	}
	// None any more.
	r.catalogue(0, 100, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.wantUnembedded()
	if s := r.pointer().Stats; s.Carried != 99 || s.Vectors != 100 || s.Embedded != 0 {
		t.Errorf("%+v", s)
	}
	if strings.Contains(r.logs.String(), "served index not reused") {
		t.Error("an index could not be reused")
	}
}
