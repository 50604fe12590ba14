package embed

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const maxMessage = 400 // bytes of a provider's message that go into an error

// keyLike finds what providers quote when they refuse a key, masked with asterisks or not.
var keyLike = regexp.MustCompile(`\b(?:sk|pk|rk|sess)-[A-Za-z0-9_*.\-]{6,}|(?i:bearer)\s+[A-Za-z0-9_*.\-]{8,}`)

// refusal is the text of an error answer, whichever of the known shapes it has.
type refusal struct {
	message, code, kind string
}

// parseRefusal understands
//
//	{"error":{"message","type","param","code"}}            OpenAI, Azure, newer vLLM, LocalAI
//	{"object":"error","message","type","param","code"}     older vLLM
//	{"error":"…"}                                          Ollama's native errors
//	{"error":"…","error_type":"…"}, {"message","code","type"}   Text Embeddings Inference
//	{"detail":"…"} or {"detail":[{"loc":[…],"msg":"…"}]}   FastAPI in front of a model
//
// and takes anything else as plain text.
func parseRefusal(body []byte) refusal {
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		return refusal{message: string(body)}
	}
	inner := top
	var nested map[string]json.RawMessage
	if json.Unmarshal(top["error"], &nested) == nil && nested != nil {
		inner = nested
	}
	r := refusal{message: text(inner["message"]), code: text(inner["code"]), kind: text(inner["type"])}
	if r.kind == "" {
		r.kind = text(top["error_type"])
	}
	for _, key := range []string{"error", "detail"} {
		if r.message == "" {
			r.message = text(top[key])
		}
	}
	if r.message == "" {
		r.message = string(body)
	}
	return r
}

// text is a JSON string's value, any other value's JSON, nothing for null.
func text(raw json.RawMessage) string {
	var s string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &s) == nil:
		return s
	}
	return string(raw)
}

func (r refusal) mentions(words ...string) bool {
	hay := strings.ToLower(r.message + " " + r.code + " " + r.kind)
	for _, w := range words {
		if strings.Contains(hay, w) {
			return true
		}
	}
	return false
}

// refused turns an error answer into what it means for the next call.
func (o *OpenAI) refused(status int, header http.Header, body []byte, sent features) *CallError {
	r := parseRefusal(body)
	ce := &CallError{Reason: "http_" + strconv.Itoa(status), After: retryAfter(header, time.Now())}
	ce.Kind = o.kindOf(status, r, ce, sent)
	said := o.cfg.APIKey.scrub(r.message)
	if hint := o.hint(status, r, ce.Kind); hint != "" {
		ce.Err = fmt.Errorf("%s answers %d: %s (%s)", o.endpoint, status, said, hint)
	} else {
		ce.Err = fmt.Errorf("%s answers %d: %s", o.endpoint, status, said)
	}
	return ce
}

func (o *OpenAI) kindOf(status int, r refusal, ce *CallError, sent features) Kind {
	switch {
	case r.quotaUsedUp():
		return Terminal
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusServiceUnavailable || status == 529:
		return Overloaded
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly:
		return Transient
	case status == http.StatusNotImplemented:
		return Terminal
	case status >= 500 && !r.tooManyTexts() && !r.textTooLong():
		return Transient
	case status < 400, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusMethodNotAllowed, status == http.StatusPaymentRequired:
		return Terminal
	case r.tooManyTexts():
		ce.Max = r.allowed()
		return TooLarge
	case r.textTooLong():
		return TooLong
	case status == http.StatusRequestEntityTooLarge:
		return TooLarge
	case o.adapt(r, sent):
		return Adapted
	}
	return Terminal
}

func (r refusal) quotaUsedUp() bool {
	return r.mentions("insufficient_quota", "billing_hard_limit", "exceeded your current quota")
}

// tooManyTexts and textTooLong tell the two meanings of "too much" apart: a batch over the request's limits is split, a
// text over the model's context is cut. The words are those of OpenAI, vLLM, TEI, Ollama, llama.cpp and LocalAI.
func (r refusal) tooManyTexts() bool {
	return r.mentions("batch size", "array too long", "array_above_max_length", "max_tokens_per_request", "tokens per request",
		"too many inputs", "maximum number of inputs", "input batch")
}

func (r refusal) textTooLong() bool {
	return r.mentions("maximum context length", "context length", "context_length", "maximum input length", "must have less than",
		"too many tokens", "input is too large", "too long")
}

var batchLimit = regexp.MustCompile(`(?i)maximum allowed batch size (\d+)|maximum (?:number of inputs|length|batch size)[^0-9]{0,20}(\d+)`)

// allowed is the batch size that the message names, 0 if none.
func (r refusal) allowed() int {
	for _, m := range batchLimit.FindStringSubmatch(r.message) {
		if n, err := strconv.Atoi(m); err == nil {
			return n
		}
	}
	return 0
}

// hint says what a person can do about a terminal error.
func (o *OpenAI) hint(status int, r refusal, kind Kind) string {
	switch {
	case kind != Terminal:
		return ""
	case r.quotaUsedUp() || status == http.StatusPaymentRequired:
		return "the account's quota is used up: add credit or raise its budget at the provider, nothing here needs a restart"
	case status == http.StatusUnauthorized && o.cfg.APIKey.Empty():
		return "no key was sent: set OPENAI_API_KEY"
	case status == http.StatusUnauthorized:
		return "the key was refused: put a valid one into OPENAI_API_KEY (on ECS: into the secret it is read from, then start new tasks)"
	case status == http.StatusForbidden:
		return "the key is valid but not allowed to do this: check its permissions and the project's access to " + o.cfg.Model
	case status == http.StatusNotFound && r.mentions("model", "deployment"):
		return fmt.Sprintf("unknown model %q: set EMBEDDING_MODEL to one that the server at OPENAI_BASE_URL offers", o.cfg.Model)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status < 400:
		return "nothing answers embeddings requests there: check OPENAI_BASE_URL, it usually ends in /v1"
	case r.mentions("model_not_found", "model not found", "does not exist"):
		return fmt.Sprintf("unknown model %q: set EMBEDDING_MODEL", o.cfg.Model)
	}
	return "the request itself is refused"
}

// retryAfter reads retry-after-ms (Azure, OpenAI) and Retry-After as seconds or a date, 0 if neither is there.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		return seconds(ms / 1000)
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
		return seconds(s)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(0, t.Sub(now)), time.Hour)
	}
	return 0
}

// broken words a failure of the connection, of the answer's form or of its end.
func (o *OpenAI) broken(err error) *CallError {
	reason := "connection"
	if errors.Is(err, errSyntax) {
		reason = "bad_answer"
	}
	return &CallError{Kind: Transient, Reason: reason, Err: &scrubbed{msg: o.endpoint + ": " + o.cfg.APIKey.scrub(err.Error()), err: err}}
}

// scrubbed keeps the chain of err for errors.Is while showing only the cleaned words.
type scrubbed struct {
	msg string
	err error
}

func (s *scrubbed) Error() string        { return s.msg }
func (s *scrubbed) Is(target error) bool { return errors.Is(s.err, target) }
