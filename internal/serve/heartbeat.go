package serve

import (
	"context"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// How /health names where the served snapshot came from.
const (
	sourceNone  = "none"
	sourceCache = "local-cache"
)

// source says where the served snapshot came from, decided without clocks: what the first successful poll found is
// "S3/current", any later generation "rebuilt->S3/current", and an older one that stands in for it "S3/previous".
func (f *follower) source() string {
	h, ok := f.holder.look()
	s := f.view()
	kind := "dir"
	if strings.HasPrefix(f.deps.Objects.URL(f.deps.Layout.Root()), "s3://") {
		kind = "S3"
	}
	switch {
	case !ok:
		return sourceNone
	case !s.answered || h.cached:
		return sourceCache
	case h.fallback:
		return kind + "/previous"
	case s.baseline != nil && h.pointer.Lineage == s.baseline.Lineage && h.pointer.Generation <= s.baseline.Generation:
		return kind + "/current"
	}
	return "rebuilt->" + kind + "/current"
}

// minHeartbeat is the least time a heartbeat counts for. What changes is said at once; a replica that changes nothing
// writes 864 times a day, and one that died keeps its snapshot for five minutes.
const minHeartbeat = 5 * time.Minute

// retryHeartbeat is how soon one that failed is written again: several times before the last one stops to count.
const retryHeartbeat = 20 * time.Second

// maxReason of a rejection's message is reported.
const maxReason = 1 << 10

// beat writes the heartbeat when it is due, or now. It is advice to the collector and the fleet view: a failure is
// logged, and only keeps this server from fetching what it could not announce.
func (f *follower) beat(ctx context.Context, now bool) error {
	ttl := max(3*f.cfg.PollInterval, minHeartbeat)
	if !now && time.Now().Before(f.beatAt) || ctx.Err() != nil {
		return ctx.Err()
	}
	if !f.view().answered {
		return nil // nothing to tell, and it would only wait for a timeout
	}
	f.beatAt = time.Now().Add(ttl / 3)
	h := store.Heartbeat{
		FormatVersion: store.FormatVersion,
		ID:            f.id,
		Source:        f.source(),
		TTLSeconds:    ttl.Seconds(),
		Version:       f.cfg.Build.Version,
		Fetching:      f.view().fetching,
	}
	if v, ok := f.holder.look(); ok {
		h.Using, h.Generation, h.Lineage, h.LoadedAt = v.pointer.ID, v.pointer.Generation, v.pointer.Lineage, v.loadedAt.UTC()
	}
	if q := f.refused(); q != nil {
		h.Rejected = &store.Rejection{ID: q.ID, ManifestSHA256: q.manifest, Reason: q.code, Message: strings.ToValidUTF8(q.Reason[:min(len(q.Reason), maxReason)], ""), Since: q.Since}
	}
	data, err := store.Encode(h)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
		defer cancel()
		_, err = f.deps.Objects.Put(ctx, f.deps.Layout.Replica(f.id), data, store.PutOptions{})
	}
	if err != nil {
		f.beatAt = time.Now().Add(retryHeartbeat)
		f.log.Warn("heartbeat not written", "error", err)
	}
	return err
}
