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
// decoded carries its error; a store that does not answer is an error. Those that status.json knows are read though a
// listing lacks them.
func readHeartbeats(ctx context.Context, o store.Objects, l store.Layout, known []store.Replica) ([]replica, error) {
	var found []store.Info
	listed := map[string]bool{}
	err := o.List(ctx, l.Replicas(), func(i store.Info) error {
		if strings.HasSuffix(i.Key, ".json") {
			found = append(found, i)
			listed[i.Key] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list heartbeats: %w", err)
	}
	for _, r := range known {
		if key := l.Replica(r.ID); !listed[key] && store.CheckKey(key) == nil {
			found = append(found, store.Info{Key: key})
		}
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
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas)
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

// absentFiles returns the first file of m that is not stored with its size, "" when all are. One listing tells; what
// it lacks is asked for by name, because a listing may lag behind writes.
func absentFiles(ctx context.Context, o store.Objects, l store.Layout, m store.Manifest) (string, error) {
	files, prefix := map[string]store.Info{}, l.Snapshot(m.ID)
	err := o.List(ctx, prefix, func(i store.Info) error {
		files[strings.TrimPrefix(i.Key, prefix)] = i
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("list snapshot %s: %w", m.ID, err)
	}
	absent, err := absentOf(ctx, o, l, m, files)
	if absent != "" || err != nil {
		return absent, err
	}
	there, err := present(ctx, o, l.Manifest(m.ID), files[store.FileManifest])
	if err != nil || there.Key != "" {
		return "", err
	}
	return store.FileManifest, nil
}

// absentOf is absentFiles for files that were listed, without the manifest itself.
func absentOf(ctx context.Context, o store.Objects, l store.Layout, m store.Manifest, files map[string]store.Info) (string, error) {
	for _, f := range m.Files {
		there, err := present(ctx, o, l.File(m.ID, f.Name), files[f.Name])
		if err != nil {
			return "", err
		}
		if there.Key == "" || there.Size != f.Size {
			return f.Name, nil
		}
	}
	return "", nil
}

// present is listed, or what the store says of a key that was not listed; Key is "" when it is not there.
func present(ctx context.Context, o store.Objects, key string, listed store.Info) (store.Info, error) {
	if listed.Key != "" {
		return listed, nil
	}
	info, err := o.Head(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return store.Info{}, nil
	}
	if err != nil {
		return store.Info{}, fmt.Errorf("look for %s: %w", key, err)
	}
	info.Key = key
	return info, nil
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
