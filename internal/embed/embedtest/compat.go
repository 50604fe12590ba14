package embedtest

import "fmt"

// Compat makes the stand-in differ from OpenAI like other servers do.
type Compat struct {
	RejectBase64     bool  // 4xx naming encoding_format
	IgnoreBase64     bool  // numbers are sent whatever was asked for
	RejectDimensions bool  // 4xx naming dimensions
	IgnoreDimensions bool  // the native length is sent whatever was asked for
	Errors           Shape // of error bodies
}

// Shape is the form of an error body.
type Shape int

const (
	OpenAIErrors  Shape = iota // {"error":{"message","type","param","code"}}
	FlatErrors                 // {"object":"error","message","type","param","code"}: older vLLM
	StringErrors               // {"error":"…"}: Ollama
	TEIErrors                  // {"message","code","type"}: Text Embeddings Inference
	FastAPIErrors              // {"detail":[{"loc","msg","type"}]}
)

// VLLM, Ollama, TEI and LocalAI are what those servers were seen to do, in the versions of 2024 and 2025.
func VLLM() Compat   { return Compat{RejectDimensions: true, Errors: FlatErrors} }
func Ollama() Compat { return Compat{IgnoreBase64: true, IgnoreDimensions: true, Errors: StringErrors} }
func TEI() Compat    { return Compat{IgnoreDimensions: true, Errors: TEIErrors} }
func LocalAI() Compat {
	return Compat{IgnoreBase64: true, IgnoreDimensions: true}
}

func (c Compat) check(req *request) *problem {
	switch {
	case req.EncodingFormat != "" && req.EncodingFormat != "float" && (req.EncodingFormat != "base64" || c.RejectBase64):
		status := 400
		if c.Errors == FastAPIErrors {
			status = 422
		}
		return &problem{status, "invalid_request_error", "", fmt.Sprintf("Invalid value for 'encoding_format' = %s.", req.EncodingFormat)}
	case req.Dimensions != nil && c.RejectDimensions:
		return &problem{400, "BadRequestError", "", fmt.Sprintf("Model %q does not support matryoshka representation, changing output dimensions will lead to poor results.", req.Model)}
	}
	if c.IgnoreBase64 {
		req.EncodingFormat = "float"
	}
	return nil
}

func (c Compat) batchTooLarge(n, limit int) *problem {
	if c.Errors == TEIErrors {
		return &problem{413, "validation", "", fmt.Sprintf("batch size %d > maximum allowed batch size %d", n, limit)}
	}
	return &problem{400, "invalid_request_error", "array_above_max_length",
		fmt.Sprintf("Invalid 'input': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", limit, n)}
}

func (c Compat) textTooLong(n, limit int) *problem {
	switch c.Errors {
	case TEIErrors:
		return &problem{413, "validation", "", fmt.Sprintf("`inputs` must have less than %d tokens. Given: %d", limit, n)}
	case StringErrors:
		return &problem{400, "", "", "the input length exceeds the context length"}
	}
	return &problem{400, "invalid_request_error", "",
		fmt.Sprintf("This model's maximum context length is %d tokens, however you requested %d tokens. Please reduce your prompt.", limit, n)}
}

func (c Compat) shape(p problem) any {
	switch c.Errors {
	case FlatErrors:
		return map[string]any{"object": "error", "message": p.message, "type": p.kind, "param": nil, "code": p.status}
	case StringErrors:
		return map[string]any{"error": p.message}
	case TEIErrors:
		return map[string]any{"message": p.message, "code": p.status, "type": p.kind}
	case FastAPIErrors:
		return map[string]any{"detail": []any{map[string]any{"loc": []string{"body"}, "msg": p.message, "type": "value_error"}}}
	}
	var code any = p.code
	if p.code == "" {
		code = nil
	}
	return map[string]any{"error": map[string]any{"message": p.message, "type": p.kind, "param": nil, "code": code}}
}
