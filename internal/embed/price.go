package embed

import "maps"

// Prices maps a model to US dollars per million tokens. A configuration may replace or extend the defaults: contracts,
// regions and self-hosted servers differ.
type Prices map[string]float64

// DefaultPrices are the list prices as published by the providers in September 2025: OpenAI's pricing page
// (synchronous API) and Amazon Bedrock's for us-east-1. The local embedder costs nothing.
func DefaultPrices() Prices {
	return Prices{
		"text-embedding-3-small":       0.02,
		"text-embedding-3-large":       0.13,
		"text-embedding-ada-002":       0.10,
		"amazon.titan-embed-text-v2:0": 0.02,
		"amazon.titan-embed-text-v1":   0.10,
		"cohere.embed-multilingual-v3": 0.10,
		"cohere.embed-english-v3":      0.10,
		"cohere.embed-v4:0":            0.12,
		LocalModel:                     0,
		SentenceModel:                  0,
	}
}

// With returns p with the entries of more added or replaced.
func (p Prices) With(more Prices) Prices {
	out := maps.Clone(p)
	if out == nil {
		out = Prices{}
	}
	maps.Copy(out, more)
	return out
}

// Cost is the price of tokens with model in US dollars; known is false for a model without a price.
func (p Prices) Cost(model string, tokens int) (usd float64, known bool) {
	perMillion, known := p[model]
	return perMillion * float64(tokens) / 1e6, known
}

// Price is the cost at the default prices.
func Price(model string, tokens int) (usd float64, known bool) {
	return DefaultPrices().Cost(model, tokens)
}
