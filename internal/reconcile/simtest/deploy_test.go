package simtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// deploySpec replaces the indexers by ones with another spec, as a change of the embedding model does; for a while both
// run. What the old ones bought is of no use to the new.
func (s *schedule) deploySpec() {
	w := s.w
	w.tallied("fault: spec changed by a deploy")
	w.nextSpec()
	old := slices.Clone(s.indexers)
	s.addIndexer()
	time.AfterFunc(time.Duration(1+w.rng.IntN(30))*time.Second, func() {
		for _, p := range old {
			p.kill()
		}
		w.interrupted()
	})
}

// nextSpec is what indexers that start from now on build by.
func (w *world) nextSpec() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spec++
	w.embeds = append(w.embeds, &recontest.Embedder{Dims: dims})
	w.cfg.Embedding.Version = fmt.Sprint(w.spec + 1)
}

// newerRelease stands between an indexer and the store: it is of a later release, which writes a member more into every
// document that it writes.
func newerRelease(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, put: func(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
		if shared(p.w.layout, key) {
			data = withMember(data, newMember, 1)
		}
		return o.Put(ctx, key, data, c)
	}}
}

// newMember is what a later release writes.
const newMember = "added_by_a_later_release"

// withMember adds a member to a document, unless it has it.
func withMember(data []byte, name string, value any) []byte {
	var doc map[string]json.RawMessage
	if json.Unmarshal(data, &doc) != nil || doc[name] != nil {
		return data
	}
	v, _ := json.Marshal(value)
	return fmt.Appendf(nil, "%s,%q:%s}", strings.TrimSuffix(strings.TrimSpace(string(data)), "}"), name, v)
}

// laterFormat makes a document one of a format that nobody here understands, as a deploy of a later release does, and
// takes that back after a while, as rolling the deploy back does. Until then nobody writes over it.
func (s *schedule) laterFormat() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.layout
	key := []string{l.Lease(), l.Control(), l.GC(), l.Status(), l.Pointer()}[w.rng.IntN(5)]
	was := w.mem.Data(key)
	var doc map[string]any
	if json.Unmarshal(was, &doc) != nil || doc["format_version"] == nil {
		return
	}
	doc["format_version"] = 99
	later, _ := json.Marshal(doc)
	w.put(key, later)
	w.note("a later release writes %s", key)
	w.tally["fault: document of a later format"]++
	back := func() {
		if string(w.mem.Data(key)) == string(later) {
			w.put(key, was)
			w.note("the later release is taken back from %s", key)
		}
	}
	s.takeBack = append(s.takeBack, back)
	time.AfterFunc(time.Duration(1+w.rng.IntN(40))*time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		back()
	})
}

// put writes past all processes. w.mu is held.
func (w *world) put(key string, data []byte) {
	_, _ = w.mem.Put(context.Background(), key, data, store.PutOptions{})
	w.changed(key)
}

// untouched: whoever rewrites a document leaves alone what is not known to it, and does not touch a later format.
func (s *invariants) untouched(p *proc, key string, old, data []byte) {
	type head struct {
		Format     int             `json:"format_version"`
		Kind       string          `json:"kind"`
		ID         string          `json:"id"`
		Generation int64           `json:"generation"`
		Member     json.RawMessage `json:"added_by_a_later_release"`
	}
	l := s.w.layout
	was, ok := decode[head](old)
	now, _ := decode[head](data)
	if !ok {
		return
	}
	s.w.tally["check releases"]++
	if was.Format == 99 {
		s.w.violate("%s wrote over %s, which is of a later format", p.name, key)
	}
	fence := key == l.Pointer() && was.Kind == store.KindPointer && was.ID == now.ID && was.Generation == now.Generation
	if was.Member != nil && now.Member == nil && (fence || key == l.Control() || key == l.GC()) {
		s.w.violate("%s dropped from %s what a later release had written", p.name, key)
	}
	if fence && !sameBut(old, data, "epoch", "owner", "nonce", newMember) {
		s.w.violate("%s changed more than the fence in the pointer:\n%s\n%s", p.name, old, data)
	}
}

// sameBut compares two objects without some members.
func sameBut(a, b []byte, names ...string) bool {
	var docs [2]map[string]any
	var text [2]string
	for i, data := range [][]byte{a, b} {
		_ = json.Unmarshal(data, &docs[i])
		for _, name := range names {
			delete(docs[i], name)
		}
		out, _ := json.Marshal(docs[i])
		text[i] = string(out)
	}
	return text[0] == text[1]
}

// shared says whether key is a document that several releases rewrite.
func shared(l store.Layout, key string) bool {
	return key == l.Pointer() || key == l.Control() || key == l.GC() || key == l.Status() || key == l.Lease()
}

// held says whether the candidate of this catalogue waits for an operator, and says so. w.mu is held.
func (w *world) held(want string) bool {
	st, _ := decode[store.Status](w.mem.Data(w.layout.Status()))
	m, _ := decode[store.Manifest](w.mem.Data(w.layout.Manifest(st.Held)))
	for _, c := range st.Conditions {
		if c.Type == reconcile.Held && c.Status == reconcile.True && st.LastPass.Result == reconcile.ResultHeld {
			return st.Held != "" && m.Source.SHA256 == want && m.Spec.Embedding.Version == w.cfg.Embedding.Version
		}
	}
	return false
}
