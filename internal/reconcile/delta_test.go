package reconcile_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/delta"
	"github.com/taksuehiro/vectorstore/internal/documents"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// entry is a record of a test's catalogue.
type entry struct{ id, text string }

func (e entry) json() string {
	return fmt.Sprintf(`{"id":%q,"name":"name of %s","description":%q}`, e.id, e.id, e.text)
}

func writeEntries(r *rig, all []entry) {
	var b bytes.Buffer
	b.WriteString("[")
	for i, e := range all {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString(e.json())
	}
	b.WriteString("]")
	r.put(r.layout.Source, b.Bytes())
}

// deltaRig publishes deltas of catalogues of any size.
func deltaRig(t *testing.T) *rig {
	r := newRig(t)
	r.cfg.Delta, r.cfg.DeltaFrom = reconcile.DeltaAuto, 0
	return r
}

// leading returns passes of one process in one term.
func (r *rig) leading() func(edit func()) reconcile.Outcome {
	x := r.indexer()
	return func(edit func()) reconcile.Outcome {
		edit()
		out, _ := x.Once(r.t.Context(), reconcile.OnceOptions{Yes: true})
		return out
	}
}

// served reads what the pointer names from the store, by code of its own: the newest segment that names an id decides.
func (r *rig) served() (all []entry) {
	r.t.Helper()
	p := r.pointer()
	if err := store.VerifySnapshot(r.t.Context(), r.mem, r.layout, p.ID, p.ManifestSHA256, nil); err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	if err := store.Fetch(r.t.Context(), r.mem, r.layout, p.Manifest, dir, store.FetchOptions{}); err != nil {
		r.t.Fatal(err)
	}
	type placed struct {
		entry
		key  uint64
		gone bool
	}
	found := map[[16]byte]placed{}
	base, err := documents.Open(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer base.Close()
	read := func(docs *documents.Reader, key func(row int) uint64) {
		for row := range docs.Len() {
			d, err := docs.Doc(row)
			if err != nil {
				r.t.Fatal(err)
			}
			var text struct{ Description string }
			if err := json.Unmarshal(d.Metadata, &text); err != nil {
				r.t.Fatal(err)
			}
			found[snapshot.IDHash(d.ID)] = placed{entry{d.ID, text.Description}, key(row), false}
		}
	}
	read(base, func(row int) uint64 { return uint64(row+1) << 32 })
	for _, ref := range p.Deltas {
		d, err := delta.Open(filepath.Join(dir, ref.ID+".delta"))
		if err != nil {
			r.t.Fatal(err)
		}
		if d.Len()+len(d.Tombstones()) != ref.Rows {
			r.t.Errorf("delta of %s has %d + %d rows, the manifest says %d", ref.ID, d.Len(), len(d.Tombstones()), ref.Rows)
		}
		read(d.Documents(), d.Key)
		if !slices.IsSorted(keysOf(d)) {
			r.t.Errorf("rows of %s are not in catalogue order", ref.ID)
		}
		for _, id := range d.Tombstones() {
			found[id] = placed{gone: true}
		}
		d.Close()
	}
	var live []placed
	for _, f := range found {
		if !f.gone {
			live = append(live, f)
		}
	}
	slices.SortFunc(live, func(a, b placed) int { return cmp.Compare(a.key, b.key) })
	for _, l := range live {
		all = append(all, l.entry)
	}
	if len(all) != p.Source.Records || len(all) != p.Stats.Vectors {
		r.t.Errorf("%d records, the manifest says %d and %d vectors", len(all), p.Source.Records, p.Stats.Vectors)
	}
	return all
}

func entriesOf(n int) (all []entry) {
	for i := range n {
		all = append(all, entry{fmt.Sprintf("V-%03d", i), fmt.Sprintf("about %d", i)})
	}
	return all
}

func TestASmallChangeIsPublishedAsADelta(t *testing.T) {
	r := deltaRig(t)
	all := entriesOf(100)
	pass := r.leading()
	r.want(pass(func() { writeEntries(r, all) }), reconcile.ResultPromoted, 0)
	full := r.pointer()
	if full.Base != nil || full.ContentDigest == "" || full.FormatVersion != 1 {
		t.Fatalf("the first snapshot is %+v", full.Manifest)
	}
	all[7].text = "another"
	r.want(pass(func() { writeEntries(r, all) }), reconcile.ResultPromoted, 0)
	p := r.pointer()
	if p.Base == nil || p.Base.ID != full.ID || len(p.Deltas) != 1 || p.FormatVersion != store.FormatDelta {
		t.Fatalf("the second snapshot is %+v", p.Manifest)
	}
	if s := p.Stats; s.Changed != 1 || s.Added != 0 || s.Removed != 0 || s.Unchanged != 99 || s.Embedded != 1 {
		t.Errorf("stats %+v", s)
	}
	if got := r.served(); !slices.Equal(got, all) {
		t.Errorf("served %v", got)
	}
	if got := r.embed.Bought(); got != 101 {
		t.Errorf("%d texts bought, want 101", got)
	}
	r.want(pass(func() {}), reconcile.ResultUnchanged, 0)
	if r.once(); r.pointer().ID != p.ID { // a new process reads it again, and has nothing to do
		t.Error("a new term made another snapshot")
	}
}

// TestCompositionsAreTheCatalogue edits at random and compares what is served with the catalogue after every pass, by one
// process and by new ones.
func TestCompositionsAreTheCatalogue(t *testing.T) {
	deltas, merges, fulls := 0, 0, 0
	defer func() {
		t.Logf("%d deltas, %d of them took over others, %d full builds", deltas, merges, fulls)
		if deltas < 100 || merges < 20 || fulls == 0 && deltas > 500 {
			t.Errorf("%d deltas, %d of them took over others, %d full builds: that tests little", deltas, merges, fulls)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		r := deltaRig(t)
		r.cfg.GateMaxRemoved = 1
		dir, err := os.MkdirTemp(shm(), "composition")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r.cfg.Dir = dir
		all, next := entriesOf(100), 100
		var gone []entry
		pass := r.leading()
		pass(func() { writeEntries(r, all) })
		for i := range rapid.IntRange(1, 12).Draw(rt, "edits") {
			at := rapid.IntRange(0, len(all)-1).Draw(rt, "at")
			for range rapid.IntRange(1, 3).Draw(rt, "records") {
				at = (at + 7) % len(all)
				switch rapid.SampledFrom([]string{"edit", "add", "remove", "add again", "move", "same text"}).Draw(rt, "edit") {
				case "edit":
					all[at].text = fmt.Sprintf("edit %d", i)
				case "add":
					all = slices.Insert(all, at, entry{fmt.Sprintf("V-%03d", next), fmt.Sprintf("about %d", next)})
					next++
				case "remove":
					gone = append(gone, all[at])
					all = slices.Delete(all, at, at+1)
				case "add again":
					if len(gone) > 0 {
						all = slices.Insert(all, at, gone[0])
						gone = gone[1:]
					}
				case "move":
					e := all[at]
					all = slices.Delete(all, at, at+1)
					all = slices.Insert(all, (at*5)%len(all), e)
				case "same text":
					all[at].text = all[(at+1)%len(all)].text
				}
			}
			if rapid.Bool().Draw(rt, "new process") {
				pass = r.leading()
			}
			was := r.pointer()
			out := pass(func() { writeEntries(r, all) })
			if out.Err != nil {
				rt.Fatal(out.Err)
			}
			switch now := r.pointer(); {
			case now.Base == nil:
				fulls++
			case len(now.Deltas) <= len(was.Deltas) && was.Base != nil && now.Base.ID == was.Base.ID && now.ID != was.ID:
				merges++
				deltas++
			default:
				deltas++
			}
			got := r.served()
			if len(got) != len(all) {
				rt.Fatalf("%d records served, %d in the catalogue", len(got), len(all))
			}
			if !slices.Equal(got, all) {
				slices.SortFunc(got, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
				want := slices.Clone(all)
				slices.SortFunc(want, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
				if !slices.Equal(got, want) {
					rt.Fatalf("served %v\nwant %v", got, want)
				}
			}
		}
		if r.embed.Again() > 0 {
			rt.Fatalf("%d texts bought twice", r.embed.Again())
		}
	})
}

// Within a term an edit is cheap: what the leader keeps of the served snapshot is gone on with, and the store is not listed.
func TestAnEditWithinATermReadsNothingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		var mu sync.Mutex
		asked, wrote := map[string]int{}, 0
		r.objects = store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
			mu.Lock()
			asked[op+" "+unnamed.ReplaceAllString(key, "*")]++
			mu.Unlock()
			err := call()
			mu.Lock()
			defer mu.Unlock()
			if op == store.OpPut || op == store.OpPutFile {
				wrote += len(r.mem.Data(key))
			}
			return err
		})
		all := entriesOf(400)
		writeEntries(r, all)
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		edit := func(i int) {
			all[i%100].text = fmt.Sprintf("edit %d", i)
			writeEntries(r, all)
			time.Sleep(r.cfg.ResyncInterval * 11 / 10)
		}
		edit(0)
		mu.Lock()
		clear(asked)
		wrote = 0
		mu.Unlock()
		const edits = 9 // within a minute: no garbage is collected, and nobody is looked for
		for i := range edits {
			edit(i + 1)
			if p := r.pointer(); p.Base == nil || p.Stats.Changed != 1 {
				t.Fatalf("edit %d made %+v", i, p.Manifest)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for what, n := range asked {
			// Who follows is looked for twice a minute, whatever is edited.
			if strings.HasPrefix(what, store.OpList) && n > 2 {
				t.Errorf("%d times %s", n, what)
			}
			if strings.HasPrefix(what, store.OpGet) && (strings.Contains(what, "documents") || strings.Contains(what, "delta") || strings.Contains(what, ".faiss")) {
				t.Errorf("%d times %s", n, what)
			}
		}
		if got := r.served(); !slices.Equal(got, all) {
			t.Errorf("served %v", got)
		}
		t.Logf("%d bytes an edit; requests of %d edits: %v", wrote/edits, edits, asked)
	})
}

// Edits without an end leave a bounded number of objects behind: deltas are merged, bases made, segments of the ledger merged,
// and what nobody needs collected.
func TestSteadyEditsLeaveABoundedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		r.cfg.ResyncInterval, r.cfg.RetainGrace = 500*time.Millisecond, time.Minute
		all := entriesOf(400)
		writeEntries(r, all)
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		bases, most, deltas := map[string]bool{}, 0, 0
		for i := range 900 {
			all[(i*37)%400].text = fmt.Sprintf("edit %d", i)
			writeEntries(r, all)
			time.Sleep(time.Second)
			p := r.pointer()
			if p.Base != nil {
				bases[p.Base.ID], deltas = true, max(deltas, len(p.Deltas))
			}
			if i > 300 { // past the grace
				most = max(most, len(r.mem.Keys("p/")))
			}
		}
		if got := r.served(); !slices.Equal(got, all) {
			t.Errorf("served %v", got)
		}
		t.Logf("%d bases, at most %d deltas over one, at most %d objects", len(bases), deltas, most)
		// Within the grace lie a minute's snapshots, of 2 objects each; the rest is bases, and what is kept by time.
		if most > 2*2*70+250 || len(bases) < 5 || deltas > 12 {
			t.Errorf("%d objects, %d bases, %d deltas over one", most, len(bases), deltas)
		}
		if r.embed.Again() > 0 {
			t.Errorf("%d texts were bought twice", r.embed.Again())
		}
	})
}

// unnamed takes what is of one snapshot alone out of a key.
var unnamed = regexp.MustCompile(`2\d{7}T\d{6}Z-[0-9a-f]{8}|[0-9a-f]{16,}`)

// When enough has changed a base is made beside the passes, and what was edited meanwhile stands over it.
func TestABaseIsMadeBesideThePassesAndServedWithADeltaOverIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		all := entriesOf(100)
		writeEntries(r, all)
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		first := r.pointer().ID
		for i := 0; r.pointer().Base == nil || r.pointer().Base.ID == first; i++ {
			if i == 30 {
				t.Fatalf("no base was made in %d edits: %+v", i, r.pointer().Manifest)
			}
			all[i].text = fmt.Sprintf("edit %d", i)
			if i == 3 {
				all = slices.Delete(all, 50, 51)
			}
			writeEntries(r, all)
			time.Sleep(r.cfg.ResyncInterval * 11 / 10)
		}
		p := r.pointer()
		if p.Reason != reconcile.ReasonCompacted && p.Reason != reconcile.ReasonSource || len(p.Deltas) != 1 {
			t.Errorf("the base was adopted as %q with %d deltas", p.Reason, len(p.Deltas))
		}
		m, _, err := store.ReadManifest(t.Context(), r.mem, r.layout, p.Base.ID, p.Base.ManifestSHA256)
		if err != nil || m.Role != store.RoleBase || m.Gate.Result != "passed" {
			t.Errorf("the base is %+v, %v", m, err)
		}
		if got := r.served(); !slices.Equal(got, all) {
			t.Errorf("served %v", got)
		}
		gc, _, err := store.ReadDoc[store.GC](t.Context(), r.mem, r.layout.GC(), store.GetOptions{})
		if err != nil || gc.Building != nil {
			t.Errorf("gc.json names %+v, %v", gc.Building, err)
		}
		time.Sleep(time.Minute)
		r.condition(reconcile.Compacted, reconcile.True, "FewChanges")
		r.condition(reconcile.Ready, reconcile.True, "Serving")
		if r.pointer().ID != p.ID {
			t.Error("it is made again without a reason")
		}
		all[0].text = "after it"
		writeEntries(r, all)
		time.Sleep(r.cfg.ResyncInterval * 11 / 10)
		if got := r.served(); !slices.Equal(got, all) || r.pointer().Base.ID != p.Base.ID {
			t.Errorf("served %v", got)
		}
		if r.embed.Again() > 0 {
			t.Errorf("%d texts were bought twice", r.embed.Again())
		}
	})
}

func keysOf(d *delta.Delta) (keys []uint64) {
	for row := range d.Len() {
		keys = append(keys, d.Key(row))
	}
	return keys
}

// A record whose text was refused stays in the base without a vector, until it is edited or removed; and records that were
// put in another order wholesale stay where they are until the next base, which is said.
func TestRecordsWithoutAVectorAndOrderUnderDeltas(t *testing.T) {
	r := deltaRig(t)
	r.embed.Refuse = func(text string) bool { return strings.Contains(text, "refused") }
	all := entriesOf(100)
	all[5].text, all[6].text = "refused", "refused too"
	pass := r.leading()
	check := func(what string, vectors, moved int) {
		t.Helper()
		r.want(pass(func() { writeEntries(r, all) }), reconcile.ResultPromoted, 0)
		p := r.pointer()
		if p.Stats.Vectors != vectors || p.Source.Records != len(all) || p.Stats.Moved != moved {
			t.Errorf("%s: %d records, %d vectors, %d moved, want %d, %d and %d", what, p.Source.Records, p.Stats.Vectors, p.Stats.Moved, len(all), vectors, moved)
		}
		if delta := p.Base != nil; delta != (what != "full") {
			t.Errorf("%s: delta %v", what, delta)
		}
	}
	check("full", 98, 0)
	all[50].text = "another"
	check("an edit beside them", 98, 0)
	all[5].text = "taken"
	check("a text that is taken now", 99, 0)
	all = slices.Delete(all, 6, 7)
	check("a removal", 99, 0)
	slices.Reverse(all[10:40])
	check("another order", 99, 29)
	if c := r.status().Conditions; !slices.ContainsFunc(c, func(c store.Condition) bool {
		return c.Type == reconcile.Compacted && strings.Contains(c.Message, "29 records moved")
	}) {
		t.Errorf("conditions %+v", c)
	}
}

// The golden queries of a composition over a new base are asked of that base, whose rows are others than the served one's.
func TestGoldenQueriesFollowTheBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := deltaRig(t)
		all := entriesOf(100)
		textOf := func(e entry) string {
			text, err := vendors.TextOf([]byte(e.json()))
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		asked := all[90]
		r.embed.Query = func(string) []float32 { return recontest.Vector(textOf(asked), dims) }
		r.put(r.layout.Golden(), []byte(`[{"query":"what is asked","expect":["V-090"],"k":1}]`))
		writeEntries(r, all)
		_, stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		first := r.pointer().ID
		for i := 0; r.pointer().Base == nil || r.pointer().Base.ID == first; i++ {
			if i == 30 {
				t.Fatal("no base was made")
			}
			all = slices.Delete(all, 3, 4) // every row behind it moves up
			writeEntries(r, all)
			time.Sleep(r.cfg.ResyncInterval * 11 / 10)
		}
		time.Sleep(time.Minute)
		r.condition(reconcile.Held, reconcile.False, "")
		if check, ok := r.pointer().Gate.Check(reconcile.CheckGolden); !ok || check.Value != 1 {
			t.Errorf("golden: %+v", check)
		}
	})
}
