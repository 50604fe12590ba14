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
	unfinished verdict = iota // nothing unusual so far
	plain                     // to be answered here
	framed                    // for net/http; where the request ends is known
	other                     // for net/http, with whatever follows
)

// judgement on a head.
type judgement struct {
	verdict verdict
	head    int   // its length
	body    int64 // that of the body after it
	post    bool
}

var headEnd = []byte("\r\n\r\n")

// judge decides on the head at the start of in. line is the request line of what is answered here, with its CRLF.
func judge(in, line []byte, limit int64) judgement {
	first := bytes.Index(in, headEnd[:2])
	if first < 0 {
		first = len(in)
	}
	ours := bytes.Equal(in[:min(len(in), len(line))], line[:min(len(in), len(line))])
	if first < len(in) && !ours && !usualLine(in[:first]) {
		return judgement{verdict: other}
	}
	end := bytes.Index(in, headEnd)
	if end < 0 {
		if oddBreak(in) {
			return judgement{verdict: other} // net/http may see the end of a head in it
		}
		return judgement{}
	}
	j := judgement{verdict: framed, head: end + len(headEnd), post: bytes.HasPrefix(in, []byte("POST "))}
	hosts, lengths := 0, 0
	for rest := in[first+2 : j.head-2]; len(rest) > 0; {
		i := bytes.Index(rest, headEnd[:2])
		name, value, ok := splitField(rest[:i])
		if !ok {
			return judgement{verdict: other}
		}
		switch kindOf(name) {
		case fieldHost:
			hosts++
			ok = plainHost(value)
		case fieldLength:
			lengths++
			j.body, ok = plainLength(value)
		case fieldConnection:
			ok = equalFold(value, "keep-alive")
		case fieldForbidden:
			ok = false
		}
		if !ok || lengths > 1 {
			return judgement{verdict: other}
		}
		rest = rest[i+2:]
	}
	if ours && hosts == 1 && lengths == 1 && j.body >= 1 && j.body <= limit {
		j.verdict = plain
	}
	return j
}

// usualLine tells whether a request line is METHOD /target HTTP/1.1, of a method whose requests end where their head
// says.
func usualLine(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	for _, c := range method {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(method) > 0 && string(method) != "CONNECT" && len(target) > 0 && target[0] == '/' && string(version) == "HTTP/1.1"
}

// oddBreak tells whether there is a line feed without a return.
func oddBreak(in []byte) bool {
	for i, c := range in {
		if c == '\n' && (i == 0 || in[i-1] != '\r') {
			return true
		}
	}
	return false
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
