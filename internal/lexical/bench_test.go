package lexical_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/lexical"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

const benchRecords = 20_000

func generated(tb testing.TB, n int) []vendors.Words {
	tb.Helper()
	var b bytes.Buffer
	if err := vendorstest.Write(&b, vendorstest.Options{N: n, Seed: 1}); err != nil {
		tb.Fatal(err)
	}
	records, err := vendorstest.Records(bytes.NewReader(b.Bytes()))
	if err != nil {
		tb.Fatal(err)
	}
	words := make([]vendors.Words, len(records))
	for i, r := range records {
		if words[i], err = vendors.WordsOf(r.ID, r.Name, r.Raw); err != nil {
			tb.Fatal(err)
		}
	}
	return words
}

func BenchmarkBuild20k(b *testing.B) {
	words := generated(b, benchRecords)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var x *lexical.Index
	for b.Loop() {
		var err error
		if x, err = lexical.Build(len(words), fieldsOf(words)); err != nil {
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

func BenchmarkSearch20k(b *testing.B) {
	words := generated(b, benchRecords)
	x, err := lexical.Build(len(words), fieldsOf(words))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x.Search(benchQueries[i%len(benchQueries)], 50, nil)
		i++
	}
}
