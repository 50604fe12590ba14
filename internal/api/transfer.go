package api

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
)

// minPacked is how long an answer is, at least, that is sent gzipped to whoever takes it.
const minPacked = 1 << 10

// packers lends gzip writers. There are a few, of almost a MiB each: whoever finds none waits for one that computes, and
// none is kept while a client takes its time.
type packers chan *gzip.Writer

func newPackers(n int) packers {
	p := make(packers, n)
	for range n {
		p <- nil // made when it is wanted
	}
	return p
}

// pack appends data to b, gzipped.
func (p packers) pack(b *bytes.Buffer, data []byte) error {
	w := <-p
	defer func() { p <- w }()
	if w == nil {
		w, _ = gzip.NewWriterLevel(b, gzip.BestSpeed) // a level that there is
	}
	w.Reset(b)
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

// transfer sends an answer as the request wants it: gzipped, or not at all when the client has it already. Answers are
// written in one piece; of others the pieces go out as they are.
type transfer struct {
	http.ResponseWriter
	packers packers
	gzip    bool   // the client takes it
	known   string // its If-None-Match
	status  int    // waits for the first piece, which decides on the header; 0 for 200
	begun   bool
	dropped bool // 304: what is written is not sent
}

// transferOf wraps w where the request asks for something, which most searches don't; nil elsewhere.
func (s *Server) transferOf(w http.ResponseWriter, r *http.Request) *transfer {
	known, gzip := "", r.Method != http.MethodHead && takesGzip(r.Header)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		known = r.Header.Get("If-None-Match")
		w.Header().Add("Vary", "Accept-Encoding")
	}
	if !gzip && known == "" {
		return nil
	}
	return &transfer{ResponseWriter: w, packers: s.packers, gzip: gzip, known: known}
}

// Unwrap is for http.ResponseController.
func (t *transfer) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (t *transfer) WriteHeader(status int) { t.status = cmp.Or(t.status, status) }

// begin sends the header.
func (t *transfer) begin(status int) {
	if !t.begun {
		t.begun = true
		t.ResponseWriter.WriteHeader(status)
	}
}

// end is called when the handler is done: an answer may have no body.
func (t *transfer) end() {
	if t.status != 0 {
		t.begin(t.status)
	}
}

// Write implements http.ResponseWriter.
func (t *transfer) Write(data []byte) (int, error) {
	status, h := cmp.Or(t.status, http.StatusOK), t.Header()
	tag := h.Get("ETag")
	switch {
	case t.dropped:
		return len(data), nil
	case t.begun:
		return t.ResponseWriter.Write(data)
	case status == http.StatusOK && tag != "" && matches(t.known, tag):
		t.dropped = true
		h.Del("Content-Type")
		h.Del("Content-Length")
		t.begin(http.StatusNotModified)
		return len(data), nil
	case !t.gzip || len(data) < minPacked || h.Get("Content-Encoding") != "" || !packable(h.Get("Content-Type")):
		t.begin(status)
		return t.ResponseWriter.Write(data)
	}
	packed := buffers.Get().(*bytes.Buffer)
	defer putBuffer(packed)
	if err := t.packers.pack(packed, data); err != nil {
		return 0, err
	}
	if strings.HasPrefix(tag, `"`) {
		h.Set("ETag", "W/"+tag) // the bytes are others than those that are not gzipped
	}
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Length", strconv.Itoa(packed.Len()))
	t.begin(status)
	_, err := t.ResponseWriter.Write(packed.Bytes())
	return len(data), err
}

// packable tells whether what is of a type gets shorter.
func packable(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "yaml") || kind == "image/svg+xml"
}

// takesGzip reads Accept-Encoding (RFC 9110, 12.5.3).
func takesGzip(h http.Header) bool {
	takes := false
	for _, value := range h["Accept-Encoding"] {
		for item := range strings.SplitSeq(value, ",") {
			coding, params, _ := strings.Cut(item, ";")
			name, q, _ := strings.Cut(strings.ToLower(strings.TrimSpace(params)), "=")
			weight, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			wanted := strings.TrimSpace(name) != "q" || err == nil && weight > 0
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				return wanted
			case "*":
				takes = wanted
			}
		}
	}
	return takes
}

// matches tells whether If-None-Match names a tag, by weak comparison (RFC 9110, 13.1.2).
func matches(known, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for item := range strings.SplitSeq(known, ",") {
		if item = strings.TrimSpace(item); item == "*" || strings.TrimPrefix(item, "W/") == tag {
			return true
		}
	}
	return false
}
