package front

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// answer is the http.ResponseWriter of one connection: it gathers an answer and writes it in one piece.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	head   bytes.Buffer
}

func (a *answer) reset() {
	if a.header == nil {
		a.header = make(http.Header)
	}
	clear(a.header)
	a.status = 0
	for _, b := range []*bytes.Buffer{&a.body, &a.head} {
		if b.Reset(); b.Cap() > keepBuffer {
			*b = bytes.Buffer{}
		}
	}
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter; the first call counts.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// bytes is the whole answer, valid until reset. The body's length is what was written, whatever the handler said; its type is guessed where the handler did not, as by net/http.
func (a *answer) bytes(keep bool) []byte {
	a.WriteHeader(http.StatusOK)
	if _, typed := a.header["Content-Type"]; !typed && a.body.Len() > 0 && a.header.Get("Content-Encoding") == "" {
		a.header.Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
	b := a.head.AvailableBuffer()
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	if text := http.StatusText(a.status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(a.status), 10)
	}
	b = append(b, "\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(a.body.Len()), 10)
	b = append(b, "\r\n"...)
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	a.head.Write(b)
	_ = a.header.WriteSubset(&a.head, ours) // a buffer takes everything
	a.head.WriteString("\r\n")
	a.head.Write(a.body.Bytes())
	return a.head.Bytes()
}

// ours are the headers that bytes writes itself.
var ours = map[string]bool{"Date": true, "Content-Length": true, "Connection": true}
