package bedrock

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// Limits of Cohere's models on Bedrock.
const (
	cohereTexts   = 96   // a call
	cohereV3Runes = 2048 // characters a text; v3 reads 512 tokens of it
)

// cohereRequest and cohereAnswer are described at
// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html and …-v4.html
type cohereRequest struct {
	Texts     []string `json:"texts"`
	InputType string   `json:"input_type"` // the model tells documents and queries apart itself
	Truncate  string   `json:"truncate"`   // what is beyond the model's context, instead of refusing it
	Types     []string `json:"embedding_types,omitempty"`
	Dims      int      `json:"output_dimension,omitempty"` // v4
}

// cohereAnswer holds a list of vectors, or lists by type when types were asked for.
type cohereAnswer struct {
	Embeddings json.RawMessage `json:"embeddings"`
}

func (a cohereAnswer) vectors() ([][]float32, error) {
	var byType struct {
		Float [][]float32 `json:"float"`
	}
	if json.Unmarshal(a.Embeddings, &byType) == nil && byType.Float != nil {
		return byType.Float, nil
	}
	var list [][]float32
	if err := json.Unmarshal(a.Embeddings, &list); err != nil {
		return nil, fmt.Errorf("decode embeddings: %w", err)
	}
	return list, nil
}

func (b *Bedrock) cohere(ctx context.Context, texts []string, query bool, put embed.Put) (embed.Receipt, error) {
	req := cohereRequest{Texts: texts, InputType: "search_document", Truncate: "END"}
	if query {
		req.InputType = "search_query"
	}
	if strings.Contains(b.cfg.Model, "cohere.embed-v4") {
		req.Truncate, req.Types, req.Dims = "RIGHT", []string{"float"}, b.cfg.Dims
	}
	var a cohereAnswer
	tokens, err := b.invoke(ctx, len(texts), req, &a)
	receipt := embed.Receipt{Tokens: tokens}
	if err != nil {
		return receipt, err
	}
	rows, err := a.vectors()
	switch {
	case err != nil:
		return receipt, b.classify(err)
	case len(rows) > len(texts):
		return receipt, &embed.CallError{Kind: embed.Transient, Reason: "wrong_count", Distrust: true,
			Err: fmt.Errorf("%s: %d vectors for %d texts", b.endpoint, len(rows), len(texts))}
	}
	for i, row := range rows {
		put(i, row, len(row))
	}
	if len(rows) < len(texts) {
		return receipt, &embed.CallError{Kind: embed.Transient, Reason: "wrong_count", Doubt: true,
			Err: fmt.Errorf("%s: %d vectors for %d texts", b.endpoint, len(rows), len(texts))}
	}
	return receipt, nil
}
