package embed

// Price is the cost of tokens with model in US dollars, by the list prices that the providers published in September
// 2025: OpenAI's pricing page (synchronous API) and Amazon Bedrock's for us-east-1. Contracts and regions differ; the
// local embedders cost nothing. known is false for a model without a price.
func Price(model string, tokens int) (usd float64, known bool) {
	perMillion, known := map[string]float64{
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
	}[model]
	return perMillion * float64(tokens) / 1e6, known
}
