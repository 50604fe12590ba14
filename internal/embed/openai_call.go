package embed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/taksuehiro/vectorstore/internal/tracing"
)

const maxErrorBody = 64 << 10

// call is one request. go-openai makes it (URL, Azure's paths, headers, body) and would also read the answer, through
// encoding/json into strings and slices, at some 100 µs a vector; so its HTTP client is an exchange, which streams the
// answer into put and gives go-openai an empty one to read.
func (o *OpenAI) call(ctx context.Context, texts []string, put Put) (Receipt, error) {
	x := &exchange{o: o, want: len(texts), put: put, sent: o.caps.current()}
	req := openai.EmbeddingRequestStrings{Input: texts, Model: openai.EmbeddingModel(o.cfg.Model), EncodingFormat: openai.EmbeddingEncodingFormatFloat}
	if x.sent.base64 {
		req.EncodingFormat = openai.EmbeddingEncodingFormatBase64
	}
	if x.sent.dimensions {
		req.Dimensions = o.cfg.Dims
	}
	_, err := o.client(x).CreateEmbeddings(ctx, req)
	switch {
	case x.err != nil: // what really happened
		return x.receipt, x.err
	case err != nil:
		return x.receipt, o.broken(err)
	}
	o.succeeded(x.sent)
	return x.receipt, nil
}

// exchange is the HTTP client of one call.
type exchange struct {
	o    *OpenAI
	want int // vectors
	put  Put
	sent features

	receipt Receipt
	err     error
}

var (
	errAnswerTooLong = errors.New("answer too long")
	errExchanged     = errors.New("answer already taken")
)

// Do sends req and consumes its answer.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	tracing.Header(req.Context(), req.Header)
	res, err := x.o.http.Do(req)
	if err != nil {
		x.err = x.o.broken(err)
		return nil, errExchanged
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
		x.err = x.o.refused(res.StatusCode, res.Header, body, x.sent, x.want)
		return nil, errExchanged
	}
	if x.err = x.read(res); x.err != nil {
		return nil, errExchanged
	}
	x.receipt.Quotas = quotas(res.Header, x.receipt.Tokens)
	res.Body = io.NopCloser(bytes.NewReader([]byte("{}")))
	return res, nil
}

// bodyLimit bounds an answer: a number takes at most 24 bytes as text (5.4 as base64), an entry 1 kB beside its vector.
func (x *exchange) bodyLimit() int64 {
	return 64<<10 + int64(x.want)*(1024+24*int64(x.o.cfg.Dims))
}

// read takes the answer apart. What counts is the vectors: when each text has one, nothing else in the answer can spoil
// it. Vectors of an answer that breaks off are kept, as each names its text.
func (x *exchange) read(res *http.Response) error {
	body := &limitedReader{r: res.Body, left: x.bodyLimit()}
	d := newAnswerDecoder(body, x.o.cfg.Dims)
	place := placing{seen: make([]bool, x.want)}
	a, err := d.decode(func(index int, vec []float32, size int) error {
		if i, ok := place.of(index); ok {
			x.put(i, vec, size)
		}
		return nil
	})
	x.receipt.Tokens = a.tokens
	switch {
	case place.confused: // texts alone cannot be confused
		return &CallError{Kind: Unusable, Reason: "wrong_count", Distrust: true,
			Err: fmt.Errorf("%s: %d vectors for %d texts, or two for one text", x.o.endpoint, place.entries, x.want)}
	case place.entries == x.want:
		return nil
	case place.entries == 0 && (err == nil || errors.Is(err, errSyntax)):
		ce := x.o.refused(res.StatusCode, res.Header, body.head, x.sent, x.want)
		if err == nil && a.list {
			ce.Reason = reasonEmpty
		}
		return ce
	case err == nil:
		return &CallError{Kind: Transient, Reason: "wrong_count", Doubt: !place.gap(),
			Err: fmt.Errorf("%s: %d vectors for %d texts", x.o.endpoint, place.entries, x.want)}
	}
	ce := x.o.broken(fmt.Errorf("read answer after %d of %d vectors: %w", place.entries, x.want, err))
	ce.Distrust = errors.Is(err, errSyntax) || errors.Is(err, errAnswerTooLong)
	return ce
}

// placing gives each entry of an answer its text: by its index, or by its place where servers give none, or 0 to all.
type placing struct {
	seen     []bool
	entries  int
	last     int  // the highest text that has a vector
	byPlace  bool // indexes say nothing
	confused bool // more vectors than texts, or two for one text
}

func (p *placing) of(index int) (text int, ok bool) {
	if p.byPlace = p.byPlace || index < 0 || len(p.seen) == 1 || index == 0 && p.entries == 1 && p.seen[0]; p.byPlace {
		index = p.entries
	}
	if p.entries++; index >= len(p.seen) || p.seen[index] {
		p.confused = true
		return 0, false
	}
	p.seen[index], p.last = true, max(p.last, index)
	return index, true
}

// gap tells whether the indexes leave out a text before one that is there: then they are those of the texts.
func (p *placing) gap() bool { return p.last >= p.entries }

// limitedReader is io.LimitReader with an error of its own: a cut off answer must not look like a broken connection. It
// keeps the beginning, for the words of an answer that turns out to hold no vectors.
type limitedReader struct {
	r    io.Reader
	left int64
	head []byte
}

const headBytes = 8 << 10

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if room := headBytes - len(l.head); room > 0 {
		l.head = append(l.head, p[:min(n, room)]...)
	}
	return n, err
}

// quotas reads OpenAI's x-ratelimit-* headers for requests and tokens; tokens is what this call took.
func quotas(h http.Header, tokens int) []Quota {
	var all []Quota
	for _, kind := range [2]string{"Requests", "Tokens"} {
		limit, err1 := strconv.ParseFloat(h.Get("X-Ratelimit-Limit-"+kind), 64)
		remaining, err2 := strconv.ParseFloat(h.Get("X-Ratelimit-Remaining-"+kind), 64)
		reset, err3 := resetTime(h.Get("X-Ratelimit-Reset-" + kind))
		if err1 != nil || err2 != nil || err3 != nil || limit <= 0 {
			continue
		}
		q := Quota{Limit: limit, Remaining: remaining, Reset: reset, Cost: 1}
		if kind == "Tokens" {
			q.Cost = float64(tokens)
		}
		all = append(all, q)
	}
	return all
}

// resetTime reads "6m0s", "120ms" and, as some servers send, plain seconds.
func resetTime(v string) (time.Duration, error) {
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
		return seconds(s), nil
	}
	return time.ParseDuration(v)
}
