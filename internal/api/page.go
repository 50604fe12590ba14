package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/view"
)

//go:embed assets
var assets embed.FS

// pageCSP lets the page load what this server gives it and nothing else.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Limits of the page.
const (
	pageK       = 10       // results at first
	pageForm    = 64 << 10 // of a form sent by POST
	shownValues = 6        // of a filter before "more"
	shownSwaps  = 8
)

// page renders the page for people.
type page struct {
	html    *template.Template
	version string // of the assets, so that caches never mix two
	match   language.Matcher
}

func newPage() (*page, error) {
	p := &page{}
	var err error
	p.html, err = template.New("page.html").Funcs(template.FuncMap{"mark": func(text string, m *marker) template.HTML { return m.html(text) }}).ParseFS(assets, "assets/*.html")
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, name := range []string{"page.css", "page.js"} {
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return nil, err
		}
		h.Write(data)
	}
	p.version = hex.EncodeToString(h.Sum(nil)[:6])
	var tags []language.Tag
	for _, l := range languages() {
		tags = append(tags, language.Make(l))
	}
	p.match = language.NewMatcher(tags)
	return p, nil
}

// language of an answer: what the visitor chose, else the browser's.
func (p *page) language(r *http.Request, chosen string) string {
	if slices.Contains(languages(), chosen) {
		return chosen
	}
	_, i := language.MatchStrings(p.match, r.Header.Get("Accept-Language"))
	return languages()[i]
}

// The data of page.html.
type (
	pageData struct {
		T                    pageText
		Lang, Version, Query string
		Asked, NeedsKey      bool
		Languages            []langLink
		Modes, Counts        []choice
		Facets               []facetView
		Chosen               int
		Found                []string // conditions found in the question
		Ignored              bool     // conditions are not looked for
		Before, Next         string   // offsets; "" for none
		ClearURL, Summary    string
		Terms                *marker
		Hits                 []hitView
		Problem              *problemView
		Panel                panelData
	}
	langLink struct {
		Code, Name, URL string
		Current         bool
	}
	choice struct {
		Name, Value, Hint string
		Checked           bool
	}
	facetView struct {
		Label        string
		Values, More []facetValue
	}
	facetValue struct {
		Name, Value string
		Count       int
		Checked     bool
	}
	hitView struct {
		ID, Name, Description, URL, Score, Similarity string
		Scored, FirstBeyond                           bool
		Chips                                         []string
		Fields                                        []field
	}
	problemView struct{ Title, Detail string }
)

// pageQuery is what the visitor asked.
type pageQuery struct {
	text, mode, key string
	k, offset       int
	auto            bool
	chosen          map[string][]string // by path
}

// handlePage is GET / and, when keys are required, POST /.
func (s *Server) handlePage(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	r.Body = http.MaxBytesReader(w, r.Body, pageForm)
	err := r.ParseForm()
	lang := s.page.language(r, r.Form.Get("lang"))
	d := pageData{T: textOf(lang), Lang: lang, Version: s.page.version, NeedsKey: len(s.keys) > 0}
	q := pageQueryOf(r.Form, s.cfg.DefaultMode)
	d.Query, d.Terms = q.text, newMarker(q.text)
	d.Asked = strings.TrimSpace(q.text) != "" || len(q.chosen) > 0
	d.choices(r.Form, q)
	d.Panel = s.panel(lang)

	code := http.StatusOK
	if err != nil {
		code, _, _ = failure(r.Context(), &bodyError{err})
	}
	snap := s.follower.Acquire()
	if snap != nil {
		defer s.follower.Release(snap)
		w.Header().Set(headerSnapshot, snap.ID())
	}
	if err == nil {
		code, err = s.fillPage(w, r, &d, snap, q, start)
	}
	if err != nil {
		d.Problem = &problemView{d.T.ProblemTitle, d.T.problem(code)}
	}
	s.renderPage(w, code, "page.html", lang, d)
}

// fillPage adds filters and results. The status is that of the search.
func (s *Server) fillPage(w http.ResponseWriter, r *http.Request, d *pageData, snap *follow.Snapshot, q pageQuery, start time.Time) (int, error) {
	if s.limit != nil && (d.Asked || q.key != "") {
		if ok, wait := s.limit.allow(clientOf(r, s.cfg.TrustedProxies)); !ok {
			w.Header().Set("Retry-After", strconv.Itoa(wait))
			return http.StatusTooManyRequests, query.ErrBusy
		}
	}
	if d.NeedsKey && !s.keys.accepts(q.key) {
		if !d.Asked && q.key == "" {
			return http.StatusOK, nil
		}
		return http.StatusUnauthorized, errNoSnapshot
	}
	if snap == nil {
		return http.StatusServiceUnavailable, errNoSnapshot
	}
	d.facets(snap, q)
	found, err := s.pageAnswer(r.Context(), snap, q)
	if err == nil {
		err = d.results(snap, q, found, start)
	}
	if err != nil {
		code, _, _ := failure(r.Context(), err)
		if code == statusGone {
			return code, err
		}
		s.log.Warn("page search failed", append([]any{"status", code, "error", err}, ids(w, r)...)...)
		return code, err
	}
	return http.StatusOK, nil
}

// pageAnswer runs the search; without one the catalogue is shown from its beginning.
func (s *Server) pageAnswer(ctx context.Context, snap *follow.Snapshot, q pageQuery) (query.Answer, error) {
	raw, err := json.Marshal(q.chosen)
	if err != nil {
		return query.Answer{}, err
	}
	conditions, err := filter.Parse(raw)
	if err != nil {
		return query.Answer{}, wrong("filter", "%v", err)
	}
	sq := query.Query{Text: strings.TrimSpace(q.text), K: q.k, Offset: q.offset, Mode: q.mode, AutoFilter: q.auto}
	if len(q.chosen) > 0 || sq.Text == "" {
		sq.Filter = &conditions
	}
	if len([]rune(sq.Text)) > maxQuery {
		return query.Answer{}, wrong("query", "has more than %d characters", maxQuery)
	}
	return s.searcher.Search(ctx, snap.View, sq)
}

// pageQueryOf reads the form; what is not understood falls back to the default.
func pageQueryOf(f url.Values, defaultMode string) pageQuery {
	q := pageQuery{text: f.Get("q"), mode: f.Get("mode"), key: f.Get("key"), k: pageK, auto: f.Get("auto") != "0", chosen: map[string][]string{}}
	if !query.KnownMode(q.mode) {
		q.mode = defaultMode
	}
	if k, err := strconv.Atoi(f.Get("k")); err == nil && k >= 1 && k <= maxK {
		q.k = k
	}
	if n, err := strconv.Atoi(f.Get("offset")); err == nil && n >= 1 && n <= query.MaxOffset {
		q.offset = n
	}
	for name, values := range f {
		if p, ok := strings.CutPrefix(name, "f."); ok && p != "" {
			q.chosen[p] = values
		}
	}
	return q
}

// choices fills in the form's own controls.
func (d *pageData) choices(f url.Values, q pageQuery) {
	for _, l := range languages() {
		u := url.Values{}
		for k, v := range f {
			if k != "key" {
				u[k] = v
			}
		}
		u.Set("lang", l)
		name := map[string]string{"ja": "日本語", "en": "English"}[l]
		d.Languages = append(d.Languages, langLink{l, name, "/?" + u.Encode(), l == d.Lang})
	}
	for _, m := range []choice{
		{d.T.Hybrid, query.Hybrid, d.T.HybridHint, false}, {d.T.Semantic, query.Semantic, d.T.SemanticHint, false}, {d.T.Lexical, query.Lexical, d.T.LexicalHint, false},
	} {
		m.Checked = m.Value == q.mode
		d.Modes = append(d.Modes, m)
	}
	counts := []int{5, 10, 20, 50}
	if !slices.Contains(counts, q.k) {
		counts = append(counts, q.k)
		slices.Sort(counts)
	}
	for _, n := range counts {
		d.Counts = append(d.Counts, choice{Value: strconv.Itoa(n), Checked: n == q.k})
	}
	d.ClearURL = "/?" + url.Values{"lang": {d.Lang}, "q": {q.text}, "mode": {q.mode}}.Encode()
	for _, v := range q.chosen {
		d.Chosen += len(v)
	}
}

// facets offers the filters; chosen values that are no longer in the catalogue stay visible.
func (d *pageData) facets(snap *follow.Snapshot, q pageQuery) {
	for _, p := range snap.Fields() {
		v := facetView{Label: label(d.Lang, p)}
		left := slices.Clone(q.chosen[p])
		add := func(value string, count int) {
			f := facetValue{"f." + p, value, count, slices.Contains(q.chosen[p], value)}
			if len(v.Values) < shownValues || f.Checked {
				v.Values = append(v.Values, f)
			} else {
				v.More = append(v.More, f)
			}
			left = slices.DeleteFunc(left, func(l string) bool { return l == value })
		}
		for _, c := range snap.Facets(p, view.FieldValues, nil) {
			if text, ok := c.Value.(string); ok && text != "" {
				add(text, c.Count)
			}
		}
		for _, gone := range left {
			add(gone, 0)
		}
		d.Facets = append(d.Facets, v)
	}
}

// results lays out the hits.
func (d *pageData) results(snap *follow.Snapshot, q pageQuery, a query.Answer, start time.Time) error {
	hits := a.Hits
	took := strconv.FormatFloat(float64(time.Since(start).Microseconds())/1000, 'f', 1, 64)
	switch {
	case !d.Asked:
		d.Summary = fmt.Sprintf(d.T.Browse, snap.Len())
	case len(q.chosen) > 0:
		d.Summary = fmt.Sprintf(d.T.FoundFiltered, a.Total, q.offset+1, q.offset+len(hits), took)
	default:
		d.Summary = fmt.Sprintf(d.T.Found, a.Total, q.offset+1, q.offset+len(hits), took)
	}
	for _, c := range a.Found {
		d.Found = append(d.Found, fmt.Sprintf(d.T.Condition, label(d.Lang, c.Path), c.Words, c.Count))
	}
	if q.offset > 0 {
		d.Before = strconv.Itoa(max(0, q.offset-q.k))
	}
	if next := q.offset + q.k; next < a.Total && next <= query.MaxOffset && len(hits) == q.k {
		d.Next = strconv.Itoa(next)
	}
	d.Ignored = !q.auto
	beyond := false
	scored := strings.TrimSpace(q.text) != ""
	for _, h := range hits {
		doc, err := snap.Doc(h.Pos)
		if err != nil {
			return err
		}
		v := hitView{
			ID: doc.ID, Name: doc.Name, URL: "/vendors/" + url.PathEscape(doc.ID), Scored: scored,
			Score: strconv.FormatFloat(float64(h.Score), 'f', 3, 32), Fields: fieldsOf(doc.Metadata),
			Chips: chips(snap.Fields(), doc.Metadata),
		}
		v.FirstBeyond, beyond = h.Beyond && !beyond, beyond || h.Beyond
		v.Description = strings.TrimSpace(strings.TrimPrefix(doc.Text, doc.Name))
		if h.HasSimilarity {
			v.Similarity = strconv.FormatFloat(float64(h.Similarity), 'f', 3, 32)
		}
		d.Hits = append(d.Hits, v)
	}
	return nil
}

// chips are the record's values of the fields that can be filtered by.
func chips(paths []string, raw []byte) []string {
	var out []string
	s := jsonread.Over(raw)
	_ = s.Strings(func(p, v string) {
		if len(out) < 10 && v != "" && slices.Contains(paths, p) && !slices.Contains(out, v) {
			out = append(out, v)
		}
	})
	return out
}

// problem is a status in words.
func (t pageText) problem(code int) string {
	switch code {
	case http.StatusServiceUnavailable:
		return t.Unavailable
	case http.StatusTooManyRequests:
		return t.TooMany
	case http.StatusBadGateway:
		return t.Provider
	case http.StatusGatewayTimeout:
		return t.Timeout
	case http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		return t.Invalid
	case http.StatusUnauthorized:
		return t.Unauthorized
	}
	return t.Internal
}

// renderPage renders whole, so that a failing template is not half an answer.
func (s *Server) renderPage(w http.ResponseWriter, code int, name, lang string, data any) {
	var b bytes.Buffer
	if err := s.page.html.ExecuteTemplate(&b, name, data); err != nil {
		s.log.Error("page not rendered", "error", err)
		problem(w, http.StatusInternalServerError, "internal error")
		return
	}
	secure(w, pageCSP)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Add("Vary", "Accept-Language")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}

// handleAsset serves the page's files. Their addresses carry a version, so they may be kept for good.
func (s *Server) handleAsset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	kind, ok := kinds[path.Ext(name)]
	data, err := assets.ReadFile("assets/" + name)
	if err != nil || !ok {
		s.notFound(w, r)
		return
	}
	secure(w, pageCSP)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(data)
}
