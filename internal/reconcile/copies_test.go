package reconcile_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// distances is an index file as old readers want it.
func (r *rig) distances(data []byte) []byte {
	r.t.Helper()
	src, dst := r.t.TempDir()+"/src", r.t.TempDir()+"/dst"
	err := errors.Join(os.WriteFile(src, data, 0o600), langchain.Distances(src, dst))
	out, rerr := os.ReadFile(dst)
	if err := errors.Join(err, rerr); err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) bytes(key string) []byte {
	r.t.Helper()
	path := r.t.TempDir() + "/copy"
	_, _, err := store.FetchSource(r.t.Context(), r.objects, key, path, store.GetOptions{})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	data, rerr := os.ReadFile(path)
	if err := errors.Join(err, rerr); err != nil {
		r.t.Fatal(err)
	}
	return data
}

// copies tells which form current/index.faiss has, "" for none.
func (r *rig) copies() string {
	r.t.Helper()
	p := r.pointer()
	copied, own := r.bytes(r.layout.Current(snapshot.FileIndex)), r.bytes(r.layout.File(p.ID, snapshot.FileIndex))
	pickle := r.bytes(r.layout.Current(snapshot.FilePickle))
	if pickle != nil && !bytes.Equal(pickle, r.bytes(r.layout.File(p.ID, snapshot.FilePickle))) {
		r.t.Error("current/index.pkl is not the snapshot's")
	}
	switch {
	case copied == nil && pickle == nil:
		return ""
	case bytes.Equal(copied, own):
		return "ip"
	case bytes.Equal(copied, r.distances(own)):
		return "l2"
	}
	r.t.Fatalf("current/index.faiss is of neither form: %q", copied)
	return ""
}

func (r *rig) warnings(msg string) int {
	return strings.Count(r.logs.String(), `"level":"WARN","msg":"`+msg)
}

func TestCopiesFollowTheirSettingWithoutANewSnapshot(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	first := r.pointer().ID
	for i, c := range []struct{ setting, want string }{
		{"l2", "l2"}, {"l2", "l2"}, {"ip", "ip"}, {"ip", "ip"}, {"l2", "l2"}, {"off", "l2"}, {"off", "l2"}, {"ip", "ip"},
	} {
		r.cfg.LegacyCopies = c.setting
		r.want(r.once(), reconcile.ResultUnchanged, 0)
		if got := r.copies(); got != c.want {
			t.Errorf("step %d, %s: the copies are %q", i, c.setting, got)
		}
	}
	if got := r.pointer(); got.ID != first || got.Generation != 1 {
		t.Errorf("a setting of the copies made snapshot %s, generation %d", got.ID, got.Generation)
	}
	if n := r.warnings("copies for old readers change"); n != 3 {
		t.Errorf("%d warnings for three changes\n%s", n, r.logs)
	}
}

func TestCopiesOfAnEarlierReleaseAreRewritten(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.cfg.LegacyCopies = "ip"
	r.once()
	p := r.pointer()
	// As earlier releases wrote it: the snapshot's own bytes, and nothing that says of which form they are.
	path := t.TempDir() + "/old"
	if err := os.WriteFile(path, r.bytes(r.layout.Current(snapshot.FileIndex)), 0o600); err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{"snapshot-id": p.ID}
	if _, err := r.objects.PutFile(t.Context(), r.layout.Current(snapshot.FileIndex), path, store.PutOptions{Metadata: meta}); err != nil {
		t.Fatal(err)
	}
	r.cfg.LegacyCopies = "l2"
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if got := r.copies(); got != "l2" || r.warnings("copies for old readers change") != 1 {
		t.Errorf("the copies are %q\n%s", got, r.logs)
	}
}

func TestNoCopiesWhenOff(t *testing.T) {
	r := newRig(t)
	r.cfg.LegacyCopies = "off"
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if got := r.copies(); got != "" || r.warnings("copies") != 0 {
		t.Errorf("the copies are %q\n%s", got, r.logs)
	}
	r.condition(reconcile.Ready, reconcile.True, "Serving")
	r.cfg.LegacyCopies = "l2"
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	if got := r.copies(); got == "" || r.warnings("copies") != 0 {
		t.Errorf("cut-over left the copies %q\n%s", got, r.logs)
	}
	r.cfg.LegacyCopies = "off" // the copies are there now, and grow old
	x := r.indexer()
	for range 3 {
		if _, err := x.Once(t.Context(), reconcile.OnceOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.warnings("copies for old readers are off"); n != 2 {
		t.Errorf("%d warnings for two files that stay\n%s", n, r.logs)
	}
}

func TestCopiesThatCannotBeRewrittenAreSaid(t *testing.T) {
	r := newRig(t)
	r.indexes.Foreign = true
	r.catalogue(0, 5, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	r.condition(reconcile.Ready, reconcile.False, "CopyFailed")
}

func TestCopiesSettingIsChecked(t *testing.T) {
	r := newRig(t)
	r.cfg.LegacyCopies = "L2"
	if err := r.cfg.Validate(); err == nil || !strings.Contains(err.Error(), "LEGACY_COPIES must be l2, ip or off") {
		t.Error(err)
	}
}

// A command's shell need not have the deployment's LEGACY_COPIES: without --yes it keeps the copies as they are, of the
// form that they have, and none where there are none.
func TestACommandKeepsTheCopiesAsTheyAre(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 5, "a")
	r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultPromoted, 0)
	if got := r.copies(); got != "l2" {
		t.Fatalf("the first snapshot's copies are %q", got)
	}
	r.cfg.LegacyCopies = "ip" // the deployment's
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	r.cfg.LegacyCopies = "l2" // a shell's
	r.catalogue(0, 6, "a")
	r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultPromoted, 0)
	if got := r.copies(); got != "ip" {
		t.Errorf("after another snapshot the copies are %q", got)
	}
	r.want(r.onceWith(reconcile.OnceOptions{GC: true}), reconcile.ResultCollected, 0)
	if got := r.copies(); got != "ip" {
		t.Errorf("after a collection the copies are %q", got)
	}
	for _, name := range []string{snapshot.FileIndex, snapshot.FilePickle} { // as DEPLOY tells people who turn them off
		if err := r.mem.Delete(t.Context(), r.layout.Current(name)); err != nil {
			t.Fatal(err)
		}
	}
	r.catalogue(0, 7, "a")
	r.want(r.onceWith(reconcile.OnceOptions{}), reconcile.ResultPromoted, 0)
	if got := r.copies(); got != "" {
		t.Errorf("copies that were deleted are back: %q", got)
	}
	if n := r.warnings("copies for old readers stay as they are"); n != 3 {
		t.Errorf("%d warnings, want one for each command that differed\n%s", n, r.logs)
	}
	r.want(r.once(), reconcile.ResultUnchanged, 0) // --yes
	if got := r.copies(); got != "l2" {
		t.Errorf("with --yes the copies are %q", got)
	}
}

// The served snapshot is damaged where it is stored, and every replica has it: nobody reads it but the leader, who makes a
// copy for old readers. It is built again.
func TestCopyOfADamagedSnapshotLeadsToARebuild(t *testing.T) {
	r := newRig(t)
	r.catalogue(0, 3, "a")
	r.want(r.once(), reconcile.ResultPromoted, 0)
	first := r.pointer()
	r.mem.Corrupt(r.layout.File(first.ID, snapshot.FileIndex), func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	})
	r.remove(r.layout.Current(snapshot.FileIndex))
	r.once()
	r.want(r.once(), reconcile.ResultPromoted, 0)
	if p := r.pointer(); p.ID == first.ID || p.Reason != reconcile.ReasonBroken {
		t.Errorf("%s is served, promoted as %q", p.ID, p.Reason)
	}
	r.want(r.once(), reconcile.ResultUnchanged, 0)
	r.condition(reconcile.Ready, reconcile.True, "")
}
