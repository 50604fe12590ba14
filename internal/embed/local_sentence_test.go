package embed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Many texts on many threads, and each alone: the same vectors.
func TestSentencesAmongOthersAndAlone(t *testing.T) {
	e := embed.NewSentence(harness.Weights(t))
	if got, want := e.Embedding(), (snapshot.Embedding{Provider: "local", Model: "use-multilingual-v3", Dims: 512, Version: "1"}); got != want {
		t.Errorf("Embedding() = %+v, want %+v", got, want)
	}
	var texts []string
	for i := range 150 {
		texts = append(texts, strings.Repeat(fmt.Sprintf("第%d倉庫の温度を見守る。", i), 1+i%9))
	}
	rows, tokens, seen := make([][]float32, len(texts)), 0, 0
	err := e.Embed(t.Context(), texts, func(first int, vectors []float32, n int) error {
		for i := range len(vectors) / 512 {
			rows[first+i] = append([]float32(nil), vectors[i*512:(i+1)*512]...)
			seen++
		}
		tokens += n
		return nil
	})
	if err != nil || seen != len(texts) || tokens < 5*len(texts) {
		t.Fatalf("%d texts of %d tokens, %v", seen, tokens, err)
	}
	var wg sync.WaitGroup
	for i, text := range texts {
		wg.Go(func() {
			v, err := e.EmbedQuery(context.Background(), text)
			if err != nil || dot(v, rows[i]) < 0.99999 {
				t.Errorf("text %d: cosine %.6f, %v", i, dot(v, rows[i]), err)
			}
		})
	}
	wg.Wait()
	if c := dot(vector(t, e, "冷凍\u200b倉庫"), vector(t, e, "冷凍倉庫")); c < 0.99999 {
		t.Errorf("a character that nobody sees changes the vector: cosine %.4f", c)
	}
}

func TestSentenceModelThatIsNotInstalled(t *testing.T) {
	e := embed.NewSentence(t.TempDir())
	_, query := e.EmbedQuery(t.Context(), "a")
	for _, err := range []error{e.Ready(), query, e.Embed(t.Context(), []string{"a"}, func(int, []float32, int) error { return nil })} {
		var missing *embed.MissingModelError
		if !errors.As(err, &missing) || missing.ModelMissing() != embed.SentenceModel || !strings.Contains(err.Error(), "make weights") {
			t.Errorf("error is %v", err)
		}
	}
}

func BenchmarkSentenceQuery(b *testing.B) {
	e := embed.NewSentence(harness.Weights(b))
	for b.Loop() {
		if _, err := e.EmbedQuery(b.Context(), "冷凍倉庫の温度を監視する会社を探しています"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSentenceShortTexts(b *testing.B) {
	e := embed.NewSentence(harness.Weights(b))
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = fmt.Sprintf("株式会社ホクト低温ロジテック 冷凍・冷蔵倉庫の庫内温度を無線センサーで見守る %d", i)
	}
	for b.Loop() {
		if err := e.Embed(b.Context(), texts, func(int, []float32, int) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(texts))/b.Elapsed().Seconds(), "texts/s")
}
