package embedtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// Tokens is what the stand-in counts for a text: a token for every four bytes of ASCII, and one for every other rune.
func Tokens(text string) int {
	ascii, other := 0, 0
	for _, r := range text {
		if r < utf8.RuneSelf {
			ascii++
		} else {
			other++
		}
	}
	return max(1, (ascii+3)/4+other)
}

// problem is an error answer in OpenAI's shape.
type problem struct {
	status              int
	kind, code, message string
}

func (s *Server) fail(w http.ResponseWriter, p problem) {
	body := s.opts.Compat.shape(p)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(body)
}

// throttle refuses by the limit, saying for how long if Limit.After says so.
func (s *Server) throttle(w http.ResponseWriter, wait time.Duration) {
	s.mu.Lock()
	s.stats.Throttled++
	s.limitHeaders(w.Header(), time.Now())
	s.mu.Unlock()
	s.opts.Limit.After.set(w.Header(), wait)
	s.fail(w, problem{429, "requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."})
}

// answer sends the vectors, spoilt as the fault says.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *request, f fault) {
	rows := s.rows(r.Context(), req)
	order, bad := f.spoil(s, req, rows)
	body := encode(req, rows, order)
	s.mu.Lock()
	s.limitHeaders(w.Header(), time.Now())
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	intact := func(i int) bool { return !bad(i) }
	switch f.name {
	case "half":
		s.half(w, req, body)
	case "drip":
		s.drip(w, r, req, body.Bytes())
	default:
		// Counted before it is written: a client that has its answer must find it in the counts.
		s.delivered(req.texts, intact)
		_, _ = w.Write(body.Bytes())
	}
}

func (s *Server) rows(ctx context.Context, req *request) [][]float32 {
	rows := make([][]float32, len(req.texts))
	for i, t := range req.texts {
		rows[i] = make([]float32, req.dims)
		s.vector(ctx, t, rows[i])
	}
	return rows
}

// half promises a whole answer and breaks off in the middle.
func (s *Server) half(w http.ResponseWriter, req *request, body *bytes.Buffer) {
	sent := body.Bytes()[:body.Len()/2]
	whole := bytes.Count(sent, []byte("}")) // one closing brace an entry
	s.delivered(req.texts, func(i int) bool { return i < whole })
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	_, _ = w.Write(sent)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// drip sends in small pieces over DripFor. The texts count as lost when the client does not wait for all of them.
func (s *Server) drip(w http.ResponseWriter, r *http.Request, req *request, body []byte) {
	const pieces = 20
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	size := len(body)/pieces + 1
	for sent := 0; sent < len(body); {
		end := min(sent+size, len(body))
		if !sleep(r.Context(), s.opts.Faults.DripFor/pieces) {
			s.lost(len(req.texts), 0)
			return
		}
		if end == len(body) {
			s.delivered(req.texts, func(int) bool { return true })
		}
		_, _ = w.Write(body[sent:end])
		_ = http.NewResponseController(w).Flush()
		sent = end
	}
}

func encode(req *request, rows [][]float32, order []int) *bytes.Buffer {
	var b bytes.Buffer
	b.WriteString(`{"object":"list","data":[`)
	for k, i := range order {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"object":"embedding","index":%d,"embedding":`, i)
		if req.EncodingFormat == "base64" {
			writeBase64(&b, rows[i])
		} else {
			writeNumbers(&b, rows[i])
		}
		b.WriteByte('}')
	}
	model, _ := json.Marshal(req.Model)
	fmt.Fprintf(&b, `],"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`, model, req.total, req.total)
	return &b
}

func writeBase64(b *bytes.Buffer, row []float32) {
	raw := make([]byte, 0, 4*len(row))
	for _, v := range row {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	b.WriteByte('"')
	b.Write(base64.StdEncoding.AppendEncode(b.AvailableBuffer(), raw))
	b.WriteByte('"')
}

// writeNumbers writes NaN as NaN, as Python's json module does.
func writeNumbers(b *bytes.Buffer, row []float32) {
	b.WriteByte('[')
	for i, v := range row {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(strconv.AppendFloat(b.AvailableBuffer(), float64(v), 'g', -1, 32))
	}
	b.WriteByte(']')
}

func identity(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

func none(int) bool { return false }

func shuffled(rng *rand.Rand, n int) []int {
	order := identity(n)
	rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}
