package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

func TestLedgerKeepsVectorsAcrossProcessesAndMachines(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	flush(t, g, 0, 1, 2)
	flush(t, g, 2, 3) // 2 is there already
	holds(t, g, 6, 0, 1, 2, 3)
	if g.Len() != 4 || len(r.segments()) != 2 {
		t.Errorf("%d vectors in %d segments, want 4 in 2", g.Len(), len(r.segments()))
	}
	g.Close()
	holds(t, r.open(), 6, 0, 1, 2, 3)   // with the local copy
	holds(t, r.reopen(), 6, 0, 1, 2, 3) // without
}

func TestLedgerKeyDependsOnEverythingThatDecidesAVector(t *testing.T) {
	base := ledger.NewKey("a", embedding, "h")
	seen := map[ledger.Key]string{base: "base"}
	vary := func(name, text, host string, change func(*snapshot.Embedding)) {
		e := embedding
		change(&e)
		k := ledger.NewKey(text, e, host)
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
	vary("text", "b", "h", func(*snapshot.Embedding) {})
	vary("host", "a", "i", func(*snapshot.Embedding) {})
	vary("provider", "a", "h", func(e *snapshot.Embedding) { e.Provider = "bedrock" })
	vary("model", "a", "h", func(e *snapshot.Embedding) { e.Model = "n" })
	vary("dims", "a", "h", func(e *snapshot.Embedding) { e.Dims = 9 })
	vary("version", "a", "h", func(e *snapshot.Embedding) { e.Version = "v2" })
	if ledger.NewKey("a", embedding, "h") != base {
		t.Error("the key of the same text differs")
	}
}

func TestLedgerRefusesWrongShapesAndNumbers(t *testing.T) {
	g := newLedgerRig(t).open()
	nan := vectorOf(0)
	nan[3] = float32(math.NaN())
	for name, c := range map[string]struct {
		rows []float32
		dims int
	}{
		"too few numbers": {vectorOf(0)[:7], 8},
		"other dims":      {make([]float32, 9), 9},
		"NaN":             {nan, 8},
	} {
		if err := g.Flush(t.Context(), []ledger.Key{ledgerKey(0)}, c.rows, c.dims); err == nil {
			t.Errorf("%s: flushed", name)
		}
	}
	if _, err := g.Get(ledgerKey(0), make([]float32, 7)); err == nil {
		t.Error("Get into a slice of other dims succeeded")
	}
}

func TestLedgerDamageCostsOneSegmentOnly(t *testing.T) {
	changes := map[string]func([]byte) []byte{
		"flipped bit":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut off":      func(b []byte) []byte { return b[:len(b)/2] },
		"empty":        func([]byte) []byte { return nil },
		"other bytes":  func(b []byte) []byte { return []byte(strings.Repeat("x", len(b))) },
		"huge counts":  func(b []byte) []byte { copy(b[12:24], strings.Repeat("\xff", 12)); return b },
		"other's file": nil,
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			r := newLedgerRig(t)
			g := r.open()
			segs := []string{r.flushed(g, 0, 1), r.flushed(g, 2, 3), r.flushed(g, 4, 5)}
			if change == nil {
				other := r.mem.Data(segs[0])
				change = func([]byte) []byte { return other }
			}
			r.mem.Corrupt(segs[1], change)
			g = r.reopen()
			if d := g.Damaged(); len(d) != 1 || !strings.Contains(d[0], filepath.Base(segs[1])) {
				t.Errorf("damaged: %q, want %s", d, segs[1])
			}
			holds(t, g, 6, 0, 1, 4, 5)
			flush(t, g, 2, 3) // bought again
			compact(t, g, time.Hour, upTo(6)...)
			holds(t, g, 6, upTo(6)...)
			if d := r.reopen().Damaged(); len(d) != 0 {
				t.Errorf("still damaged after compaction: %q", d)
			}
			if !slices.Contains(r.segments(), segs[1]) {
				t.Error("the damaged segment went before its grace was over")
			}
			r.now = r.now.Add(2 * time.Hour)
			g = r.reopen()
			compact(t, g, time.Hour, upTo(6)...)
			if slices.Contains(r.segments(), segs[1]) {
				t.Error("the damaged segment is still there")
			}
			holds(t, r.reopen(), 6, upTo(6)...)
		})
	}
}

func TestLedgerDamageOfTheLocalCopyCostsNothing(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	flush(t, g, upTo(10)...)
	g.Close()
	files, err := filepath.Glob(filepath.Join(r.dir, "*", "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-40] ^= 1
	if err := os.WriteFile(files[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	g = r.open()
	holds(t, g, 10, upTo(10)...)
	if d := g.Damaged(); len(d) != 0 {
		t.Errorf("damaged: %q", d)
	}
}

func TestLedgerLeavesSegmentsOfANewerFormatAlone(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	flush(t, g, 0)
	seg := r.segments()[0]
	r.mem.Corrupt(seg, func(b []byte) []byte { b[8] = 2; return b })
	g = r.reopen()
	flush(t, g, 1)
	if d := g.Damaged(); len(d) != 0 {
		t.Errorf("damaged: %q", d)
	}
	r.now = r.now.Add(100 * 24 * time.Hour)
	compact(t, g, 0, 1)
	if !slices.Contains(r.segments(), seg) {
		t.Error("it was removed")
	}
}

func TestLedgerMergesSmallSegmentsAndRemovesThemAGraceLater(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	for i := range 9 {
		flush(t, g, i)
	}
	old := r.segments()
	report := compact(t, g, time.Hour, upTo(9)...)
	if report.Merged != 9 || report.Written != 1 || report.Deleted != 0 {
		t.Errorf("report %+v, want 9 merged into 1", report)
	}
	holds(t, g, 9, upTo(9)...)
	if got := r.segments(); len(got) != 10 {
		t.Errorf("%d segments right after the merge, want 10", len(got))
	}
	// A leader that starts inside the grace does not read the replaced ones.
	holds(t, r.reopen(), 9, upTo(9)...)
	r.now = r.now.Add(59 * time.Minute)
	if report = compact(t, r.open(), time.Hour, upTo(9)...); report.Deleted != 0 {
		t.Errorf("report %+v inside the grace", report)
	}
	r.now = r.now.Add(time.Minute)
	report = compact(t, r.open(), time.Hour, upTo(9)...)
	if report.Deleted != 9 || report.Merged != 0 {
		t.Errorf("report %+v, want 9 deleted and nothing merged", report)
	}
	if got := r.segments(); len(got) != 1 || slices.Contains(old, got[0]) {
		t.Errorf("left %v", got)
	}
	holds(t, r.reopen(), 9, upTo(9)...)
}

func TestLedgerCompactionIsStableWhenNothingChanges(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	for i := range 6 {
		flush(t, g, i)
	}
	compact(t, g, 0, upTo(6)...)
	compact(t, g, 0, upTo(6)...)
	before := r.segments()
	for range 3 {
		if report := compact(t, r.open(), 0, upTo(6)...); report != (ledger.CompactReport{}) {
			t.Errorf("it did %+v", report)
		}
	}
	if after := r.segments(); !slices.Equal(before, after) {
		t.Errorf("segments %v, before %v", after, before)
	}
}

// A merge made within the grace of another does not lose sight of what that one replaced.
func TestLedgerRemovesWhatWasReplacedThoughItMergesOften(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	n := 0
	for range 30 {
		for range 5 {
			flush(t, g, n)
			n++
		}
		r.now = r.now.Add(time.Minute)
		compact(t, g, 10*time.Minute, upTo(n)...)
	}
	holds(t, g, n, upTo(n)...)
	// Of ten minutes 50 that were replaced, and 10 that replaced them, which are merged a grace later.
	if got := len(r.segments()); got > 2*60 {
		t.Errorf("%d segments of %d vectors", got, n)
	}
	r.now = r.now.Add(time.Hour)
	for range 4 {
		compact(t, g, 10*time.Minute, upTo(n)...)
		r.now = r.now.Add(time.Hour)
	}
	if got := len(r.segments()); got > 4 {
		t.Errorf("%d segments at rest", got)
	}
	holds(t, r.reopen(), n, upTo(n)...)
}

// Who does not know what is in use merges all the same, and neither dates an entry nor takes a date back.
func TestLedgerMergesWithoutKnowingWhatIsInUse(t *testing.T) {
	r := newLedgerRig(t)
	day := 24 * time.Hour
	g := r.open()
	flush(t, g, upTo(10)...)
	compact(t, g, 0, 0, 1, 2, 3, 4) // 5..9 are not needed from now on
	r.now = r.now.Add(20 * day)
	for i := 10; i < 19; i++ {
		flush(t, g, i)
	}
	report, err := g.Compact(t.Context(), nil, ledger.CompactOptions{})
	if err != nil || report.Merged < 9 || report.Expired != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	holds(t, g, 19, upTo(19)...)
	r.now = r.now.Add(11 * day)
	if report, err := g.Compact(t.Context(), nil, ledger.CompactOptions{}); err != nil || report.Expired != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if report := compact(t, g, 0, append([]int{0, 1, 2, 3, 4}, upTo(19)[10:]...)...); report.Expired != 5 {
		t.Errorf("%+v, want 5 expired after 31 days", report)
	}
}

func TestLedgerDropsWhatNothingNeededFor30Days(t *testing.T) {
	r := newLedgerRig(t)
	day := 24 * time.Hour
	g := r.open()
	flush(t, g, upTo(10)...)
	r.now = r.now.Add(60 * day) // how old an entry is does not matter
	compact(t, g, 0, upTo(10)...)
	compact(t, g, 0, 0, 1, 2, 3, 4) // 5..9 are not needed from now on
	r.now = r.now.Add(20 * day)
	g = r.reopen()
	compact(t, g, 0, 0, 1, 2, 3, 4, 9) // 9 is needed once more
	r.now = r.now.Add(15 * day)
	g = r.reopen()
	if report := compact(t, g, 0, 0, 1, 2, 3, 4); report.Expired != 4 {
		t.Errorf("report %+v, want 4 expired", report)
	}
	holds(t, g, 10, 0, 1, 2, 3, 4, 9)
	holds(t, r.reopen(), 10, 0, 1, 2, 3, 4, 9)
	r.now = r.now.Add(31 * day)
	g = r.reopen()
	compact(t, g, 0, 0, 1, 2, 3, 4)
	holds(t, r.reopen(), 10, 0, 1, 2, 3, 4)
}

func TestLedgerOfAnotherModelIsDroppedAfter30DaysOutOfUse(t *testing.T) {
	r := newLedgerRig(t)
	day := 24 * time.Hour
	flush(t, r.open(), 0, 1)
	old := r.segments()
	r.now = r.now.Add(60 * day)
	other := embedding
	other.Model = "next"
	compactOther := func() {
		g := r.openSpace(other)
		if _, err := g.Compact(t.Context(), func(ledger.Key) bool { return true }, ledger.CompactOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	compactOther() // out of use from here
	r.now = r.now.Add(20 * day)
	holds(t, r.reopen(), 2, 0, 1) // in use again
	compactOther()
	r.now = r.now.Add(20 * day)
	compactOther()
	if !slices.Equal(r.segments(), old) {
		t.Fatal("dropped 20 days after its last use")
	}
	r.now = r.now.Add(11 * day)
	compactOther()
	if keys := r.mem.Keys(r.l.Ledger()); len(keys) != 0 {
		t.Errorf("left %v", keys)
	}
}

func TestLedgerSurvivesACrashAtEveryStoreCallOfACompaction(t *testing.T) {
	for _, lost := range []string{"request", "answer"} {
		for crash := 1; ; crash++ {
			r := newLedgerRig(t)
			g := r.open()
			var last string
			for i := range 5 {
				last = r.flushed(g, i, 100+i)
			}
			r.mem.Corrupt(last, func(b []byte) []byte { b[70] ^= 1; return b })
			g.Close()
			var mu sync.Mutex // segments are fetched at a time
			calls, broke := 0, false
			objects := store.Hooked(r.mem, func(_ context.Context, op, key string, call func() error) error {
				mu.Lock()
				defer mu.Unlock()
				calls++
				if calls < crash {
					return call()
				}
				if calls == crash && lost == "answer" {
					_ = call()
				}
				broke = true
				return fmt.Errorf("%s %s: %w", op, key, store.ErrDenied) // final, so that nothing is repeated
			})
			r.dir = t.TempDir()
			g, err := ledger.Open(t.Context(), objects, r.l, r.dir, embedding, "api.example.com")
			if err == nil {
				r.now = r.now.Add(time.Hour)
				_, err = g.Compact(t.Context(), func(ledger.Key) bool { return true }, ledger.CompactOptions{})
				g.Close()
			}
			if (err != nil) != broke {
				t.Fatalf("call %d: broke %v, error %v", crash, broke, err)
			}
			for range 2 { // whoever comes next finishes it
				g = r.reopen()
				holds(t, g, 5, 0, 1, 2, 3)
				r.now = r.now.Add(time.Hour)
				compact(t, g, 0, append(upTo(5), 100, 101, 102, 103, 104)...)
			}
			if n := len(r.segments()); n > 2 {
				t.Errorf("call %d: %d segments left", crash, n)
			}
			if !broke {
				if crash < 5 {
					t.Fatalf("only %d calls", calls)
				}
				break
			}
		}
	}
}

func TestLedgerListsAgainWhenASegmentWentAway(t *testing.T) {
	r := newLedgerRig(t)
	g := r.open()
	for i := range 5 {
		flush(t, g, i)
	}
	r.dir = t.TempDir()
	var once sync.Once
	objects := store.Hooked(r.mem, func(_ context.Context, op, _ string, call func() error) error {
		if op == store.OpGet {
			once.Do(func() { // another leader merges and removes between LIST and GET
				compact(t, g, 0, upTo(5)...)
				compact(t, g, 0, upTo(5)...)
			})
		}
		return call()
	})
	got, err := ledger.Open(t.Context(), objects, r.l, r.dir, embedding, "api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	holds(t, got, 5, upTo(5)...)
}

func TestLedgerUnreadableStoreIsAnErrorNotDamage(t *testing.T) {
	r := newLedgerRig(t)
	flush(t, r.open(), 0)
	objects := store.Hooked(r.mem, func(_ context.Context, op, _ string, call func() error) error {
		if op == store.OpGet {
			return store.ErrDenied
		}
		return call()
	})
	_, err := ledger.Open(t.Context(), objects, r.l, t.TempDir(), embedding, "api.example.com")
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestLedgerOnRealServers(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{"versitygw": s3test.Versitygw, "minio": s3test.Minio} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			server.CreateBucket("bucket", true)
			o, err := store.NewS3(t.Context(), server.Config("bucket"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { o.Close() })
			open := func() *ledger.Ledger {
				g, err := ledger.Open(t.Context(), o, store.NewLayout("p", ""), t.TempDir(), embedding, "h")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { g.Close() })
				return g
			}
			g := open()
			for i := range 5 {
				flush(t, g, i)
			}
			compact(t, g, time.Hour, upTo(5)...)
			holds(t, open(), 5, upTo(5)...)
		})
	}
}
