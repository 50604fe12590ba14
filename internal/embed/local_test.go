package embed_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func vector(t testing.TB, e embed.Embedder, text string) []float32 {
	t.Helper()
	v, err := e.EmbedQuery(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func dot(a, b []float32) float64 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// goldenTexts cover every kind of feature.
var goldenTexts = []string{
	"", "。、！", "a", "冷凍倉庫の温度監視", "ＡＸ－２００ and ax-200", "Warehouse temperature monitoring for frozen food",
	"サーバー移行とﾊﾞｯｸｱｯﾌﾟ、災害対策", "だれでもつかえる、ひらがなだけのぶんしょう", "Привет мир, 안녕하세요 세계", "𠮷野家の髙橋さん 1,234円 😀",
	"products: 倉庫温度ナビ, AX-200\ntags: 物流", strings.Repeat("配車計画の最適化。", 3000),
}

// The vectors of one version never change: snapshots and bought embeddings outlive a release. Whoever changes them on
// purpose bumps LocalModel with this digest. It is the same on amd64 and 386, whose arithmetic differs.
func TestVectorsAreTheGoldenOnes(t *testing.T) {
	const want = "e754aa4c2f9475b2cc324beabaed828bde3dfdb2bba47c4ab7b3448683d6af03"
	h := sha256.New()
	for _, dims := range []int{1, 7, 512, 1536} {
		e := embed.NewLocal(dims)
		for _, text := range goldenTexts {
			for _, f := range vector(t, e, text) {
				h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)))
			}
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("digest of the golden vectors of %s is %s, want %s", embed.LocalModel, got, want)
	}
}

func TestSpecNamesModelAndDefaultDims(t *testing.T) {
	got := embed.NewLocal(0).Embedding()
	want := snapshot.Embedding{Provider: "local", Model: "local-ngram-v1", Dims: 512, Version: "1"}
	if got != want {
		t.Errorf("Spec() = %+v, want %+v", got, want)
	}
	if host := embed.NewLocal(0).Endpoint(); host != "" {
		t.Errorf("Endpoint() = %q, want none", host)
	}
}

func TestSpellingsMeet(t *testing.T) {
	e := embed.NewLocal(0)
	for _, tt := range []struct {
		name, a, b string
		atLeast    float64
	}{
		{"full width and half width", "ＡＢＣ倉庫１２３", "ABC倉庫123", 1},
		{"half-width katakana", "ﾊﾞｯｸｱｯﾌﾟ", "バックアップ", 1},
		{"variation selector", "葛\U000E0100城物産", "葛城物産", 1},
		{"zero-width space, soft hyphen", "桜\u200b木 soft\u00adware", "桜木 software", 1},
		{"minus sign and hyphen", "AX\u2212200", "AX-200", 1},
		{"case", "Cloud Backup", "CLOUD backup", 1},
		{"hiragana and katakana", "らくだ", "ラクダ", 0.3},
		{"long vowel at the end", "サーバー", "サーバ", 0.9},
		{"hyphen in a code", "AX-200", "AX200", 0.4},
		{"Japanese and English", "倉庫の温度監視", "warehouse temperature monitoring", 0.2},
	} {
		if got := dot(vector(t, e, tt.a), vector(t, e, tt.b)); got < tt.atLeast-1e-6 {
			t.Errorf("%s: cosine of %q and %q is %.3f, want at least %.2f", tt.name, tt.a, tt.b, got, tt.atLeast)
		}
	}
}

func TestUnrelatedTextsAreFarApart(t *testing.T) {
	e := embed.NewLocal(0)
	if got := dot(vector(t, e, "牛の発情を検知する首輪"), vector(t, e, "契約書の電子署名とタイムスタンプ")); got > 0.2 {
		t.Errorf("cosine is %.3f, want at most 0.2", got)
	}
}

// batches collects what Embed hands over and fails on anything the interface rules out.
type batches struct {
	t    *testing.T
	dims int
	seen []bool
	rows []float32
	busy bool
	fail error
}

func (b *batches) done(first int, vectors []float32, tokens int) error {
	if b.busy {
		b.t.Error("done was called while it ran")
	}
	b.busy = true
	defer func() { b.busy = false }()
	if b.fail != nil {
		return b.fail
	}
	for i := range len(vectors) / b.dims {
		if b.seen[first+i] {
			b.t.Errorf("text %d was handed over twice", first+i)
		}
		b.seen[first+i] = true
	}
	copy(b.rows[first*b.dims:], vectors)
	return nil
}

func someTexts(n int) []string {
	words := []string{"冷凍", "倉庫", "温度", "監視", "配車", "勤怠", "cloud", "sensor", "見積もり", "サーバー"}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = words[i%10] + words[i/10%10] + words[i/100%10] + "の" + words[i/7%10]
	}
	return texts
}

func TestEmbedHandsOverEveryTextOnce(t *testing.T) {
	defer goleak.VerifyNone(t)
	e := embed.NewLocal(32)
	for _, n := range []int{1, 63, 64, 65, 1000} {
		texts := someTexts(n)
		b := &batches{t: t, dims: 32, seen: make([]bool, n), rows: make([]float32, n*32)}
		if err := e.Embed(t.Context(), texts, b.done); err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			if !b.seen[i] {
				t.Fatalf("text %d of %d was not handed over", i, n)
			}
			if !slices.Equal(b.rows[i*32:(i+1)*32], vector(t, e, text)) {
				t.Fatalf("text %d of %d got another vector than alone", i, n)
			}
		}
	}
}

func TestEmbedEndsWithTheErrorOfDone(t *testing.T) {
	defer goleak.VerifyNone(t)
	full := errors.New("disk full")
	b := &batches{t: t, dims: 8, fail: full}
	if err := embed.NewLocal(8).Embed(t.Context(), someTexts(1000), b.done); !errors.Is(err, full) {
		t.Errorf("Embed() = %v, want %v", err, full)
	}
}

func TestEmbedStopsWhenCancelled(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := embed.NewLocal(8).Embed(ctx, someTexts(10_000), func(int, []float32, int) error {
		if calls++; calls == 2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Embed() = %v after %d batches, want %v", err, calls, context.Canceled)
	}
}

func TestEmbedWithoutTextsIsAnError(t *testing.T) {
	if err := embed.NewLocal(8).Embed(t.Context(), nil, nil); err == nil {
		t.Error("Embed() of no texts = nil")
	}
}

// sample reads the sample catalogue and its questions.
func sample(t testing.TB) (records []vendors.Record, questions []question) {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata")
	f, err := os.Open(filepath.Join(dir, "vendors.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if records, err = vendorstest.Records(f); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "queries.json"))
	if err != nil {
		t.Fatal(err)
	}
	var q struct{ Queries []question }
	if err := json.Unmarshal(data, &q); err != nil {
		t.Fatal(err)
	}
	return records, q.Queries
}

type question struct {
	Query  string
	Expect []string
}

func TestSampleQuestionsFindTheirVendors(t *testing.T) {
	e := embed.NewLocal(0)
	records, questions := sample(t)
	rows := make([][]float32, len(records))
	for i, r := range records {
		rows[i] = vector(t, e, r.Text)
	}
	hits := 0
	for _, q := range questions {
		v := vector(t, e, q.Query)
		order := make([]int, len(records))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			if dot(v, rows[a]) > dot(v, rows[b]) {
				return -1
			}
			return 1
		})
		rank := slices.IndexFunc(order, func(i int) bool { return slices.Contains(q.Expect, records[i].ID) })
		if rank < 3 {
			hits++
		} else {
			t.Logf("%q finds %v at rank %d", q.Query, q.Expect, rank+1)
		}
	}
	if share := float64(hits) / float64(len(questions)); len(questions) != 40 || share < 0.9 {
		t.Errorf("hit@3 is %.3f of %d questions, want at least 0.9 of 40", share, len(questions))
	}
}

func FuzzAnyTextGetsAUnitVector(f *testing.F) {
	for _, text := range goldenTexts[:11] {
		f.Add(text, 16)
	}
	f.Add("\xff\xfe\x00", 1)
	f.Fuzz(func(t *testing.T, text string, dims int) {
		if dims < 1 || dims > 64 {
			dims = 16
		}
		v := vector(t, embed.NewLocal(dims), text)
		if length := dot(v, v); math.Abs(length-1) > 1e-5 {
			t.Fatalf("squared length is %v", length)
		}
	})
}

// A short text is a name with one sentence. The aim is 20,000 of them a second on one core.
func BenchmarkLocalShortText(b *testing.B) {
	e := embed.NewLocal(0)
	texts := []string{
		"株式会社ホクト低温ロジテック 冷凍・冷蔵倉庫の庫内温度を無線センサーで見守る", "倉庫の在庫管理システムを提供する会社を探しています",
		"Cloud backup and disaster recovery service for hospitals", "配車計画 ルート最適化 動態管理",
	}
	ctx := context.Background()
	b.ReportAllocs()
	for i := range b.N {
		if _, err := e.EmbedQuery(ctx, texts[i%4]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
}

// A whole record of the sample catalogue is about 300 characters.
func BenchmarkLocalRecord(b *testing.B) {
	e := embed.NewLocal(0)
	records, _ := sample(b)
	ctx := context.Background()
	for i := range b.N {
		if _, err := e.EmbedQuery(ctx, records[i%len(records)].Text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
}
