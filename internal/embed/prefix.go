package embed

import (
	"context"
	"regexp"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// prefixed puts a prefix before every text, another before queries and documents, for models that were trained so.
type prefixed struct {
	Embedder
	document, query string
}

// WithPrefixes returns e with prefixes before documents and queries; they are part of its Embedding.
func WithPrefixes(e Embedder, document, query string) Embedder {
	if document == "" && query == "" {
		return e
	}
	return prefixed{e, document, query}
}

// Embedding implements Embedder.
func (p prefixed) Embedding() snapshot.Embedding {
	s := p.Embedder.Embedding()
	s.DocumentPrefix, s.QueryPrefix = p.document, p.query
	return s
}

// Embed implements Embedder.
func (p prefixed) Embed(ctx context.Context, texts []string, done func(first int, vectors []float32, tokens int) error) error {
	if p.document != "" {
		whole := make([]string, len(texts))
		for i, t := range texts {
			whole[i] = p.document + t
		}
		texts = whole
	}
	return p.Embedder.Embed(ctx, texts, done)
}

// EmbedQuery implements Embedder.
func (p prefixed) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return p.Embedder.EmbedQuery(ctx, p.query+text)
}

// EstimateTokens implements Embedder.
func (p prefixed) EstimateTokens(text string) int {
	return p.Embedder.EstimateTokens(p.document + text)
}

// modelPrefixes are what the authors of a model put before documents and queries, by a pattern of its name. The first
// that fits counts.
var modelPrefixes = []struct {
	model           *regexp.Regexp
	document, query string
}{
	// https://huggingface.co/intfloat/multilingual-e5-large-instruct, e5-mistral-7b-instruct
	{regexp.MustCompile(`\be5\b.*\b(instruct|mistral)\b`), "", "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "},
	// https://huggingface.co/intfloat/multilingual-e5-small and all their others
	{regexp.MustCompile(`\be5\b`), "passage: ", "query: "},
	// https://huggingface.co/cl-nagoya/ruri-v3-310m, and ruri-base-v2 for those before
	{regexp.MustCompile(`\bruri v3\b`), "検索文書: ", "検索クエリ: "},
	{regexp.MustCompile(`\bruri\b`), "文章: ", "クエリ: "},
	// https://huggingface.co/pkshatech/GLuCoSE-base-ja-v2
	{regexp.MustCompile(`\bglucose base ja v2\b`), "passage: ", "query: "},
	// https://huggingface.co/BAAI/bge-large-zh-v1.5 and -en-; bge-m3 has none
	{regexp.MustCompile(`\bbge (small|base|large) zh\b`), "", "为这个句子生成表示以用于检索相关文章："},
	{regexp.MustCompile(`\bbge (small|base|large) en\b`), "", "Represent this sentence for searching relevant passages: "},
	// https://huggingface.co/mixedbread-ai/mxbai-embed-large-v1
	{regexp.MustCompile(`\bmxbai embed large\b`), "", "Represent this sentence for searching relevant passages: "},
	// https://huggingface.co/Snowflake/snowflake-arctic-embed-l-v2.0, and those before
	{regexp.MustCompile(`\bsnowflake arctic embed(2\b|.*\bv2\b)`), "", "query: "},
	{regexp.MustCompile(`\bsnowflake arctic embed\b`), "", "Represent this sentence for searching relevant passages: "},
	// https://huggingface.co/nomic-ai/nomic-embed-text-v1.5
	{regexp.MustCompile(`\bnomic embed text\b`), "search_document: ", "search_query: "},
	// https://huggingface.co/google/embeddinggemma-300m
	{regexp.MustCompile(`\bembeddinggemma\b`), "title: none | text: ", "task: search result | query: "},
	// https://huggingface.co/Qwen/Qwen3-Embedding-0.6B
	{regexp.MustCompile(`\bqwen3 embedding\b`), "", "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"},
}

// notLetters is what separates the words of a model's name: intfloat/multilingual-e5-small, ruri_v3:310m.
var notLetters = regexp.MustCompile(`[^a-z0-9]+`)

// KnownPrefixes are those of a model by its name, in whichever way a server spells it; empty for a model without any.
func KnownPrefixes(model string) (document, query string) {
	words := notLetters.ReplaceAllString(strings.ToLower(model), " ")
	for _, m := range modelPrefixes {
		if m.model.MatchString(words) {
			return m.document, m.query
		}
	}
	return "", ""
}
