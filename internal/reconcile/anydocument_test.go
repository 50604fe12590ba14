package reconcile_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// TestNoDocumentStopsAnybodyForGood replaces one document under a running indexer by anything: whatever becomes of it
// meanwhile, when people put the document back and edit the catalogue, the edit is served, whole, and everything is well.
// The first rounds are what an attacker would try; the others change one thing somewhere in a document that is there.
func TestNoDocumentStopsAnybodyForGood(t *testing.T) {
	rounds := 150
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		rounds = 10_000
	}
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 14))
		synctest.Test(t, func(t *testing.T) {
			w := newHostileWorld(t, rng)
			key, what, data := w.pick(int(seed))
			if why := w.play(key, data, seed%2 == 0); why != "" {
				t.Errorf("round %d, %s %s: %s\n%.2000s", seed, key, what, why, data)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// hostileWorld is a deployment with every kind of document in it.
type hostileWorld struct {
	*rig
	rng  *rand.Rand
	keys []string // of every document that somebody may replace
}

func newHostileWorld(t *testing.T, rng *rand.Rand) *hostileWorld {
	r := newRig(t)
	r.cfg.ResyncInterval, r.cfg.ControlPoll, r.cfg.LeaseTTL = time.Minute, 30*time.Second, time.Minute
	r.cfg.RetainSnapshots, r.cfg.RetainGrace = 2, time.Minute
	ids := r.three()
	must(t, r.operator().Pin(t.Context(), ids[1]))
	r.once()
	must(t, r.operator().Unpin(t.Context()))
	r.once()
	r.seen(r.pointer().Generation)
	r.gc()
	l := r.layout
	w := &hostileWorld{rig: r, rng: rng, keys: []string{l.Pointer(), l.Lease(), l.Control(), l.GC(), l.Status(), l.Replica("s1")}}
	for _, s := range [][]string{r.mem.Keys(l.Root() + "2")} {
		for _, key := range s {
			if strings.HasSuffix(key, "/"+snapshot.FileManifest) || strings.HasSuffix(key, "/"+snapshot.FileVerdict) {
				w.keys = append(w.keys, key)
			}
		}
	}
	return w
}

// play puts data in the place of the document under key, later puts back what was there, and says what is wrong then.
func (w *hostileWorld) play(key string, data []byte, restart bool) string {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	run := func() { go func() { done <- w.indexer().Run(ctx) }() }
	run()
	time.Sleep(3 * time.Minute)
	if restart {
		cancel()
		must(w.t, <-done)
		ctx, cancel = context.WithCancel(w.t.Context())
	}
	good, before := w.mem.Data(key), w.pointer()
	if data == nil {
		w.remove(key)
	} else {
		w.put(key, data)
	}
	if restart {
		run()
	}
	w.catalogue(0, 6, "edited meanwhile")
	time.Sleep(12 * time.Minute)

	if len(good) > 0 {
		w.put(key, good)
	} else {
		w.remove(key)
	}
	w.catalogue(0, 7, "edited after the repair")
	time.Sleep(12 * time.Minute)
	cancel()
	if err := <-done; err != nil {
		return err.Error()
	}
	return w.wrong(before)
}

// wrong says what is not as it should be once everything is repaired.
func (w *hostileWorld) wrong(before store.Pointer) string {
	p, _, err := store.ReadPointer(w.t.Context(), w.mem, w.layout, "")
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(w.mem.Data(w.layout.Source))
	conditions := w.status().Conditions
	switch {
	case p.Source.SHA256 != hex.EncodeToString(sum[:]):
		return fmt.Sprintf("the edit is not served: %+v", conditions)
	case p.Lineage != before.Lineage || p.Generation <= before.Generation:
		return fmt.Sprintf("generation %d of %s after %d of %s", p.Generation, p.Lineage, before.Generation, before.Lineage)
	}
	if err := store.VerifySnapshot(w.t.Context(), w.mem, w.layout, p.ID, p.ManifestSHA256, nil); err != nil {
		return err.Error()
	}
	for _, c := range conditions {
		if (c.Type == reconcile.Ready || c.Type == reconcile.Collected) && c.Status != reconcile.True {
			return fmt.Sprintf("%s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

// pick chooses a document and what to replace it by; nil deletes it.
func (w *hostileWorld) pick(round int) (key, what string, data []byte) {
	l := w.layout
	type attack struct {
		key, what string
		data      func(doc map[string]any) any
	}
	set := func(name string, value any) func(map[string]any) any {
		return func(doc map[string]any) any { doc[name] = value; return doc }
	}
	served := l.Manifest(w.pointer().ID)
	named := []attack{
		{l.Replica("s1"), "of the last generation", set("generation", json.Number("9223372036854775807"))},
		{l.Replica("s1"), "as large as it may be", set("x", strings.Repeat("x", store.MaxHeartbeat-600))},
		{l.Replica("s1"), "too large", set("x", strings.Repeat("x", 1<<20))},
		{l.Replica("s1"), "that counts for ever", set("ttl_seconds", json.Number("1e300"))},
		{l.Replica("s1"), "of another lineage", set("lineage", "another")},
		{l.Pointer(), "of the last generation", set("generation", json.Number("9223372036854775807"))},
		{l.Pointer(), "of a generation far away", set("generation", json.Number("4503599627370496"))},
		{l.Pointer(), "of another lineage", set("lineage", "another")},
		{l.Pointer(), "of format 99", set("format_version", 99)},
		{l.Pointer(), "with a manifest's kind", set("kind", "")},
		{l.Lease(), "of many years", func(doc map[string]any) any {
			doc["ttl_seconds"], doc["released"], doc["owner"] = json.Number("1e9"), false, "nobody"
			return doc
		}},
		{l.Lease(), "of the last epoch", set("epoch", json.Number("9223372036854775807"))},
		{l.Control(), "with unknown members", set("novel", []string{"x"})},
		{l.Control(), "that pins nothing", set("pin", map[string]any{"id": "20260101T000000Z-00000000"})},
		{l.Control(), "of format 99", set("format_version", 99)},
		{l.GC(), "that deletes what is served", set("deleting", map[string]any{w.pointer().ID: map[string]any{"at": "2026-01-01T00:00:00Z"}})},
		{l.GC(), "with a hold of the year 9999", set("holds", map[string]any{w.pointer().ID: map[string]any{"at": "9999-12-31T00:00:00Z"}})},
		{l.Status(), "of the last epoch", set("epoch", json.Number("9223372036854775807"))},
		{l.Status(), "that remembers another lineage", set("highest", map[string]any{"lineage": "another", "generation": 77})},
		{served, "of format 99", set("format_version", 99)},
		{served, "with a path", func(doc map[string]any) any {
			doc["files"].([]any)[0].(map[string]any)["name"] = "../../../etc/passwd"
			return doc
		}},
	}
	if round < len(named) {
		a := named[round]
		return a.key, a.what, w.changed(a.key, a.data)
	}
	key = w.keys[w.rng.IntN(len(w.keys))]
	switch w.rng.IntN(12) {
	case 0:
		return key, "deleted", nil
	case 1:
		return key, "empty", []byte{}
	case 2:
		shapes := []string{"{}", "[]", "null", "7", `"x"`, `{"format_version":1}`, `{"format_version":99}`, strings.Repeat(`{"a":`, 9999), "\xff\xfe"}
		return key, "of another shape", []byte(shapes[w.rng.IntN(len(shapes))])
	case 3:
		other := w.keys[w.rng.IntN(len(w.keys))]
		return key, "by " + other, w.mem.Data(other)
	case 4:
		data := w.mem.Data(key)
		return key, "cut off", data[:w.rng.IntN(len(data))]
	}
	return key, "changed somewhere", w.changed(key, func(doc map[string]any) any { return w.spoil(doc, 3) })
}

// changed is the document under key after change.
func (w *hostileWorld) changed(key string, change func(map[string]any) any) []byte {
	dec := json.NewDecoder(bytes.NewReader(w.mem.Data(key)))
	dec.UseNumber()
	var doc map[string]any
	must(w.t, dec.Decode(&doc))
	data, err := json.Marshal(change(doc))
	must(w.t, err)
	return data
}

// spoil changes one thing somewhere in v.
func (w *hostileWorld) spoil(v any, deeper int) any {
	one := func(choices ...any) any { return choices[w.rng.IntN(len(choices))] }
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return one(nil, map[string]any{"x": 1}, []any{})
		}
		name := slices.Sorted(maps.Keys(v))[w.rng.IntN(len(v))]
		switch {
		case deeper == 0 || w.rng.IntN(4) > 0:
			v[name] = w.spoil(v[name], deeper-1)
		case w.rng.IntN(2) == 0:
			delete(v, name)
		default:
			v["unknown"] = one(1, "x", []any{1, map[string]any{}}, nil)
		}
		return v
	case []any:
		if len(v) == 0 || w.rng.IntN(3) == 0 {
			return one(nil, []any{}, slices.Repeat(v, min(500, 1+len(v)*500)), append(v, v...))
		}
		i := w.rng.IntN(len(v))
		v[i] = w.spoil(v[i], deeper-1)
		return v
	case json.Number:
		n := func(s string) json.Number { return json.Number(s) }
		return one(n("0"), n("-1"), n("9223372036854775807"), n("-9223372036854775808"), n("1e300"), n("1e19"), n("0.5"), n("4503599627370496"), n("1000000000"), "7", nil)
	case string:
		return one("", "../../x", strings.Repeat("x", 100), strings.Repeat("y", 100_000), "a\nb\x1b[2J", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
			"20260101T000000Z-00000000", "99991231T235959Z-00000000", strings.Repeat("0", 64), v+"x", 7, nil)
	case bool:
		return !v
	}
	return one("", 1, []any{}, map[string]any{})
}
