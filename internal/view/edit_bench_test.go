package view_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
	"github.com/taksuehiro/vectorstore/internal/view"
)

// BenchmarkEdit opens a view of 100,000 records beside the one before: what an edit costs a replica, over a tail of 5,000.
func BenchmarkEdit(b *testing.B) {
	const n, tail = 100_000, 5000
	w := followtest.New(b)
	record := func(i, version int) string {
		return fmt.Sprintf(`{"vendor_id":"V-%06d","name":"vendor %d 北斗","description":"冷凍倉庫 %d の温度監視 %d","type":%q,"score":%d,"version":%d}`,
			i, i, i*7919%5003, i%313, []string{"SaaS", "SI", "物流", "翻訳"}[i%4], i%10, version)
	}
	var all []string
	for i := range n {
		all = append(all, record(i, 0))
	}
	dir := b.TempDir()
	m := w.Write(dir, all)
	open := new(followtest.Openers)
	served, err := view.Open(m, dir, open, followtest.Embedder, nil)
	if err != nil {
		b.Fatal(err)
	}
	read, err := vendorstest.Records(strings.NewReader("[" + strings.Join(all, ",") + "]"))
	if err != nil {
		b.Fatal(err)
	}
	var content snapshot.Content
	digests := make([][16]byte, n)
	for i, r := range read {
		digests[i] = [16]byte(r.Digest[:16])
		content.Toggle(snapshot.IDHash(r.ID), digests[i])
	}
	edit := func(from, rows, version, keep int) {
		var c followtest.Change
		for i := from; i < from+rows; i++ {
			c.Records, c.Keys = append(c.Records, record(i%n, version)), append(c.Keys, uint64(i%n+1)<<32)
		}
		next := b.TempDir()
		m = w.WriteDelta(next, m, strings.Repeat("0", 64), keep, c, nil)
		changed, err := vendorstest.Records(strings.NewReader("[" + strings.Join(c.Records, ",") + "]"))
		if err != nil {
			b.Fatal(err)
		}
		for i, r := range changed {
			id := snapshot.IDHash(r.ID)
			content.Toggle(id, digests[(from+i)%n])
			digests[(from+i)%n] = [16]byte(r.Digest[:16])
			content.Toggle(id, digests[(from+i)%n])
		}
		m.ContentDigest, m.Source.Records, m.Stats.Vectors = content.String(), n, n
		for _, f := range m.Files {
			from := filepath.Join(dir, m.LocalName(f))
			if f.From == "" {
				from = filepath.Join(next, f.Name)
			}
			to := filepath.Join(next, m.LocalName(f))
			_ = os.Remove(to) // what the delta was made of
			if err := os.Link(from, to); err != nil {
				b.Fatal(err)
			}
		}
		dir = next
	}
	reopen := func() {
		next, err := view.Open(m, dir, open, followtest.Embedder, served)
		if err != nil {
			b.Fatal(err)
		}
		if err := served.Close(); err != nil {
			b.Fatal(err)
		}
		served = next
	}
	edit(0, tail, 1, 0)
	reopen()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		edit(tail, 1+i, 2+i, 1) // over the large one, and in place of the small one before
		b.StartTimer()
		reopen()
	}
}
