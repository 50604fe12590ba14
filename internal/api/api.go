package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/taksuehiro/vectorstore/internal/filter"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/query"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// healthBody is /health.
type healthBody struct {
	Status     string  `json:"status" enum:"ok"`
	Source     string  `json:"vectorstore_source" example:"S3/current" doc:"S3/current: as found at start; rebuilt->S3/current: a later generation; S3/previous: an older one, because the current one cannot be loaded; local-cache: the store has not answered yet; none"`
	Snapshot   string  `json:"snapshot" doc:"Id of the served snapshot, empty for none"`
	Generation int64   `json:"generation"`
	Vectors    int     `json:"vectors" doc:"Records that are found by meaning"`
	Records    int     `json:"records" doc:"Records, those included whose text the embedding provider refused"`
	AgeSeconds float64 `json:"age_seconds" doc:"Since the snapshot was built"`
	Fallback   bool    `json:"fallback,omitempty" doc:"An older snapshot is served, because the current one cannot be loaded"`
}

// readyBody is /ready.
type readyBody struct {
	Ready    bool   `json:"ready"`
	Snapshot string `json:"snapshot"`
	Reason   string `json:"reason,omitempty" enum:"draining,no snapshot"`
}

// snapshotBody is /snapshot.
type snapshotBody struct {
	store.Manifest
	ManifestSHA256 string             `json:"manifest_sha256"`
	Lineage        string             `json:"lineage"`
	Generation     int64              `json:"generation"`
	PromotedAt     time.Time          `json:"promoted_at"`
	LoadedAt       time.Time          `json:"loaded_at"`
	ServedFrom     string             `json:"vectorstore_source" doc:"As in /health"`
	Fallback       bool               `json:"fallback" doc:"An older snapshot is served, because the current one cannot be loaded"`
	Refused        *follow.Refusal    `json:"refused" doc:"The desired snapshot, when it could not be taken"`
	Changes        int                `json:"changes" doc:"Records that were added, changed or removed since the base was built: rows of all deltas"`
	ServedAfter    *float64           `json:"served_after_seconds,omitempty" doc:"From the promotion of what is served to its publication here; absent for what was found at start"`
	Provider       query.BreakerState `json:"embedding_provider"`
	Swaps          []follow.Swapped   `json:"swaps" nullable:"false" doc:"Newest first"`
	LastPollAt     *time.Time         `json:"last_poll_at" doc:"Last success"`
	PollError      string             `json:"poll_error,omitempty" doc:"Of the last poll, when it failed"`
}

type facetsBody struct {
	Facets map[string][]filter.FacetCount `json:"facets"`
}

// registerAPI adds the operations and the OpenAPI document.
func (s *Server) registerAPI(mux *http.ServeMux) {
	c := huma.DefaultConfig("Vendor search", s.cfg.Version)
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.Info.Description = "Searches a catalogue of vendors by meaning and by words. Every answer carries X-Snapshot-Id, the state of the catalogue it comes from, and X-Request-Id. POST /mcp is the same for agents, by the Model Context Protocol."
	if len(s.keys) > 0 {
		c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}}
	}
	api := humago.New(mux, c)
	mux.HandleFunc("POST /search", s.handleSearch)
	mux.HandleFunc("GET /search", s.handleSearchURL)
	mux.HandleFunc("POST /search/batch", s.handleBatch)
	mux.HandleFunc("GET /vendors/{id}/similar", s.handleSimilar)
	s.documentSearch(api)
	vendor := s.operation("get-vendor", "/vendors/{id}", "One record", 401, 404, 429, 503)
	vendor.Responses = map[string]*huma.Response{"200": {
		Description: "The record as it is in the catalogue",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: recordSchema()}},
	}}
	huma.Register(api, vendor, s.vendor)
	huma.Register(api, s.operation("get-facets", "/facets", "Values of fields with their counts", 401, 422, 429, 503), s.facets)
	huma.Register(api, s.operation("get-snapshot", "/snapshot", "The served snapshot", 401, 429, 503), s.snapshot)
	s.registerProbesOn(api)
	for _, path := range []string{"/vendors/{id}", "/facets", "/snapshot"} {
		op := api.OpenAPI().Paths[path].Get
		op.Parameters = append(op.Parameters, &huma.Param{Name: "If-None-Match", In: "header", Description: "An ETag that the client has the answer to", Schema: &huma.Schema{Type: huma.TypeString}})
		op.Responses["304"] = &huma.Response{Description: "Nothing has changed"}
	}
	// What tags cannot say: a reference may be null here, and the lists of a map never are.
	schemas := api.OpenAPI().Components.Schemas.Map()
	refused := *schemas["Refusal"]
	refused.Nullable = true
	schemas["SnapshotBody"].Properties["refused"] = &refused
	for _, body := range []string{"FacetsBody", "AnswerBody", "FoundBody"} {
		if counts, ok := schemas[body].Properties["facets"].AdditionalProperties.(*huma.Schema); ok {
			counts.Nullable = false
		}
	}
}

// registerProbes adds /health and /ready to a mux of their own.
func (s *Server) registerProbes(mux *http.ServeMux) {
	c := huma.DefaultConfig("admin", s.cfg.Version)
	c.DocsPath, c.SchemasPath, c.OpenAPIPath, c.CreateHooks = "", "", "", nil
	s.registerProbesOn(humago.New(mux, c))
}

func (s *Server) registerProbesOn(api huma.API) {
	huma.Register(api, huma.Operation{OperationID: "health", Method: http.MethodGet, Path: "/health", Summary: "Liveness: 200 whenever the process can answer", Tags: []string{"operation"}},
		func(context.Context, *struct{}) (*struct{ Body healthBody }, error) {
			return &struct{ Body healthBody }{s.health()}, nil
		})
	huma.Register(api, huma.Operation{OperationID: "ready", Method: http.MethodGet, Path: "/ready", Summary: "Readiness: 200 while a snapshot is served and the server is not draining", Tags: []string{"operation"}},
		func(context.Context, *struct{}) (*readyOutput, error) {
			out := &readyOutput{Status: http.StatusOK, Body: readyBody{Ready: true, Snapshot: s.follower.ServedID()}}
			switch {
			case s.draining.Load():
				out.Status, out.Body.Ready, out.Body.Reason = http.StatusServiceUnavailable, false, "draining"
			case out.Body.Snapshot == "":
				out.Status, out.Body.Ready, out.Body.Reason = http.StatusServiceUnavailable, false, "no snapshot"
			}
			return out, nil
		})
}

type readyOutput struct {
	Status int
	Body   readyBody
}

func (s *Server) operation(id, path, summary string, errors ...int) huma.Operation {
	o := huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Errors: errors, Tags: []string{"search"}}
	if len(s.keys) > 0 {
		o.Security = []map[string][]string{{"key": {}}}
	}
	return o
}

type vendorInput struct {
	ID string `path:"id" maxLength:"1024" doc:"The vendor's id" example:"V-001"`
}

// Tagged is the header of an answer that stays the same as long as its snapshot does, or its body.
type Tagged struct {
	Snapshot     string `header:"X-Snapshot-Id"`
	ETag         string `header:"ETag" doc:"What If-None-Match takes: 304 when nothing has changed"`
	CacheControl string `header:"Cache-Control"`
}

func tag(snapshot, of string) Tagged { return Tagged{snapshot, strconv.Quote(of), "no-cache"} }

type vendorOutput struct {
	Tagged
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) vendor(_ context.Context, in *vendorInput) (*vendorOutput, error) {
	snap := s.follower.Acquire()
	if snap == nil {
		return nil, unavailable()
	}
	defer s.follower.Release(snap)
	pos, ok := snap.Find(in.ID)
	if !ok {
		return nil, huma.Error404NotFound("no vendor has this id")
	}
	raw, err := snap.Metadata(pos)
	if err != nil {
		return nil, huma.Error500InternalServerError("internal error")
	}
	// Copied: the mapped file may be closed before the answer is written.
	return &vendorOutput{tag(snap.ID(), snap.ID()), "application/json", append([]byte(nil), raw...)}, nil
}

type facetsInput struct {
	Fields []string `query:"field,explode" required:"true" minItems:"1" maxItems:"16" doc:"Dotted path; may be repeated" example:"type"`
}

type facetsOutput struct {
	Tagged
	Body facetsBody
}

func (s *Server) facets(_ context.Context, in *facetsInput) (*facetsOutput, error) {
	snap := s.follower.Acquire()
	if snap == nil {
		return nil, unavailable()
	}
	defer s.follower.Release(snap)
	out := &facetsOutput{Tagged: tag(snap.ID(), snap.ID()), Body: facetsBody{Facets: make(map[string][]filter.FacetCount)}}
	for _, f := range in.Fields {
		out.Body.Facets[f] = snap.Facets(f, query.FacetValues, nil)
	}
	return out, nil
}

// unavailable is 503 while nothing is served.
func unavailable() error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(errNoSnapshot.Error()), http.Header{"Retry-After": {"1"}})
}

type snapshotOutput struct {
	Tagged
	Body snapshotBody
}

func (s *Server) snapshot(context.Context, *struct{}) (*snapshotOutput, error) {
	st := s.follower.Status()
	if st.Served == nil {
		detail := errNoSnapshot.Error()
		if q := st.Refused; q != nil {
			detail += "; " + q.ID + " was refused: " + q.Reason
		} else if st.PollErr != "" {
			detail += "; " + st.PollErr
		}
		return nil, huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(detail), http.Header{"Retry-After": {"1"}})
	}
	out := &snapshotOutput{Body: *s.describe(st)}
	data, err := json.Marshal(out.Body)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	out.Tagged = tag(st.Served.Manifest.ID, hex.EncodeToString(sum[:16]))
	return out, nil
}

// describe fills in /snapshot; nil when nothing is served.
func (s *Server) describe(st follow.Status) *snapshotBody {
	v := st.Served
	if v == nil {
		return nil
	}
	b := &snapshotBody{
		Manifest: v.Manifest, ManifestSHA256: v.Pointer.ManifestSHA256, Lineage: v.Pointer.Lineage,
		Generation: v.Pointer.Generation, PromotedAt: v.Pointer.PromotedAt, LoadedAt: v.LoadedAt.UTC(),
		ServedFrom: st.Source, Fallback: v.Fallback, Refused: st.Refused, Changes: changes(v.Manifest), ServedAfter: servedAfter(st),
		Provider: s.searcher.Provider(), Swaps: append([]follow.Swapped{}, st.Swaps...), PollError: st.PollErr,
	}
	if !st.LastPoll.IsZero() {
		at := st.LastPoll.UTC()
		b.LastPollAt = &at
	}
	return b
}

// changes are the rows of all deltas over the base.
func changes(m store.Manifest) (rows int) {
	for _, d := range m.Deltas {
		rows += d.Rows
	}
	return rows
}

func servedAfter(st follow.Status) *float64 {
	d, ok := st.ServedAfter()
	if !ok {
		return nil
	}
	seconds := d.Round(time.Millisecond).Seconds()
	return &seconds
}

func (s *Server) health() healthBody { return healthOf(s.follower.Status()) }

func healthOf(st follow.Status) healthBody {
	b := healthBody{Status: "ok", Source: st.Source}
	if v := st.Served; v != nil {
		b.Snapshot, b.Generation, b.Fallback = v.Manifest.ID, v.Pointer.Generation, v.Fallback
		b.Vectors, b.Records = v.Vectors, v.Records
		b.AgeSeconds = max(0, time.Since(v.Manifest.CreatedAt).Round(time.Millisecond).Seconds())
	}
	return b
}

// statusBody is the admin port's /status: everything, served or not.
type statusBody struct {
	Ready         bool            `json:"ready"`
	Draining      bool            `json:"draining"`
	ReplicaID     string          `json:"replica_id"`
	Fetching      string          `json:"fetching,omitempty"`
	Desired       string          `json:"desired,omitempty"`
	MemoryLimit   int64           `json:"memory_limit_bytes"`
	MemoryUsed    int64           `json:"memory_used_bytes"`
	IndexResident int64           `json:"index_resident_bytes"`
	Health        healthBody      `json:"health"`
	Refused       *follow.Refusal `json:"refused"`
	Snapshot      *snapshotBody   `json:"snapshot"`
}

func (s *Server) handleStatus(w http.ResponseWriter, _ *http.Request) {
	st := s.follower.Status()
	b := statusBody{
		Ready: s.ready(), Draining: s.draining.Load(), ReplicaID: s.follower.ID(), Fetching: st.Fetching,
		IndexResident: s.follower.ResidentBytes(), Health: healthOf(st), Refused: st.Refused, Snapshot: s.describe(st),
	}
	b.MemoryLimit, b.MemoryUsed = s.follower.Memory()
	if st.Desired != nil {
		b.Desired = st.Desired.ID
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(b)
}

// schemaOf adds a type to the OpenAPI components and returns a reference to it.
func schemaOf[T any](api huma.API, name string) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, name)
}
