package lexical_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/lexical/readings"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

const benchRecords = 20_000

func generated(tb testing.TB, n int) []snapshot.Words {
	tb.Helper()
	var b bytes.Buffer
	if err := vendorstest.Write(&b, vendorstest.Options{N: n, Seed: 1}); err != nil {
		tb.Fatal(err)
	}
	records, err := vendorstest.Records(bytes.NewReader(b.Bytes()))
	if err != nil {
		tb.Fatal(err)
	}
	words := make([]snapshot.Words, len(records))
	for i, r := range records {
		if words[i], err = vendors.WordsOf(r.ID, r.Name, r.Raw); err != nil {
			tb.Fatal(err)
		}
	}
	return words
}

func BenchmarkBuild20k(b *testing.B)             { benchmarkBuild(b, nil) }
func BenchmarkBuildWithReadings20k(b *testing.B) { benchmarkBuild(b, dictionary(b)) }

func dictionary(tb testing.TB) lexical.Reader {
	tb.Helper()
	d, err := readings.Open()
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func benchmarkBuild(b *testing.B, read lexical.Reader) {
	words := generated(b, benchRecords)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var x *lexical.Index
	for b.Loop() {
		var err error
		if x, err = lexical.Build(len(words), read, fieldsOf(words)); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heapMB")
	b.ReportMetric(float64(x.SizeBytes())/1e6, "indexMB")
	runtime.KeepAlive(words)
}

var benchQueries = []string{
	"冷凍倉庫の温度監視", "残業を減らしたい勤怠管理", "夜勤の負担を軽くする介護の見守り", "工場の設備の予知保全", "クラウド移行 バックアップ",
	"請求書の転記をなくす経費精算サービスを探しています", "ドローンで橋のひび割れを検知", "株式会社朝霧データ人事", "タレントアイ", "GT-0",
}

// Questions with a slip of the pen, in kana and in romaji cost more: other spellings are tried.
var spelledQueries = []string{"コールドレポド", "せいきゅうしょのよみとり", "reitou souko", "タレントアイイ", "monitering"}

func BenchmarkSearch20k(b *testing.B)  { benchmarkSearch(b, benchQueries) }
func BenchmarkSpelled20k(b *testing.B) { benchmarkSearch(b, spelledQueries) }

func benchmarkSearch(b *testing.B, queries []string) {
	words := generated(b, benchRecords)
	x, err := lexical.Build(len(words), dictionary(b), fieldsOf(words))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x.Search(queries[i%len(queries)], 50, nil)
		i++
	}
}

// What a search costs beside one of the base alone, after 16 deltas: the joined index is the same all along ("warm"), or
// made anew for every round of questions, with one more dead row each ("edited").
func BenchmarkJoined100k(b *testing.B) {
	const n = 100_000
	words := generated(b, n)
	base := built(b, words)
	for _, changed := range []int{n / 1000, n / 50} {
		parts, before := edited(b, base, words, changed, 16)
		for _, again := range []bool{false, true} {
			b.Run(fmt.Sprintf("changed=%d/edited=%v", changed, again), func(b *testing.B) {
				j := lexical.Join(parts, before)
				var alone, joined [2]time.Duration // of questions as they are meant, and with slips
				for round := 0; b.Loop(); round++ {
					if again {
						parts[0].Dead = parts[0].Dead.Clone()
						parts[0].Dead.Add(rand.Uint32N(n))
						j = lexical.Join(parts, before)
					}
					for i, queries := range [][]string{benchQueries, spelledQueries} {
						for _, q := range queries {
							one, other, of, ofOther := base.Search, j.Search, &alone[i], &joined[i]
							if round%2 == 1 { // whoever is second finds the memory warm
								one, other, of, ofOther = other, one, ofOther, of
							}
							start := time.Now()
							one(q, 50, nil)
							between := time.Now()
							other(q, 50, nil)
							*of += between.Sub(start)
							*ofOther += time.Since(between)
						}
					}
				}
				b.ReportMetric(float64(joined[0])/float64(alone[0]), "times")
				b.ReportMetric(float64(joined[1])/float64(alone[1]), "times/spelled")
			})
		}
	}
}

// BenchmarkJoin100k is what each edit costs: 16 deltas, and ever more dead rows.
func BenchmarkJoin100k(b *testing.B) {
	const n = 100_000
	words := generated(b, n)
	base := built(b, words)
	for _, changed := range []int{100, 1000, 10_000} {
		parts, before := edited(b, base, words, changed, 16)
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			for b.Loop() {
				lexical.Join(parts, before)
			}
		})
	}
}

func built(tb testing.TB, words []snapshot.Words) *lexical.Index {
	tb.Helper()
	x, err := lexical.Build(len(words), nil, fieldsOf(words))
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// edited gives so many records of a base the texts of others, in deltas of equal size; they keep their place.
func edited(tb testing.TB, base *lexical.Index, words []snapshot.Words, changed, deltas int) (parts []lexical.Part, before func(a, b uint32) bool) {
	tb.Helper()
	draw := rand.New(rand.NewPCG(1, 1))
	parts = []lexical.Part{{Index: base, Dead: roaring.New()}}
	var places []uint32 // of edited ones
	n := uint32(len(words))
	first := n
	for range deltas {
		rows := make([]snapshot.Words, 0, changed/deltas)
		for len(rows) < changed/deltas {
			if row := draw.Uint32N(n); parts[0].Dead.CheckedAdd(row) {
				places = append(places, row)
				rows = append(rows, words[draw.IntN(len(words))])
			}
		}
		parts = append(parts, lexical.Part{Index: built(tb, rows), First: first})
		first += uint32(len(rows))
	}
	place := func(pos uint32) uint32 {
		if pos < n {
			return pos
		}
		return places[pos-n]
	}
	return parts, func(a, b uint32) bool { return place(a) < place(b) }
}
