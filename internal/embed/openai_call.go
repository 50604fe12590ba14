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
	o.caps.succeeded()
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
	res, err := x.o.http.Do(req)
	if err != nil {
		x.err = x.o.broken(err)
		return nil, errExchanged
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
		x.err = x.o.refused(res.StatusCode, res.Header, body, x.sent)
		return nil, errExchanged
	}
	if x.err = x.read(res.Body); x.err != nil {
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

// read takes the answer apart. Vectors of an answer that breaks off are kept, as each names its text. An answer that is
// complete but has another number of vectors is not trusted at all: the server may have numbered the rest anew.
func (x *exchange) read(body io.Reader) error {
	d := newAnswerDecoder(&limitedReader{r: body, left: x.bodyLimit()}, x.o.cfg.Dims)
	seen := make([]bool, x.want)
	n, confused := 0, false
	a, err := d.decode(func(index int, vec []float32, size int) error {
		if index < 0 {
			index = n
		}
		if n++; index >= x.want || seen[index] {
			confused = true
			return nil
		}
		seen[index] = true
		x.put(index, vec, size)
		return nil
	})
	x.receipt.Tokens = a.tokens
	switch {
	case confused || err == nil && n != x.want:
		return &CallError{Kind: Transient, Reason: "wrong_count", Distrust: true,
			Err: fmt.Errorf("%s: %d vectors for %d texts, or two for one text", x.o.endpoint, n, x.want)}
	case err != nil:
		ce := x.o.broken(fmt.Errorf("read answer after %d of %d vectors: %w", n, x.want, err))
		ce.Distrust = errors.Is(err, errSyntax) || errors.Is(err, errAnswerTooLong)
		return ce
	}
	return nil
}

// limitedReader is io.LimitReader with an error of its own: a cut off answer must not look like a broken connection.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
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
