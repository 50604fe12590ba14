package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// deadReplica is the age at which a heartbeat is removed.
const deadReplica = 24 * time.Hour

// heartbeatsParallel reads at a time: some thousand replicas are read in seconds.
const heartbeatsParallel = 8

// maxReplicas are read, the newest first. In status.json each takes at most 3 KiB.
const maxReplicas = 1024

// maxComplaint of a rejection's message is shown.
const maxComplaint = 256

// replica is one heartbeat with its age by the store's clock.
type replica struct {
	store.Heartbeat
	key string
	age time.Duration
	err error // it could not be read; the rest of the struct is empty then
}

// live says whether the replica may be using what it names. One that cannot be read may be anything, until it is dead.
func (r replica) live() bool {
	if r.err != nil {
		return r.age < deadReplica
	}
	return r.age <= r.TTL()
}

// older is the replica d later, as far as is known.
func (r replica) older(d time.Duration) replica {
	r.age += d
	return r
}

// readHeartbeats lists every heartbeat and reads those that may count, the newest maxReplicas of them: of the others it
// is only known that they are there. One that vanished meanwhile is left out; one that is no heartbeat carries its
// error; a store that does not answer is an error. Those that status.json knows are read though a listing lacks them.
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
	sort.SliceStable(found, func(i, j int) bool { return found[i].LastModified.After(found[j].LastModified) })
	for _, r := range known {
		if key := l.Replica(r.ID); !listed[key] && store.CheckKey(key) == nil {
			found = append(found, store.Info{Key: key})
		}
	}
	out := make([]replica, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(heartbeatsParallel)
	for i, f := range found {
		switch age := f.Age(); {
		case age >= deadReplica:
			out[i] = replica{key: f.Key, age: age}
		case i >= maxReplicas:
			out[i] = replica{key: f.Key, age: age, err: fmt.Errorf("there are more than %d", maxReplicas)}
		default:
			g.Go(func() (err error) {
				out[i], err = readHeartbeat(ctx, o, f)
				return err
			})
		}
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

// readHeartbeat reads one; an empty replica when it has vanished. Servers write nothing else, and whoever has a server's
// role can write anything here: what is used of it later is bounded here.
func readHeartbeat(ctx context.Context, o store.Objects, f store.Info) (replica, error) {
	r := replica{key: f.Key, age: f.Age()}
	if f.Size > store.MaxHeartbeat {
		r.err = fmt.Errorf("%w: %d bytes, the limit is %d", snapshot.ErrCorrupt, f.Size, store.MaxHeartbeat)
		return r, nil
	}
	beat, info, err := store.ReadDoc[store.Heartbeat](ctx, o, f.Key, store.GetOptions{})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return replica{}, nil
	case errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, snapshot.ErrNewer):
		r.err = err
		return r, nil
	case err != nil:
		return r, fmt.Errorf("read heartbeat: %w", err)
	case beat.ID+".json" != path.Base(f.Key):
		r.err = fmt.Errorf("%w: it says that it is %s", snapshot.ErrCorrupt, beat.ID)
		return r, nil
	}
	beat.Unknown = "" // nobody's to keep, and status.json holds a thousand of them
	if j := beat.Rejected; j != nil {
		j.Message, j.Unknown = printable(j.Message, maxComplaint), ""
	}
	r.Heartbeat, r.age = beat, info.Age()
	return r, nil
}

// printable is the beginning of s, as one line.
func printable(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), most)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// highestGeneration that any heartbeat of the lineage reports, as far as it can be believed.
func highestGeneration(beats []replica, lineage string, most int64) int64 {
	var top int64
	for _, b := range beats {
		if b.Lineage == lineage && b.Generation <= most {
			top = max(top, b.Generation)
		}
	}
	return top
}

// readReplicas reads the fleet.
func (p *pass) readReplicas(ctx context.Context) error {
	beats, err := readHeartbeats(ctx, p.Objects, p.Layout, p.status.Replicas)
	if err != nil {
		return fail(Ready, replicasUnreadable, transient, err)
	}
	p.replicas = beats
	if p.pointer == nil {
		return nil
	}
	p.astray = unfollowed(beats, *p.pointer, p.memory().highest, p.now)
	if p.astray == "" {
		return nil
	}
	// It may follow a pointer that was written since ours was read.
	if info, err := p.Objects.Head(ctx, p.Layout.Pointer()); err == nil && info.ETag != p.pointerETag {
		p.astray, p.overtaken = "", true
	}
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
		return fail(Ready, snapshotUnreadable, transient, err)
	}
	if missing != "" {
		p.broken = fmt.Errorf("missing %s", missing)
		return nil
	}
	switch err := p.trusts(ctx, ptr.ID, ptr.ManifestSHA256); {
	case errors.Is(err, store.ErrUnsigned), errors.Is(err, snapshot.ErrCorrupt):
		p.broken = err // replicas with keys refuse it, so it is built again and signed
		return nil
	case err != nil:
		return fail(Ready, snapshotUnreadable, transient, err)
	}
	v, _, err := store.ReadDoc[store.Verdict](ctx, p.Objects, p.Layout.Verdict(ptr.ID), store.GetOptions{})
	if err != nil && !noVerdict(err) {
		return fail(Ready, snapshotUnreadable, transient, fmt.Errorf("read verdict: %w", err))
	}
	if v.Result == VerdictCorrupt {
		p.broken = fmt.Errorf("corrupt: %s", v.Message)
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
		if r.err != nil || !r.live() || rej == nil || !concerns(*rej, ptr) {
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
	if !fresh || p.Clock.Elapsed() < p.nextRehash {
		return nil
	}
	p.log.WarnContext(ctx, "replica rejected the served snapshot", "snapshot", ptr.ID, "replicas", len(open))
	if err := p.reread(ctx); err != nil || p.broken != nil {
		return err
	}
	p.Reconciler.rehashed = open // whatever is not open any more is forgotten
	return nil
}

// concerns says whether a rejection is about bytes of what ptr names. While deltas follow each other it is of one before
// what is served by now, and nearly all that the replica was to fetch is still part of it.
func concerns(rej store.Rejection, ptr *store.Pointer) bool {
	switch {
	case rej.ID == ptr.ID:
		return rej.ManifestSHA256 == ptr.ManifestSHA256
	case ptr.Base == nil:
		return false
	}
	return rej.ID == ptr.Base.ID ||
		slices.ContainsFunc(ptr.Deltas, func(d store.DeltaRef) bool { return d.ID == rej.ID }) ||
		slices.ContainsFunc(ptr.History, func(h store.Promotion) bool { return h.ID == rej.ID })
}

// reread hashes the served snapshot as it is stored. When its bytes are not its own any more that is said in its verdict,
// and it is built again.
func (p *pass) reread(ctx context.Context) error {
	ptr, began := p.pointer, p.Clock.Elapsed()
	err := store.VerifySnapshot(ctx, p.Objects, p.Layout, ptr.ID, ptr.ManifestSHA256, nil)
	// Whoever may complain could keep the leader reading: that takes a fifth of its time at most.
	now := p.Clock.Elapsed()
	p.Reconciler.nextRehash = now + 4*(now-began)
	switch {
	case err == nil:
		return nil
	case unreadable(err):
		p.broken = fmt.Errorf("corrupt: %w", err)
		p.log.ErrorContext(ctx, "served snapshot corrupt", "snapshot", ptr.ID, "error", err)
		return p.writeVerdict(ctx, ptr.ID, &store.Verdict{Result: VerdictCorrupt, Message: err.Error()})
	}
	return fail(Ready, snapshotUnreadable, transient, err)
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
	there, err := present(ctx, o, l.Manifest(m.ID), files[snapshot.FileManifest])
	if err != nil || there.Key != "" {
		return "", err
	}
	return snapshot.FileManifest, nil
}

// absentOf is absentFiles for files that were listed, without the manifest itself.
func absentOf(ctx context.Context, o store.Objects, l store.Layout, m store.Manifest, files map[string]store.Info) (string, error) {
	for _, f := range m.Files {
		listed := files[f.Name]
		if f.From != "" { // of the base or another delta, which lie elsewhere
			listed = store.Info{}
		}
		there, err := present(ctx, o, l.FileKey(m, f), listed)
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
		switch {
		case ptr == nil:
		case b.Using == ptr.ID && b.Generation == ptr.Generation:
			state = "current"
		case b.Lineage == ptr.Lineage && b.Generation > ptr.Generation:
			state = "ahead"
		}
		out = append(out, store.Replica{Heartbeat: b.Heartbeat, AgeSeconds: b.age.Seconds(), State: state})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// states counts the replicas by state, where there is something to follow.
func states(beats []replica, ptr *store.Pointer) map[string]int {
	count := make(map[string]int)
	if ptr != nil {
		for _, r := range fleet(beats, ptr) {
			count[r.State]++
		}
	}
	return count
}
