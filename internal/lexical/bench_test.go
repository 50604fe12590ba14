package lexical_test

import (
	"bytes"
	"runtime"
	"testing"

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
