package follow

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// How /health names where the served snapshot came from.
const (
	SourceNone  = "none"
	sourceCache = "local-cache"
)

// source says where the served snapshot came from, decided without clocks: what the first successful poll found is
// "S3/current", any later generation "rebuilt->S3/current", and an older one that stands in for it "S3/previous".
func (f *Follower) source() string {
	h, ok := f.look()
	s := f.current()
	kind := "dir"
	if strings.HasPrefix(f.deps.Objects.URL(f.deps.Layout.Root()), "s3://") {
		kind = "S3"
	}
	switch {
	case !ok:
		return SourceNone
	case !s.Answered || h.Cached:
		return sourceCache
	case h.Fallback:
		return kind + "/previous"
	case s.Baseline != nil && h.Pointer.Lineage == s.Baseline.Lineage && h.Pointer.Generation <= s.Baseline.Generation:
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
func (f *Follower) beat(ctx context.Context, now bool) error {
	ttl := max(3*f.cfg.PollInterval, minHeartbeat)
	if !now && time.Now().Before(f.beatAt) || ctx.Err() != nil {
		return ctx.Err()
	}
	if !f.current().Answered {
		return nil // nothing to tell, and it would only wait for a timeout
	}
	f.beatAt = time.Now().Add(ttl / 3)
	h := store.Heartbeat{
		FormatVersion: store.FormatVersion,
		ID:            f.id,
		Source:        f.source(),
		TTLSeconds:    ttl.Seconds(),
		Version:       f.version,
		Fetching:      f.current().Fetching,
	}
	if v, ok := f.look(); ok {
		h.Using, h.Generation, h.Lineage, h.LoadedAt = v.Pointer.ID, v.Pointer.Generation, v.Pointer.Lineage, v.LoadedAt.UTC()
		if v.Pointer.Erased != f.dropped && !v.Cached && !v.Fallback && !f.loading.Load() { // not while a download lies there
			f.keep(v.Pointer)
		}
		if v.Pointer.Erased == f.dropped {
			h.Erased = f.dropped
		}
	}
	if q := f.refused(); q != nil {
		h.Rejected = &store.Rejection{ID: q.ID, ManifestSHA256: q.manifest, Reason: q.Code, Message: strings.ToValidUTF8(q.Reason[:min(len(q.Reason), maxReason)], ""), Since: q.Since}
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

// replicaID names this process among the heartbeats: a host name is not enough where two share one.
func replicaID(configured, random string) string {
	if configured != "" {
		return keySafe(configured)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "server"
	}
	return keySafe(host) + "-" + random
}

// keySafe keeps what is plain in an object key, at most 100 bytes.
func keySafe(s string) string {
	b := []byte(s)
	for i, c := range b {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' && i > 0) {
			b[i] = '-'
		}
	}
	return string(b[:min(len(b), 100)])
}
