package reconcile_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/reconcile/recontest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// The person who asks to be forgotten, as the catalogue has them.
const (
	personID   = "P-7731"
	personName = "Ada Byron"
)

// erasing is a rig whose store keeps every version, with a person in it.
type erasing struct {
	*rig
	vector []byte // the person's, as it stands in files
}

func newErasing(t *testing.T) *erasing {
	e := &erasing{rig: newRig(t)}
	e.keep()
	return e
}

// keep puts the rig on a store that keeps every version.
func (e *erasing) keep() {
	e.mem = storetest.NewKeepingMem(nil)
	e.objects = e.mem
	var err error
	if e.eraseKey, err = store.NewEraseKey("0123456789abcdef0123456789abcdef"); err != nil {
		e.t.Fatal(err)
	}
	_, err = vendors.Read(strings.NewReader(string(e.with(0))), vendors.DefaultRules(), vendors.DefaultLimits(), nil, func(rec vendors.Record) error {
		if rec.ID == personID {
			for _, x := range recontest.Vector(rec.Text, dims) {
				e.vector = binary.LittleEndian.AppendUint32(e.vector, math.Float32bits(x))
			}
		}
		return nil
	})
	if err != nil || len(e.vector) == 0 {
		e.t.Fatalf("no vector of the person: %v", err)
	}
}

// with is a catalogue of the person and others, rev records of these.
func (e *erasing) with(rev int) []byte {
	return bytes.Replace(catalogue(0, 3+rev, "a"), []byte("["), fmt.Appendf(nil, `[{"id":%q,"name":%q,"description":"wrote the first program"},`, personID, personName), 1)
}

// history makes three snapshots that hold the person, and a golden.json that expects them.
func (e *erasing) history() (ids [3]string) {
	e.t.Helper()
	e.put(e.layout.Golden(), []byte(`[{"query":"`+personName+`","expect":["`+personID+`"]},{"query":"vendor 1","expect":["V-001"],"k":9}]`))
	e.embed.Query = func(text string) []float32 {
		if text == personName {
			return floats(e.vector)
		}
		return recontest.Vector(text, dims)
	}
	for i := range ids {
		e.put(e.layout.Source, e.with(i))
		e.want(e.once(), reconcile.ResultPromoted, 0)
		ids[i] = e.pointer().ID
	}
	return ids
}

func floats(b []byte) (out []float32) {
	for ; len(b) > 0; b = b[4:] {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return out
}

// forget takes the person out of the catalogue.
func (e *erasing) forget() { e.catalogue(0, 6, "a") }

func (e *erasing) purge(o reconcile.PurgeOptions, ids ...string) (reconcile.PurgeReport, error) {
	return e.operator().Purge(e.t.Context(), ids, o)
}

// found lists where the person's id, name or vector stands: every version in the store, every local file.
func (e *erasing) found() (places []string) {
	e.t.Helper()
	look := func(place string, data []byte) {
		for what, b := range map[string][]byte{"id": []byte(personID), "name": []byte(personName), "vector": e.vector} {
			if bytes.Contains(data, b) {
				places = append(places, place+": "+what)
			}
		}
	}
	for key, data := range e.mem.Everything() {
		look(key, data)
	}
	err := filepath.WalkDir(e.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, data)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	slices.Sort(places)
	return places
}

// passes runs passes until the erasure is in a state, as fresh processes.
func (e *erasing) until(state string) store.Erasing {
	e.t.Helper()
	var s store.Status
	for range 8 {
		out := e.once()
		if out.ExitCode != 0 {
			e.t.Fatalf("pass: %s: %v", out.Result, out.Err)
		}
		if s = e.status(); s.Erasing != nil && s.Erasing.State == state {
			return *s.Erasing
		}
	}
	data, _ := json.MarshalIndent(s.Erasing, "", " ")
	e.t.Fatalf("not %q: %s", state, data)
	return store.Erasing{}
}

func TestPurgedPersonIsNowhere(t *testing.T) {
	e := newErasing(t)
	ids := e.history()
	e.forget()
	if len(e.found()) < 20 {
		t.Fatalf("the person stands in %v only", e.found())
	}
	report, err := e.purge(reconcile.PurgeOptions{}, personID)
	if err != nil || report.Purged != 1 || len(report.Waiting) != 4 {
		t.Fatalf("%+v, %v; want golden.json and three versions of the catalogue to wait", report, err)
	}
	plan, err := e.operator().GCPlan(t.Context(), e.cfg.RetainSnapshots, e.cfg.RetainGrace)
	must(t, err)
	for i, id := range ids {
		at := slices.IndexFunc(plan, func(l reconcile.GCLine) bool { return l.Key == e.layout.Manifest(id) })
		if goes := i < 2; plan[at].Delete != goes || strings.Contains(plan[at].Why, "purged") != goes {
			t.Errorf("gc --dry-run: %s", plan[at])
		}
	}
	e.beat(store.Heartbeat{ID: "alive", Using: e.pointer().ID, Generation: 3, Lineage: e.pointer().Lineage})
	e.once()
	s := e.status().Erasing
	if s == nil || s.State != store.ErasureErasing || !strings.Contains(strings.Join(s.Left, "; "), "replica alive") {
		t.Fatalf("with a replica on an old copy: %+v", s)
	}
	e.condition(reconcile.Erased, reconcile.False, reconcile.ReasonErasing)
	p := e.pointer()
	if p.Reason != reconcile.ReasonErased || p.Stats.Carried != 0 || p.Erased == "" {
		t.Errorf("promoted %q, %d rows carried over, marked %q", p.Reason, p.Stats.Carried, p.Erased)
	}
	e.beat(store.Heartbeat{ID: "alive", Using: p.ID, Generation: p.Generation, Lineage: p.Lineage, Erased: p.Erased})
	w := e.until(store.ErasureWaiting)
	e.condition(reconcile.Erased, reconcile.False, reconcile.ReasonWaiting)
	if len(w.People) != 4 || len(w.Left) != 0 || w.Proof != nil || !slices.Equal(w.Removed, ids[:]) {
		t.Errorf("waiting: %+v", w)
	}
	for _, place := range e.found() {
		if !strings.Contains(place, "vendors.json v") && !strings.Contains(place, "golden.json") {
			t.Errorf("left of ours: %s", place)
		}
	}
	for _, id := range ids {
		_, err := e.operator().Rollback(t.Context(), id)
		if !errors.Is(err, reconcile.ErrErased) {
			t.Errorf("rollback to %s: %v", id, err)
		}
	}
	report, err = e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	if err != nil || len(report.Deleted) != 4 || len(report.Waiting) != 0 || report.Purged != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	told := e.hears()
	done := e.until(store.ErasureErased)
	e.condition(reconcile.Erased, reconcile.True, reconcile.ReasonProven)
	if said := told(); len(said) != 1 || !strings.HasPrefix(said[0], `erased p/vendors.json {"records":1,"deleted":`) {
		t.Errorf("told: %q", said)
	}
	if places := e.found(); len(places) > 0 {
		t.Errorf("still in %v", places)
	}
	if pr := done.Proof; pr == nil || pr.At.IsZero() || pr.Snapshot != e.pointer().ID || pr.Snapshots == 0 || pr.Versions == 0 || pr.Replicas != 1 || len(done.Unproven) != 0 {
		t.Errorf("proof %+v, unproven %v", done.Proof, done.Unproven)
	}
	if c := e.control(); c.Erase == nil || len(c.Erase.Records) != 1 || strings.Contains(string(e.mem.Data(e.layout.Control())), personID) {
		t.Errorf("control.json: %s", e.mem.Data(e.layout.Control()))
	}
	e.want(e.once(), reconcile.ResultUnchanged, 0)
}

func TestPurgedRecordComesBackOnlyWhenLifted(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.forget()
	if _, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID); err != nil {
		t.Fatal(err)
	}
	e.until(store.ErasureErased)
	proof := e.pointer().ID
	e.put(e.layout.Source, e.with(1))
	w := e.until(store.ErasureWaiting)
	p := e.pointer()
	if p.ID == proof || p.Source.Records != 4 {
		t.Errorf("served: %s with %d records, want a new one of the 4 others", p.ID, p.Source.Records)
	}
	if len(w.People) != 1 || !w.People[0].Current || w.People[0].Key != e.layout.Source {
		t.Errorf("waits for %+v", w.People)
	}
	if report, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}); err != nil || len(report.Deleted) != 0 || len(report.Waiting) != 1 {
		t.Errorf("the catalogue of today must stay: %+v, %v", report, err)
	}
	if n, err := e.operator().Lift(t.Context(), []string{personID}); n != 0 || err != nil {
		t.Fatalf("lifted: %d left, %v", n, err)
	}
	e.want(e.onceWith(reconcile.OnceOptions{Yes: true, Force: true}), reconcile.ResultPromoted, 0)
	if p := e.pointer(); p.Source.Records != 5 {
		t.Errorf("after the lift %d records are served", p.Source.Records)
	}
	e.condition(reconcile.Erased, reconcile.True, reconcile.ReasonNothingErased)
}

func TestPurgeRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  []string
		make func(e *erasing, ids [3]string)
		opts reconcile.PurgeOptions
		want error
		says string
	}{
		{"while the catalogue holds it", []string{personID}, func(e *erasing, _ [3]string) { e.put(e.layout.Source, e.with(2)) }, reconcile.PurgeOptions{PeopleFiles: true, Unknown: true}, reconcile.ErrStillThere, "take it out"},
		{"what nothing holds", []string{personID, "P-7713"}, nil, reconcile.PurgeOptions{}, reconcile.ErrUnknownRecord, `"P-7713"`},
		{"while it is pinned", []string{personID}, func(e *erasing, ids [3]string) { must(e.t, e.operator().Pin(e.t.Context(), ids[1])) }, reconcile.PurgeOptions{}, reconcile.ErrErased, "unpin"},
		{"without a key", []string{personID}, func(e *erasing, _ [3]string) { e.eraseKey = nil }, reconcile.PurgeOptions{}, reconcile.ErrNoEraseKey, ""},
		{"an empty id", []string{""}, nil, reconcile.PurgeOptions{}, nil, "empty"},
		{"with another key", []string{personID}, func(e *erasing, _ [3]string) {
			_, err := e.purge(reconcile.PurgeOptions{}, personID)
			must(e.t, err)
			e.eraseKey, err = store.NewEraseKey(strings.Repeat("x", 32))
			must(e.t, err)
		}, reconcile.PurgeOptions{}, nil, "give this command that key"},
		{"more than a thousand", strings.Split(strings.Repeat("x,", 1000)+personID, ","), nil, reconcile.PurgeOptions{Unknown: true}, nil, ""},
		{"a catalogue that cannot be read", []string{personID}, func(e *erasing, _ [3]string) { e.put(e.layout.Source, []byte(`[{"id":`)) }, reconcile.PurgeOptions{}, nil, "repair the catalogue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newErasing(t)
			ids := e.history()
			e.forget()
			if c.make != nil {
				c.make(e, ids)
			}
			if len(c.ids) > 100 { // a thousand different ones
				for i := range c.ids[1:] {
					c.ids[i] = fmt.Sprint("x", i)
				}
			}
			before := string(e.mem.Data(e.layout.Control()))
			_, err := e.purge(c.opts, c.ids...)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if after := string(e.mem.Data(e.layout.Control())); after != before {
				t.Errorf("control.json was written: %s", after)
			}
		})
	}
}

func TestPurgeOfAnUnknownRecordIsInsistedOn(t *testing.T) {
	e := newErasing(t)
	e.history()
	if report, err := e.purge(reconcile.PurgeOptions{Unknown: true}, "P-7713"); err != nil || report.Purged != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := e.operator().Lift(t.Context(), []string{personID}); !errors.Is(err, reconcile.ErrNotPurged) {
		t.Errorf("lift of what was not purged: %v", err)
	}
}

// Of a purge and a pin on what it erases only one succeeds, whoever comes first.
func TestPinAndPurgeExcludeEachOther(t *testing.T) {
	moves := map[string]func(o *reconcile.Operator, ctx context.Context, id string) error{
		"pin":     func(o *reconcile.Operator, ctx context.Context, id string) error { return o.Pin(ctx, id) },
		"promote": func(o *reconcile.Operator, ctx context.Context, id string) error { return o.Promote(ctx, id, true) },
		"rollback": func(o *reconcile.Operator, ctx context.Context, id string) error {
			_, err := o.Rollback(ctx, id)
			return err
		},
	}
	for name, move := range moves {
		t.Run(name+" afterwards", func(t *testing.T) {
			e := newErasing(t)
			ids := e.history()
			e.forget()
			_, err := e.purge(reconcile.PurgeOptions{}, personID)
			must(t, err)
			if err := move(e.operator(), t.Context(), ids[0]); !errors.Is(err, reconcile.ErrErased) {
				t.Errorf("%v", err)
			}
			e.eraseKey = nil
			if err := move(e.operator(), t.Context(), ids[0]); !errors.Is(err, reconcile.ErrNoEraseKey) {
				t.Errorf("without a key: %v", err)
			}
			if c := e.control(); c.Pin != nil || e.pointer().ID != ids[2] {
				t.Errorf("pin %v, serving %s", c.Pin, e.pointer().ID)
			}
		})
		for _, at := range []struct {
			op, key string
			n       int
		}{{store.OpGet, e0.Control(), 1}, {store.OpGet, e0.Control(), 2}, {store.OpPut, e0.Control(), 1}, {store.OpGet, e0.Pointer(), 1}, {store.OpPut, e0.GC(), 1}, {store.OpPut, e0.Pointer(), 1}} {
			t.Run(fmt.Sprintf("%s, purged at %s %s %d", name, at.op, at.key, at.n), func(t *testing.T) {
				e := newErasing(t)
				ids := e.history()
				e.forget()
				perr := errors.New("not tried")
				o := e.interrupted(at.op, at.key, at.n, func() { _, perr = e.purge(reconcile.PurgeOptions{}, personID) })
				o.EraseKey = e.eraseKey
				merr := move(o, t.Context(), ids[0])
				purged := e.control().Erase.Mark() != ""
				if purged != (perr == nil) || purged == (merr == nil) || purged && (e.control().Pin != nil || e.pointer().ID == ids[0]) {
					t.Errorf("purge: %v; move: %v; pin %+v, serving %s", perr, merr, e.control().Pin, e.pointer().ID)
				}
			})
		}
	}
}

var e0 = store.NewLayout("p", "")

func TestWithoutTheKeyNothingIsBuiltOrPromoted(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.forget()
	_, err := e.purge(reconcile.PurgeOptions{}, personID)
	must(t, err)
	key, served := e.eraseKey, e.pointer().ID
	for name, other := range map[string]*store.EraseKey{"none": nil, "another": mustKey(t, strings.Repeat("y", 40))} {
		e.eraseKey = other
		e.want(e.once(), reconcile.ResultFailed, 1)
		e.condition(reconcile.Erased, reconcile.False, reconcile.ReasonEraseKeyMissing)
		if e.pointer().ID != served {
			t.Errorf("%s: a snapshot was promoted that may hold a purged record", name)
		}
	}
	e.eraseKey = key
	e.want(e.once(), reconcile.ResultPromoted, 0)
	if e.pointer().ID == served {
		t.Error("with the key again nothing was built")
	}
}

func mustKey(t *testing.T, text string) *store.EraseKey {
	t.Helper()
	k, err := store.NewEraseKey(text)
	must(t, err)
	return k
}

func TestAnEarlierControlDoesNotForgetAnErasure(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.forget()
	earlier := e.mem.Data(e.layout.Control())
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	e.until(store.ErasureErased)
	for name, change := range map[string]func(){
		"restored": func() { e.put(e.layout.Control(), earlier) },
		"deleted":  func() { e.remove(e.layout.Control()) },
	} {
		change()
		e.once()
		if c := e.control(); c.Erase.Mark() == "" {
			t.Errorf("%s: %+v", name, c)
		}
		e.condition(reconcile.Intact, reconcile.False, "")
		e.until(store.ErasureErased)
	}
	// A purge beside a restored document goes on from what is remembered.
	e.put(e.layout.Control(), earlier)
	_, err = e.purge(reconcile.PurgeOptions{Unknown: true}, "P-1")
	must(t, err)
	if c := e.control(); len(c.Erase.Records) != 2 {
		t.Errorf("%+v", c.Erase)
	}
	// What nobody counted up to is not believed, and not remembered.
	e.edit(e.layout.Control(), func(doc map[string]any) {
		doc["erase"].(map[string]any)["revision"] = 1 << 19
		doc["erase"].(map[string]any)["records"] = []any{}
	})
	e.want(e.once(), reconcile.ResultFailed, 1)
	e.put(e.layout.Control(), earlier)
	e.once()
	if c := e.control(); c.Erase.Mark() == "" {
		t.Errorf("%+v", c)
	}
}

func TestErasureWaitsForWhatAReplicaUses(t *testing.T) {
	e := newErasing(t)
	ids := e.history()
	e.forget()
	e.beat(store.Heartbeat{ID: "slow", Using: ids[1], Fetching: ids[2]})
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	for range 3 {
		e.once()
	}
	if e.stored(ids[0]) || !e.stored(ids[1]) || !e.stored(ids[2]) {
		t.Errorf("stored: %v %v %v; want what is in use alone", e.stored(ids[0]), e.stored(ids[1]), e.stored(ids[2]))
	}
	if s := e.status().Erasing; s.State != store.ErasureErasing {
		t.Errorf("%+v", s)
	}
	p := e.pointer()
	e.beat(store.Heartbeat{ID: "slow", Using: p.ID, Generation: p.Generation, Lineage: p.Lineage, Erased: p.Erased})
	e.until(store.ErasureErased)
	if places := e.found(); len(places) > 0 {
		t.Errorf("still in %v", places)
	}
}

func TestReplicasThatWereNotSeenSinceAreUnproven(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.beat(store.Heartbeat{ID: "vanishes", Using: e.pointer().ID})
	e.once() // the leader knows it
	e.remove(e.layout.Replica("vanishes"))
	e.forget()
	e.beat(store.Heartbeat{ID: "silent", Using: e.pointer().ID, TTLSeconds: 0.001})
	e.put(e.layout.Replica("odd"), []byte("{"))
	time.Sleep(2 * time.Millisecond)
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	e.once()
	e.once()
	s := e.status().Erasing
	if want := []string{"odd", "silent", "vanishes"}; !slices.Equal(s.Unproven, want) {
		t.Errorf("unproven %v, want %v", s.Unproven, want)
	}
}

// A leader of the past wakes up and stores what it had bought, and the snapshot it was about to complete. A daemon looks
// for that when it collects garbage.
func TestWhatASupersededLeaderStillWritesIsRemoved(t *testing.T) {
	for name, prefixes := range map[string]func(e *erasing, id string) []string{
		"a snapshot and vectors": func(e *erasing, id string) []string { return []string{e.layout.Snapshot(id), e.layout.Ledger()} },
		"vectors alone":          func(e *erasing, _ string) []string { return []string{e.layout.Ledger()} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &erasing{rig: newRig(t)}
				e.keep()
				ids := e.history()
				kept := map[string][]byte{}
				for _, prefix := range prefixes(e, ids[2]) {
					for _, key := range e.mem.Keys(prefix) {
						data := e.mem.Data(key)
						if _, sum, own := strings.Cut(path.Base(key), "Z-"); own && strings.HasSuffix(key, ".seg") {
							key = path.Join(path.Dir(key), "20300101T000000.000Z-"+sum) // a segment of its own
						}
						kept[key] = data
					}
				}
				e.forget()
				_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
				must(t, err)
				e.until(store.ErasureErased)
				_, stop := e.run()
				time.Sleep(time.Minute)
				for key, data := range kept {
					e.put(key, data)
				}
				time.Sleep(time.Minute)
				e.catalogue(0, 7, "a") // whatever makes a pass collect
				time.Sleep(time.Minute)
				stop()
				for _, place := range e.found() {
					t.Errorf("still in %s", place)
				}
				if s := e.status().Erasing; s.State != store.ErasureErased {
					t.Errorf("%+v", s)
				}
				if _, err := e.operator().Rollback(t.Context(), ids[2]); !errors.Is(err, reconcile.ErrErased) {
					t.Errorf("rollback: %v", err)
				}
			})
		})
	}
}

// A snapshot without the person is built anew all the same when its index grew out of one that held them.
func TestNothingOfAPurgedRecordIsCarriedOver(t *testing.T) {
	e := newErasing(t)
	e.indexes.Kind = "hnsw"
	without := catalogue(0, 100, "a")
	e.put(e.layout.Source, bytes.Replace(without, []byte("["), fmt.Appendf(nil, `[{"id":%q,"name":%q,"description":"wrote the first program"},`, personID, personName), 1))
	e.want(e.once(), reconcile.ResultPromoted, 0)
	e.put(e.layout.Source, without)
	e.want(e.once(), reconcile.ResultPromoted, 0)
	e.wantCarried(100, 1)
	grown := e.pointer().ID
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	e.want(e.once(), reconcile.ResultPromoted, 0)
	e.wantCarried(0, 0)
	if p := e.pointer(); p.Reason != reconcile.ReasonErased {
		t.Errorf("promoted because %q", p.Reason)
	}
	e.until(store.ErasureErased)
	if places := e.found(); e.stored(grown) || len(places) > 0 {
		t.Errorf("%s is stored: %v; still in %v", grown, e.stored(grown), places)
	}
}

func TestHeldCandidateWithAPurgedRecordGoes(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.cfg.GateMaxRemoved = 0
	e.put(e.layout.Source, bytes.Replace(e.with(0), []byte("V-001"), []byte("W-001"), 1))
	e.want(e.once(), reconcile.ResultHeld, 3)
	held := e.status().Held
	e.cfg.GateMaxRemoved = 1
	e.forget()
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	e.until(store.ErasureErased)
	if held == "" || e.stored(held) || len(e.found()) > 0 {
		t.Errorf("held %s is stored: %v; found in %v", held, e.stored(held), e.found())
	}
}

func TestATextThatALivingRecordSharesKeepsItsVector(t *testing.T) {
	e := newErasing(t)
	twin := func(more string) []byte {
		return []byte(`{"vendors":[` + more + `{"id":"T-1","name":"` + personName + `","description":"wrote the first program"},{"id":"T-2","name":"x"}]}`)
	}
	e.put(e.layout.Source, twin(`{"id":"`+personID+`","name":"`+personName+`","description":"wrote the first program"},`))
	e.want(e.once(), reconcile.ResultPromoted, 0)
	e.put(e.layout.Source, twin(""))
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	bought := e.embed.Bought()
	e.until(store.ErasureErased)
	if e.embed.Bought() != bought {
		t.Errorf("%d texts were bought again", e.embed.Bought()-bought)
	}
	for _, place := range e.found() {
		if strings.HasSuffix(place, ": id") {
			t.Errorf("still in %s", place)
		}
	}
}

// Copies for old readers that nobody updates are people's to delete.
func TestStaleCopiesWaitForPeople(t *testing.T) {
	e := newErasing(t)
	e.history()
	e.cfg.LegacyCopies = reconcile.CopiesOff
	e.forget()
	_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
	must(t, err)
	w := e.until(store.ErasureWaiting)
	if len(w.People) != 2 || w.People[0].Key != e.layout.Current(snapshot.FileIndex) {
		t.Errorf("%+v", w.People)
	}
}

// TestKilledAnywhereTheErasureEnds kills the leader at each of its requests to the store, in every pass of an erasure.
func TestKilledAnywhereTheErasureEnds(t *testing.T) {
	stride := 10
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		stride = 1
	}
	for _, after := range []bool{false, true} {
		kills := 0
		for n, went := 1, true; went; n += stride {
			synctest.Test(t, func(t *testing.T) {
				e := newErasing(t)
				e.history()
				e.forget()
				_, err := e.purge(reconcile.PurgeOptions{PeopleFiles: true}, personID)
				must(t, err)
				went = e.killedAt(n, after)
				e.until(store.ErasureErased)
				if places := e.found(); len(places) > 0 {
					t.Errorf("killed at request %d (after: %v): still in %v", n, after, places)
				}
			})
			kills++
		}
		t.Logf("killed at %d requests, %d apart", kills, stride)
	}
}

// killedAt runs passes until the n-th request, at which the process dies; false when there were not so many.
func (e *erasing) killedAt(n int, after bool) bool {
	ctx, cancel := context.WithCancel(e.t.Context())
	defer cancel()
	died := errors.New("died")
	seen := 0
	e.objects = store.Hooked(e.mem, func(_ context.Context, _, _ string, call func() error) error {
		if seen++; seen > n || seen == n && !after {
			cancel()
			return died
		}
		err := call()
		if seen == n {
			cancel()
			return died
		}
		return err
	})
	defer func() { e.objects = e.mem }()
	for range 3 {
		_, _ = e.indexer().Once(ctx, reconcile.OnceOptions{Yes: true})
	}
	// Nobody released the lease.
	e.edit(e.layout.Lease(), func(doc map[string]any) { doc["released"] = true })
	return seen >= n
}
