package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// deadReplica is the age at which a heartbeat is removed.
const deadReplica = 24 * time.Hour

// heartbeatsParallel reads at a time: some thousand replicas are read in seconds.
const heartbeatsParallel = 8

// replica is one heartbeat with its age by the store's clock.
type replica struct {
	store.Heartbeat
	key string
	age time.Duration
	err error // it could not be read; the rest of the struct is empty then
}

// live says whether the replica may be using what it names. One that cannot be read may be anything.
func (r replica) live() bool {
	if r.err != nil {
		return true
	}
	return r.age <= time.Duration(r.TTLSeconds*float64(time.Second))
}

// readHeartbeats lists and reads every heartbeat. One that vanished meanwhile is left out; one that cannot be
// decoded carries its error; a store that does not answer is an error.
func readHeartbeats(ctx context.Context, o store.Objects, l store.Layout) ([]replica, error) {
	var found []store.Info
	err := o.List(ctx, l.Replicas(), func(i store.Info) error {
		if strings.HasSuffix(i.Key, ".json") {
			found = append(found, i)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list heartbeats: %w", err)
	}
	out := make([]replica, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(heartbeatsParallel)
	for i, f := range found {
		g.Go(func() error {
			beat, info, err := store.ReadDoc[store.Heartbeat](ctx, o, f.Key, store.GetOptions{})
			switch {
			case errors.Is(err, store.ErrNotFound):
				return nil
			case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrNewer):
				out[i] = replica{key: f.Key, age: f.Age(), err: err}
				return nil
			case err != nil:
				return fmt.Errorf("read heartbeat: %w", err)
			}
			out[i] = replica{Heartbeat: beat, key: f.Key, age: info.Age()}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	present := out[:0]
	for _, r := range out {
		if r.key != "" {
			present = append(present, r)
		}
	}
	return present, nil
}

// highestGeneration that any heartbeat of the lineage, dead or alive, has seen.
func highestGeneration(beats []replica, lineage string) int64 {
	var top int64
	for _, b := range beats {
		if b.Lineage == lineage {
			top = max(top, b.Generation)
		}
	}
	return top
}

// readReplicas reads the fleet.
func (p *pass) readReplicas(ctx context.Context) error {
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout)
	if err != nil {
		return fail(Ready, "ReplicasUnreadable", transient, err)
	}
	p.replicas = beats
	return nil
}

// readServed finds out whether the promoted snapshot can still be trusted: not called corrupt by a verdict,
// all its files there, and any replica's complaint about its bytes looked into.
func (p *pass) readServed(ctx context.Context) error {
	if p.pointer == nil {
		return nil
	}
	ptr := p.pointer
	missing, err := absentFiles(ctx, p.Objects, p.Layout, ptr.Manifest)
	if err != nil {
		return fail(Ready, "SnapshotUnreadable", transient, err)
	}
	if missing != "" {
		p.broken = "missing " + missing
		return nil
	}
	v, _, err := store.ReadDoc[store.Verdict](ctx, p.Objects, p.Layout.Verdict(ptr.ID), store.GetOptions{})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) {
		return fail(Ready, "SnapshotUnreadable", transient, fmt.Errorf("read verdict: %w", err))
	}
	if v.Result == VerdictCorrupt {
		p.broken = "corrupt: " + v.Message
		return nil
	}
	return p.rehash(ctx)
}

// rehash reads the served snapshot again when a live replica rejected its bytes. A complaint is looked into
// once: a replica with a bad disk must not make the leader read the snapshot at every pass.
func (p *pass) rehash(ctx context.Context) error {
	ptr := p.pointer
	open := map[string]bool{}
	for _, r := range p.replicas {
		rej := r.Rejected
		if r.err != nil || !r.live() || rej == nil || rej.ID != ptr.ID || rej.ManifestSHA256 != ptr.ManifestSHA256 {
			continue
		}
		if rej.Reason != RejectedHash && rej.Reason != RejectedMissing {
			continue
		}
		open[r.ID+"|"+rej.ID+"|"+rej.Since.String()] = true
	}
	fresh := false
	for complaint := range open {
		fresh = fresh || !p.rehashed[complaint]
	}
	if !fresh {
		return nil
	}
	p.log.WarnContext(ctx, "replica rejected the served snapshot", "snapshot", ptr.ID, "replicas", len(open))
	err := store.VerifySnapshot(ctx, p.Objects, p.Layout, ptr.ID, ptr.ManifestSHA256, nil)
	switch {
	case err == nil:
		p.Reconciler.rehashed = open // whatever is not open any more is forgotten
		return nil
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrNotFound):
		p.broken = "corrupt: " + err.Error()
		p.log.ErrorContext(ctx, "served snapshot corrupt", "snapshot", ptr.ID, "error", err)
		return p.writeVerdict(ctx, ptr.ID, store.Verdict{Result: VerdictCorrupt, Message: err.Error()})
	}
	return fail(Ready, "SnapshotUnreadable", transient, stopped(ctx, err))
}

// absentFiles returns the first file of m that is not stored with its size, "" when all are, in one listing.
func absentFiles(ctx context.Context, o store.Objects, l store.Layout, m store.Manifest) (string, error) {
	sizes := map[string]int64{}
	prefix := l.Snapshot(m.ID)
	err := o.List(ctx, prefix, func(i store.Info) error {
		sizes[strings.TrimPrefix(i.Key, prefix)] = i.Size
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("list snapshot %s: %w", m.ID, err)
	}
	for _, f := range m.Files {
		if size, ok := sizes[f.Name]; !ok || size != f.Size {
			return f.Name, nil
		}
	}
	if _, ok := sizes[store.FileManifest]; !ok {
		return store.FileManifest, nil
	}
	return "", nil
}

// fleet is the view of the replicas for status.json, sorted by id.
func fleet(beats []replica, ptr *store.Pointer) []store.Replica {
	out := make([]store.Replica, 0, len(beats))
	for _, b := range beats {
		if b.err != nil || !b.live() {
			continue
		}
		state := "behind"
		if ptr != nil && b.Using == ptr.ID && b.Generation == ptr.Generation {
			state = "current"
		}
		out = append(out, store.Replica{Heartbeat: b.Heartbeat, AgeSeconds: b.age.Seconds(), State: state})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}
