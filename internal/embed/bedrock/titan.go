package bedrock

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/taksuehiro/vectorstore/internal/embed"
)

// titanRequest and titanAnswer are described at
// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
type titanRequest struct {
	InputText  string `json:"inputText"`
	Dimensions int    `json:"dimensions,omitempty"` // v2
	Normalize  *bool  `json:"normalize,omitempty"`  // v2
}

type titanAnswer struct {
	Embedding []float32 `json:"embedding"`
	Tokens    int       `json:"inputTextTokenCount"`
}

// titan takes one text a call: it asks for one after the other, and those that have arrived before an error are kept.
func (b *Bedrock) titan(ctx context.Context, texts []string, _ bool, put embed.Put) (embed.Receipt, error) {
	var receipt embed.Receipt
	for i, text := range texts {
		req := titanRequest{InputText: text}
		if !strings.Contains(b.cfg.Model, TitanV1) {
			req.Dimensions, req.Normalize = b.cfg.Dims, aws.Bool(true)
		}
		var a titanAnswer
		if _, err := b.invoke(ctx, 1, req, &a); err != nil {
			return receipt, err
		}
		receipt.Tokens += max(a.Tokens, 0)
		put(i, a.Embedding, len(a.Embedding))
	}
	return receipt, nil
}
