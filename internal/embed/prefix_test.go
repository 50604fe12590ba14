package embed_test

import (
	"context"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

func TestPrefixesOfKnownModels(t *testing.T) {
	const retrieve = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
	const represent = "Represent this sentence for searching relevant passages: "
	for model, want := range map[string][2]string{
		"intfloat/multilingual-e5-small":          {"passage: ", "query: "},
		"multilingual-e5-large":                   {"passage: ", "query: "},
		"jeffh/intfloat-multilingual-e5-base:f16": {"passage: ", "query: "},
		"E5-Large-V2":                             {"passage: ", "query: "},
		"intfloat/multilingual-e5-large-instruct": {"", retrieve + " "},
		"intfloat/e5-mistral-7b-instruct":         {"", retrieve + " "},
		"cl-nagoya/ruri-v3-310m":                  {"検索文書: ", "検索クエリ: "},
		"ruri-v3:30m":                             {"検索文書: ", "検索クエリ: "},
		"cl-nagoya/ruri-base-v2":                  {"文章: ", "クエリ: "},
		"kun432/cl-nagoya-ruri-large":             {"文章: ", "クエリ: "},
		"pkshatech/GLuCoSE-base-ja-v2":            {"passage: ", "query: "},
		"BAAI/bge-large-en-v1.5":                  {"", represent},
		"bge-small-zh":                            {"", "为这个句子生成表示以用于检索相关文章："},
		"BAAI/bge-m3":                             {"", ""},
		"mxbai-embed-large:latest":                {"", represent},
		"snowflake-arctic-embed2":                 {"", "query: "},
		"Snowflake/snowflake-arctic-embed-l-v2.0": {"", "query: "},
		"snowflake-arctic-embed:335m":             {"", represent},
		"nomic-embed-text:v1.5":                   {"search_document: ", "search_query: "},
		"google/embeddinggemma-300m":              {"title: none | text: ", "task: search result | query: "},
		"Qwen/Qwen3-Embedding-0.6B":               {"", retrieve},
		"text-embedding-3-small":                  {"", ""},
		"text-embedding-ada-002":                  {"", ""},
		"gemini-embedding-001":                    {"", ""},
		"voyage-3.5":                              {"", ""},
		"sentence-transformers/LaBSE":             {"", ""},
		"me5cab":                                  {"", ""},
	} {
		if doc, query := embed.KnownPrefixes(model); doc != want[0] || query != want[1] {
			t.Errorf("%s: %q, %q; want %q", model, doc, query, want)
		}
	}
}

func TestPrefixesGoBeforeTextsAndIntoTheSpec(t *testing.T) {
	s := &scripted{}
	o := openAI(t, embed.OpenAIConfig{BaseURL: "http://stand-in/v1", Transport: inProcess{s}, Dims: 8})
	e := embed.WithPrefixes(o, "passage: ", "query: ")
	texts := []string{"冷凍倉庫", "配送"}
	c := &collector{t: t, texts: []string{"passage: 冷凍倉庫", "passage: 配送"}, dims: 8, vector: hashed}
	if err := e.Embed(context.Background(), texts, c.done); err != nil {
		t.Fatal(err)
	}
	c.complete()
	if texts[0] != "冷凍倉庫" {
		t.Error("the caller's texts were changed")
	}
	got, err := e.EmbedQuery(context.Background(), "倉庫")
	want := make([]float32, 8)
	hashed("query: 倉庫", want)
	normalise(want)
	if err != nil || distance(got, want) > 1e-3 {
		t.Errorf("query: %v", err)
	}
	if s := e.Embedding(); s.DocumentPrefix != "passage: " || s.QueryPrefix != "query: " || s.Model != o.Embedding().Model {
		t.Errorf("spec %+v", s)
	}
	if e.EstimateTokens("a") <= o.EstimateTokens("a") {
		t.Error("the prefix is not in the estimate")
	}
	if embed.WithPrefixes(o, "", "") != embed.Embedder(o) {
		t.Error("no prefixes are something")
	}
}
