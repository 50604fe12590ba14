package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// mutation breaks one rule of the protocol, between a process and the store: what the process does right does not
// arrive, or what it needs to know does not come back.
type mutation func(p *proc, o store.Objects) store.Objects

// mutant is a rule, how to break it, and how it is found out.
type mutant struct {
	name   string
	breaks mutation
	// find plays whatever may show it and returns the first broken invariant.
	find func(t *testing.T, m mutation) []string
}

var mutants = []mutant{
	{"the pointer's If-Match is left out", dropIfMatch, byTakeover},
	{"no fence write at takeover", skipFence, byTakeover},
	{"the pointer's epoch is not looked at", blindToEpoch, byFrozenClock},
	{"the manifest is not written last", manifestFirst, bySweep},
	{"control is read before the pointer", controlFirst, bySuspension},
	{"no reservations", skipReservations, byHeldUp},
	{"heartbeats are not looked at", deafToHeartbeats, byStuckReplica},
	{"the ledger is not flushed", skipFlush, bySweep},
}

// TestMutations: each rule is needed. Breaking it breaks an invariant, and the simulation notices.
func TestMutations(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			fails := m.find(t, m.breaks)
			if len(fails) == 0 {
				t.Error("nobody noticed")
				return
			}
			t.Logf("noticed: %s", fails[0])
			seen.catch(m.name, plain(fails[0]))
		})
	}
}

// plain leaves random ids out of a message, so that the table changes only when something else does.
func plain(msg string) string {
	return regexp.MustCompile(`\d{8}T\d{6}Z-[0-9a-f]{8}`).ReplaceAllString(msg, "…")
}

// bySweep crashes at each call until an invariant breaks.
func bySweep(t *testing.T, m mutation) []string {
	for _, sc := range scenarios {
		calls, r := crashRun(t, sc, -1, false, false, m)
		for k := 0; len(r.fails) == 0 && k < calls; k++ {
			_, r = crashRun(t, sc, k, k%2 == 0, false, m)
		}
		if len(r.fails) > 0 {
			return r.fails
		}
	}
	return nil
}

// dropIfMatch sends the pointer unconditionally.
func dropIfMatch(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, put: func(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
		if key == p.w.layout.Pointer() {
			c = store.PutOptions{}
		}
		return o.Put(ctx, key, data, c)
	}}
}

// skipFence pretends that a write of the pointer that changes neither id nor generation was done.
func skipFence(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, put: func(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
		if p.indexer && key == p.w.layout.Pointer() && c.IfMatch != "" {
			next, _ := decode[store.Pointer](data)
			if now, _ := decode[store.Pointer](p.w.mem.Data(key)); now.ID == next.ID && now.Kind == next.Kind {
				return p.w.mem.Head(ctx, key)
			}
		}
		return o.Put(ctx, key, data, c)
	}}
}

// blindToEpoch shows an indexer no pointer, status or gc.json of an epoch above its own.
func blindToEpoch(p *proc, o store.Objects) store.Objects {
	l := p.w.layout
	return alter{Objects: o, get: func(ctx context.Context, key string, g store.GetOptions) (io.ReadCloser, store.Info, error) {
		body, info, err := o.Get(ctx, key, g)
		if err != nil || !p.indexer || (key != l.Pointer() && key != l.Status() && key != l.GC()) {
			return body, info, err
		}
		return rewrite(body, info, func(doc map[string]any) {
			p.w.mu.Lock()
			own := p.epoch
			p.w.mu.Unlock()
			if e, ok := doc["epoch"].(float64); ok && own > 0 && int64(e) > own {
				doc["epoch"] = own
			}
		})
	}}
}

// manifestFirst holds the data files of a snapshot back until its manifest is stored.
func manifestFirst(p *proc, o store.Objects) store.Objects {
	var mu sync.Mutex
	held := map[string][]func() error{}
	return alter{Objects: o,
		putFile: func(ctx context.Context, key, file string, c store.PutOptions) (store.Info, error) {
			id, name := path.Split(key)
			if name == snapshot.FilePickle || !strings.Contains(id, "Z-") {
				return o.PutFile(ctx, key, file, c)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return store.Info{}, err
			}
			mu.Lock()
			defer mu.Unlock()
			held[id] = append(held[id], func() error {
				_, err := o.Put(ctx, key, data, c)
				return err
			})
			return store.Info{Key: key, ETag: "later", Size: int64(len(data)), Date: time.Now()}, nil
		},
		put: func(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
			info, err := o.Put(ctx, key, data, c)
			id, name := path.Split(key)
			if err != nil || name != snapshot.FileManifest {
				return info, err
			}
			mu.Lock()
			late := held[id]
			delete(held, id)
			mu.Unlock()
			for _, put := range late {
				if err := p.hook(ctx, store.OpPut, key+" late file", put); err != nil {
					return info, err
				}
			}
			return info, err
		},
	}
}

// controlFirst answers reads of control.json with what it was before the pointer was read.
func controlFirst(p *proc, o store.Objects) store.Objects {
	if !p.indexer {
		return o
	}
	type answer struct {
		data []byte
		info store.Info
		err  error
	}
	var mu sync.Mutex
	var early *answer
	l := p.w.layout
	return alter{Objects: o, get: func(ctx context.Context, key string, g store.GetOptions) (io.ReadCloser, store.Info, error) {
		switch {
		case key == l.Pointer():
			body, info, err := o.Get(ctx, l.Control(), store.GetOptions{})
			a := &answer{info: info, err: err}
			if err == nil {
				a.data, _ = io.ReadAll(body)
			}
			mu.Lock()
			early = a
			mu.Unlock()
			_ = nap(ctx, 2*time.Second) // the time between two requests is not always short
		case key == l.Control() && g.IfNoneMatch == "":
			mu.Lock()
			a := early
			mu.Unlock()
			if a != nil && (a.err == nil || errors.Is(a.err, store.ErrNotFound)) {
				return io.NopCloser(bytes.NewReader(a.data)), a.info, a.err
			}
		}
		return o.Get(ctx, key, g)
	}}
}

// skipReservations pretends that a hold in gc.json was written. The document itself is there from the first one on: a collection
// that finds none moves the pointer's ETag before it announces anything.
func skipReservations(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, put: func(ctx context.Context, key string, data []byte, c store.PutOptions) (store.Info, error) {
		if key != p.w.layout.GC() {
			return o.Put(ctx, key, data, c)
		}
		next, _ := decode[store.GC](data)
		now, there := decode[store.GC](p.w.mem.Data(key))
		switch {
		case !there:
			next.Reserved = nil
			data, _ = json.Marshal(next)
		case maps.Equal(next.Deleting, now.Deleting):
			return store.Info{Key: key, ETag: "pretended", Date: time.Now()}, nil
		}
		return o.Put(ctx, key, data, c)
	}}
}

// deafToHeartbeats shows an indexer no replicas.
func deafToHeartbeats(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, list: func(ctx context.Context, prefix string, each func(store.Info) error) error {
		if p.indexer && prefix == p.w.layout.Replicas() {
			return nil
		}
		return o.List(ctx, prefix, each)
	}}
}

// skipFlush pretends that ledger segments were stored.
func skipFlush(p *proc, o store.Objects) store.Objects {
	return alter{Objects: o, putFile: func(ctx context.Context, key, file string, c store.PutOptions) (store.Info, error) {
		if strings.HasPrefix(key, p.w.layout.Ledger()) {
			return store.Info{Key: key, ETag: "pretended", Date: time.Now()}, nil
		}
		return o.PutFile(ctx, key, file, c)
	}}
}

// rewrite changes a JSON body on its way.
func rewrite(body io.ReadCloser, info store.Info, change func(map[string]any)) (io.ReadCloser, store.Info, error) {
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, info, err
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, info, fmt.Errorf("rewrite: %w", err)
	}
	change(doc)
	if data, err = json.Marshal(doc); err != nil {
		return nil, info, err
	}
	info.Size = int64(len(data))
	return io.NopCloser(bytes.NewReader(data)), info, nil
}

// alter replaces some calls of a store.
type alter struct {
	store.Objects
	get     func(context.Context, string, store.GetOptions) (io.ReadCloser, store.Info, error)
	put     func(context.Context, string, []byte, store.PutOptions) (store.Info, error)
	putFile func(context.Context, string, string, store.PutOptions) (store.Info, error)
	list    func(context.Context, string, func(store.Info) error) error
}

func (a alter) Get(ctx context.Context, key string, o store.GetOptions) (io.ReadCloser, store.Info, error) {
	if a.get != nil {
		return a.get(ctx, key, o)
	}
	return a.Objects.Get(ctx, key, o)
}

func (a alter) Put(ctx context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	if a.put != nil {
		return a.put(ctx, key, data, o)
	}
	return a.Objects.Put(ctx, key, data, o)
}

func (a alter) PutFile(ctx context.Context, key, file string, o store.PutOptions) (store.Info, error) {
	if a.putFile != nil {
		return a.putFile(ctx, key, file, o)
	}
	return a.Objects.PutFile(ctx, key, file, o)
}

func (a alter) List(ctx context.Context, prefix string, each func(store.Info) error) error {
	if a.list != nil {
		return a.list(ctx, prefix, each)
	}
	return a.Objects.List(ctx, prefix, each)
}
