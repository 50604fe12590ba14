package front

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// verdict on the bytes read so far.
type verdict int

const (
	unfinished verdict = iota // plain so far
	plain
	other // for net/http
)

var headEnd = []byte("\r\n\r\n")

// judge decides on the head at the start of in, and returns its length and that of the body when it is plain. line is
// the request line, with its CRLF.
func judge(in, line []byte, limit int64) (v verdict, head int, body int64) {
	if n := min(len(in), len(line)); !bytes.Equal(in[:n], line[:n]) {
		return other, 0, 0
	}
	end := bytes.Index(in, headEnd)
	if end < 0 {
		return unfinished, 0, 0
	}
	head = end + len(headEnd)
	hosts, lengths := 0, 0
	for rest := in[len(line) : head-2]; len(rest) > 0; {
		i := bytes.Index(rest, headEnd[:2])
		name, value, ok := splitField(rest[:i])
		if !ok {
			return other, 0, 0
		}
		switch kindOf(name) {
		case fieldHost:
			hosts++
			ok = plainHost(value)
		case fieldLength:
			lengths++
			body, ok = plainLength(value)
		case fieldConnection:
			ok = equalFold(value, "keep-alive")
		case fieldForbidden:
			ok = false
		}
		if !ok {
			return other, 0, 0
		}
		rest = rest[i+2:]
	}
	if hosts != 1 || lengths != 1 || body < 1 || body > limit {
		return other, 0, 0
	}
	return plain, head, body
}

// request is what http.ReadRequest makes of a head that was judged plain, without its body.
func request(head []byte, path string, length int64) *http.Request {
	text := string(head[:len(head)-2]) // header values are parts of it
	fields := strings.Count(text, "\r\n") - 1
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: path}, RequestURI: path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, fields), ContentLength: length,
	}
	values := make([]string, 0, fields)
	_, text, _ = strings.Cut(text, "\r\n")
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		name, value = textproto.CanonicalMIMEHeaderKey(name), strings.Trim(value, " ")
		if name == "Host" {
			r.Host = value
			continue
		}
		if known := r.Header[name]; known != nil {
			r.Header[name] = append(known, value)
			continue
		}
		values = append(values, value)
		r.Header[name] = values[len(values)-1 : len(values) : len(values)] // full: another value is put elsewhere
	}
	return r
}

// splitField takes a header line apart; ok is false unless it is a name of letters, digits and hyphens, a colon and a
// value without control characters.
func splitField(line []byte) (name, value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return nil, nil, false
	}
	name, value = line[:colon], bytes.Trim(line[colon+1:], " ")
	for _, c := range name {
		if !letterOrDigit(c) && c != '-' {
			return nil, nil, false
		}
	}
	for _, c := range value {
		if c < ' ' || c == 0x7f {
			return nil, nil, false
		}
	}
	return name, value, true
}

type fieldKind int

const (
	fieldAny fieldKind = iota
	fieldHost
	fieldLength
	fieldConnection
	fieldForbidden // what changes how a message or another field is read
)

func kindOf(name []byte) fieldKind {
	switch {
	case equalFold(name, "host"):
		return fieldHost
	case equalFold(name, "content-length"):
		return fieldLength
	case equalFold(name, "connection"):
		return fieldConnection
	}
	for _, forbidden := range []string{"transfer-encoding", "expect", "upgrade", "trailer", "te", "pragma", "proxy-connection", "keep-alive", "http2-settings"} {
		if equalFold(name, forbidden) {
			return fieldForbidden
		}
	}
	return fieldAny
}

// equalFold compares with a lower-case ASCII text.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// plainHost is a name or address with or without a port.
func plainHost(v []byte) bool {
	for _, c := range v {
		if !letterOrDigit(c) && c != '.' && c != '-' && c != '_' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return len(v) > 0
}

func plainLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 10 || v[0] == '+' || v[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
