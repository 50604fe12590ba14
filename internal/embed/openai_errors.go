package embed

import (
	"bytes"
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

// refusal is an error answer, whichever of the known shapes it has.
type refusal struct {
	message, code, kind string
	wait                time.Duration // stated in the body
}

// parseRefusal understands
//
//	{"error":{"message","type","param","code"}}            OpenAI, Azure, newer vLLM, LocalAI
//	{"object":"error","message","type","param","code"}     older vLLM
//	{"error":"…"}                                          Ollama's native errors
//	{"error":"…","error_type":"…"}, {"message","code","type"}   Text Embeddings Inference
//	{"detail":"…"} or {"detail":[{"loc":[…],"msg":"…"}]}   FastAPI in front of a model, Voyage
//	[{"error":{"message","status","details":[{"@type":"…RetryInfo","retryDelay":"1s"}]}}]   Gemini
//
// and takes anything else as plain text.
func parseRefusal(body []byte) refusal {
	var top map[string]json.RawMessage
	var list []map[string]json.RawMessage
	switch {
	case json.Unmarshal(body, &top) == nil:
	case json.Unmarshal(body, &list) == nil && len(list) > 0:
		top = list[0]
	default:
		return refusal{message: string(body)}
	}
	inner := top
	var nested map[string]json.RawMessage
	if json.Unmarshal(top["error"], &nested) == nil && nested != nil {
		inner = nested
	}
	r := refusal{message: text(inner["message"]), code: text(inner["code"]), kind: text(inner["type"]), wait: statedWait(body)}
	for _, other := range []string{text(inner["status"]), text(top["error_type"])} {
		if r.kind == "" {
			r.kind = other
		}
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

// statedWait finds how long to wait in a body, by the name of a member at any depth: "retryDelay":"1.5s" (Google's
// RetryInfo), "retry_after":20, "retry_after_ms":300.
func statedWait(body []byte) time.Duration {
	var wait time.Duration
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var name string
	for {
		tok, err := d.Token()
		if err != nil {
			return wait
		}
		value := fmt.Sprint(tok)
		if _, isDelim := tok.(json.Delim); !isDelim && name != "" {
			unit := time.Second
			if strings.HasSuffix(name, "ms") {
				unit = time.Millisecond
			}
			if n, err := strconv.ParseFloat(value, 64); err == nil && n > 0 {
				wait = max(wait, seconds(n*unit.Seconds()))
			} else if dur, err := time.ParseDuration(value); err == nil && dur > 0 {
				wait = max(wait, min(dur, time.Hour))
			}
		}
		// The decoder does not tell names from values: a value that looks like such a name is followed by no number.
		switch name = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(value)); name {
		case "retrydelay", "retryafter", "retryafterms", "retryafterseconds":
		default:
			name = ""
		}
	}
}

// refused turns an error answer into what it means for the next call.
func (o *OpenAI) refused(status int, header http.Header, body []byte, sent features, texts int) *CallError {
	r := parseRefusal(body)
	said, shown := o.cfg.APIKey.scrub(r.message), status
	if inner, err := strconv.Atoi(r.code); err == nil && status == http.StatusOK && inner >= 400 && inner < 600 {
		status = inner // OpenRouter puts what it was answered into an answer of its own
	}
	ce := &CallError{Reason: "http_" + strconv.Itoa(status), Status: status, After: max(retryAfter(header, time.Now()), r.wait)}
	ce.Kind = o.kindOf(status, r, ce.After)
	if ce.Kind == Refused {
		ce.Long = r.textTooLong()
		if status < 500 && status != http.StatusRequestEntityTooLarge && o.adapt(r, sent, texts) {
			ce.Kind = Adapted
		}
	}
	if hint := o.hint(status, r, ce.Kind); hint != "" {
		said += " (" + hint + ")"
	}
	ce.Err = fmt.Errorf("%s answers %d: %s", o.endpoint, shown, said)
	return ce
}

// kindOf goes by the status, what the answer says about waiting, and codes meant for programs; never by its words.
func (o *OpenAI) kindOf(status int, r refusal, wait time.Duration) Kind {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired:
		return Terminal
	case wait == 0 && r.quotaUsedUp():
		return Terminal
	case status == http.StatusTooManyRequests, wait > 0 && status < 500:
		return Throttled
	case wait > 0:
		return Overloaded
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly:
		return Transient
	case status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusNotImplemented, status >= 300 && status < 400:
		return Terminal
	}
	return Refused
}

// quotaUsedUp reports a budget that is spent, which waiting does not refill. Only the codes say so: the words "exceeded
// your current quota" are also those of a limit per minute.
func (r refusal) quotaUsedUp() bool {
	for _, code := range []string{r.code, r.kind} {
		switch code {
		case "insufficient_quota", "billing_hard_limit_reached", "billing_not_active":
			return true
		}
	}
	return false
}

// textTooLong is only a hint that a text which was refused alone may be shorter than others are cut. The words are those
// of OpenAI, vLLM, TEI, Ollama, llama.cpp and LocalAI.
func (r refusal) textTooLong() bool {
	return r.mentions("maximum context length", "context length", "context_length", "maximum input length", "must have less than",
		"too many tokens", "input is too large", "too long")
}

// hint says what a person can do about a terminal error.
func (o *OpenAI) hint(status int, r refusal, kind Kind) string {
	switch {
	case kind != Terminal && kind != Refused:
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
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status < 400 && kind == Terminal:
		return "nothing answers embeddings requests there: check OPENAI_BASE_URL, it usually ends in /v1"
	case status == http.StatusOK:
		return "not an answer to an embeddings request: check OPENAI_BASE_URL"
	case r.mentions("model_not_found", "model not found", "does not exist"):
		return fmt.Sprintf("unknown model %q: set EMBEDDING_MODEL", o.cfg.Model)
	}
	return ""
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
	return &CallError{Kind: Transient, Reason: reason, Unreached: Unreached(err), Err: &scrubbed{msg: o.endpoint + ": " + o.cfg.APIKey.scrub(err.Error()), err: err}}
}

// scrubbed keeps the chain of err for errors.Is while showing only the cleaned words.
type scrubbed struct {
	msg string
	err error
}

func (s *scrubbed) Error() string        { return s.msg }
func (s *scrubbed) Is(target error) bool { return errors.Is(s.err, target) }
