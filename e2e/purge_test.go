package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// The person who asks to be forgotten.
const (
	personID   = "P-7731"
	personName = "Augusta Byron"
	eraseKey   = "0123456789abcdef0123456789abcdef"
	people     = 30 // beside them
)

// purging is a store with a person in it, and everything that runs on it.
type purging struct {
	*backend
	t      *testing.T
	env    map[string]string // of the indexer and of whoever purges
	serves [2]map[string]string
	dirs   []string // local directories of all processes, and what an S3 server keeps where that is plain files
	vector []byte   // the person's, as it stands in files
}

// newPurging puts the person everywhere: three snapshots and the copies for old readers, the ledger, golden.json, every
// older version of these, and the caches of two servers.
func newPurging(t *testing.T, b *backend) (p *purging, fleet [2]*harness.Server) {
	srv, env := buying(t, b, embedtest.Options{})
	p = &purging{backend: b, t: t, env: with(env, "ERASE_KEY", eraseKey, "GATE_MAX_REMOVED", "1", "VECTORSTORE_LOCAL_DIR", t.TempDir())}
	p.dirs = append(p.dirs, p.env["VECTORSTORE_LOCAL_DIR"])
	if b.server != nil && b.server.Name == "versitygw" {
		p.dirs = append(p.dirs, b.server.Dir)
	}
	if root := b.env["VECTORSTORE_STORE_DIR"]; root != "" {
		p.dirs = append(p.dirs, root)
	}
	p.put(t, p.layout.Source, p.catalogue(0, true))
	ix := harness.StartIndexer(t, p.env)
	first := p.awaitPointer(t, "the first snapshot", func(store.Pointer) bool { return true })
	p.put(t, p.layout.Golden(), fmt.Appendf(nil, `[{"query":%q,"expect":[%q],"k":50}]`, personName, personID))
	for i := range fleet {
		local := t.TempDir()
		p.dirs = append(p.dirs, local)
		p.serves[i] = with(b.env, "VECTORSTORE_LOCAL_DIR", local, "OPENAI_BASE_URL", srv.URL(), "OPENAI_API_KEY", "sk-test")
		fleet[i] = harness.StartServer(t, p.serves[i])
		fleet[i].Await(t, "server ready", 1)
	}
	for rev := 1; rev < 3; rev++ {
		sum := store.ManifestDigest(p.catalogue(rev, true))
		p.put(t, p.layout.Source, p.catalogue(rev, true))
		next := p.awaitPointer(t, "the next snapshot", func(ptr store.Pointer) bool { return ptr.Source.SHA256 == sum })
		for _, s := range fleet {
			harness.AwaitHealth(t, s, "snapshot", next.ID)
		}
	}
	index := p.get(t, p.layout.File(first.ID, snapshot.FileIndex))
	const row = 4 * 64
	p.vector = index[len(index)-(people+1)*row:][:row] // of a flat index, the first record's
	ix.Signal(15)
	ix.Wait(t)
	return p, fleet
}

// catalogue has the person as its first record when they are with.
func (p *purging) catalogue(rev int, person bool) []byte {
	data := revision(rev, people)
	if !person {
		return data
	}
	return bytes.Replace(data, []byte("["), fmt.Appendf(nil, `[{"vendor_id":%q,"name":%q,"description":"wrote the first program"},`, personID, personName), 1)
}

// found lists where the id, the name or the vector stands: in every version of every object, and in every local file.
func (p *purging) found() (places []string) {
	p.t.Helper()
	look := func(place string, data []byte) {
		for what, text := range map[string][]byte{"id": []byte(personID), "name": []byte(personName), "vector": p.vector} {
			if bytes.Contains(data, text) {
				places = append(places, place+": "+what)
			}
		}
	}
	err := store.ListVersions(p.t.Context(), p.objects, "", func(v store.Version) error {
		if v.Marker {
			return nil
		}
		var b bytes.Buffer
		err := store.CopyVersion(p.t.Context(), p.objects, v, &b)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it went meanwhile
		}
		look(v.Key+" "+v.ID, b.Bytes())
		return err
	})
	for _, dir := range p.dirs {
		err = errors.Join(err, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			look(path, data)
			return err
		}))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(places)
	return places
}

func (p *purging) purge(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return harness.Run(p.t, "indexer", p.env, append([]string{"purge"}, args...)...)
}

func (p *purging) want(code int, says string, args ...string) string {
	p.t.Helper()
	stdout, stderr, got := p.purge(args...)
	if got != code || !strings.Contains(stdout+stderr, says) {
		p.t.Fatalf("purge %q: exit %d, want %d and %q: %s%s", args, got, code, says, stdout, stderr)
	}
	return stdout
}

func (p *purging) erasing() store.Erasing {
	s, _, err := store.ReadDoc[store.Status](context.Background(), p.objects, p.layout.Status(), store.GetOptions{})
	if err != nil || s.Erasing == nil {
		return store.Erasing{}
	}
	return *s.Erasing
}

func (p *purging) await(state string) (e store.Erasing) {
	p.t.Helper()
	harness.Eventually(p.t, state, func() error {
		if e = p.erasing(); e.State != state {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	return e
}

// TestPurgedRecordIsNowhere purges without people's files, then with them, and lifts.
func TestPurgedRecordIsNowhere(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]func(t *testing.T) *backend{
		"versitygw": func(t *testing.T) *backend { return s3Backend(t, s3test.Versitygw) },
		"minio":     func(t *testing.T) *backend { return s3Backend(t, s3test.Minio) },
		"dir":       dirBackend,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, fleet := newPurging(t, b(t))
			everywhere := strings.Join(p.found(), "\n")
			for _, place := range []string{p.layout.Ledger(), p.layout.Current(snapshot.FilePickle), p.layout.Golden(), p.layout.Source, "/server/"} {
				if !strings.Contains(everywhere, place) {
					t.Fatalf("nothing in %s: the test would show nothing; it stands in\n%s", place, everywhere)
				}
			}
			versioned := p.server != nil
			p.want(1, "take it out", personID)
			p.put(t, p.layout.Source, p.catalogue(3, false))
			p.want(1, "is it spelt so", personID+"x")
			report := p.want(0, "waiting for people", personID)
			if !strings.Contains(report, p.layout.Golden()) || versioned && strings.Count(report, p.layout.Source) != 3 {
				t.Errorf("what waits for people:\n%s", report)
			}

			harness.StartIndexer(t, p.env)
			w := p.await(store.ErasureWaiting)
			if len(w.People) == 0 || w.People[0].Key == "" || versioned && w.People[0].Version == "" || len(w.Unproven) > 0 {
				t.Errorf("%+v", w)
			}
			for _, place := range p.found() { // versitygw's own versions do not say of which key they are
				if !strings.Contains(place, "golden.json") && !strings.Contains(place, "vendors.json") && !strings.Contains(place, "/versions/") {
					t.Errorf("left of ours: %s", place)
				}
			}
			for _, id := range w.Removed {
				if _, stderr, code := harness.Run(t, "indexer", p.env, "rollback", id); code != 1 || !strings.Contains(stderr, "purged") {
					t.Errorf("rollback to %s: exit %d: %s", id, code, stderr)
				}
			}
			if table, _, _ := harness.Run(t, "indexer", p.env, "status"); !strings.Contains(table, "purge --people-files") {
				t.Errorf("status does not say how to go on:\n%s", table)
			}

			p.want(0, "deleted", "--people-files")
			e := p.await(store.ErasureErased)
			if places := p.found(); len(places) > 0 {
				t.Errorf("still in %v", places)
			}
			if e.Proof == nil || e.Proof.Replicas != len(fleet) || e.Proof.Versions == 0 || len(e.Unproven) > 0 {
				t.Errorf("proof %+v, unproven %v", e.Proof, e.Unproven)
			}
			p.answersWithout(fleet)

			p.put(t, p.layout.Source, p.catalogue(4, true))
			sum := store.ManifestDigest(p.catalogue(4, true))
			p.awaitPointer(t, "the catalogue without the person", func(ptr store.Pointer) bool {
				return ptr.Source.SHA256 == sum && ptr.Source.Records == people
			})
			p.want(0, "0 records stay purged", "--lift", personID)
			if _, stderr, code := harness.Run(t, "indexer", p.env, "reconcile", "--force"); code != 0 {
				t.Fatalf("reconcile --force: exit %d: %s", code, stderr)
			}
			if ptr := p.pointer(t); ptr.Source.Records != people+1 {
				t.Errorf("after the lift %d records", ptr.Source.Records)
			}
		})
	}
}

func (p *purging) answersWithout(fleet [2]*harness.Server) {
	p.t.Helper()
	for _, s := range fleet {
		harness.AwaitHealth(p.t, s, "snapshot", p.pointer(p.t).ID)
		if a := harness.Get(p.t, s.URL+"/vendors/"+personID); a.Code != 404 {
			p.t.Errorf("/vendors/%s is %d", personID, a.Code)
		}
	}
}

// TestKilledAtEachStepAPurgeStillEnds kills the indexer right after each thing that it says it did, and a server.
func TestKilledAtEachStepAPurgeStillEnds(t *testing.T) {
	t.Parallel()
	p, fleet := newPurging(t, s3Backend(t, s3test.Versitygw))
	p.put(t, p.layout.Source, p.catalogue(3, false))
	p.want(0, "deleted", personID, "--people-files")
	for i, step := range []string{"snapshot uploaded", "promoted to current/", "garbage collected", "ledger erased", "older versions deleted"} {
		ix := harness.StartIndexer(t, p.env)
		ix.KillAt(step)
		harness.Eventually(t, step, func() error {
			if !ix.Exited() {
				return errors.New("not yet")
			}
			return nil
		})
		if state := p.erasing().State; state == store.ErasureErased {
			t.Fatalf("erased before %q", step)
		}
		if i == 2 {
			fleet[1].Kill()
		}
	}
	harness.StartIndexer(t, p.env)
	// The server that was killed is waited for while it counts as alive; started again, it says that it is done.
	fleet[1] = harness.StartServer(t, p.serves[1])
	e := p.await(store.ErasureErased)
	if places := p.found(); len(places) > 0 {
		t.Errorf("still in %v", places)
	}
	if e.Proof == nil || e.Proof.Replicas < 1 {
		t.Errorf("proof %+v", e.Proof)
	}
	p.answersWithout(fleet)
}
