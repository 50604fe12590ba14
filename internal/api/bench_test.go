package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/query"
)

func randomUnit(rng *rand.Rand, dims int) []float32 {
	v := make([]float32, dims)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	if err := normalise("", v); err != nil {
		panic(err)
	}
	return v
}

// vectorBodies spells one vector as float32, as the float64 that Python prints, and in base64.
func vectorBodies(dims int) map[string][]byte { return vectorBodiesOf(7, dims) }

func vectorBodiesOf(seed uint64, dims int) map[string][]byte {
	v := randomUnit(rand.New(rand.NewPCG(seed, uint64(dims))), dims)
	short, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	wide := make([]float64, dims)
	var raw []byte
	for i, f := range v {
		wide[i] = float64(f)
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
	}
	long, err := json.Marshal(wide)
	if err != nil {
		panic(err)
	}
	body := func(v string) []byte { return []byte(`{"vector":` + v + `,"k":10}`) }
	return map[string][]byte{
		"short": body(string(short)), "long": body(string(long)), "base64": body(`"` + base64.StdEncoding.EncodeToString(raw) + `"`),
	}
}

func BenchmarkParseVector(b *testing.B) {
	for _, dims := range []int{384, 1536} {
		// Many vectors: of a single one the processor learns each branch by heart.
		bodies := map[string][][]byte{}
		for seed := range uint64(256) {
			for name, body := range vectorBodiesOf(seed, dims) {
				bodies[name] = append(bodies[name], body)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(bodies)) {
			b.Run(fmt.Sprintf("%d/%s", dims, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(bodies[name][0])))
				i := 0
				for b.Loop() {
					if _, err := parseSearch(bodies[name][i%len(bodies[name])], query.Hybrid); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
		b.Run(fmt.Sprintf("%d/encodingjson", dims), func(b *testing.B) {
			b.ReportAllocs()
			body := vectorBodies(dims)["short"]
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				var q struct {
					Vector []float32
					K      int
				}
				if err := json.Unmarshal(body, &q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSearch answers whole requests without a network, on a small index: what the server adds to a search.
func BenchmarkSearch(b *testing.B) {
	w := followtest.New(b)
	p := w.Publish(followtest.Versioned(1, 50))
	r := start(b, w)
	r.serving(p.ID)
	h := r.publicHandler()
	for name, body := range map[string]string{
		"semantic": `{"query":"冷凍倉庫 7","k":10,"mode":"semantic"}`,
		"hybrid":   `{"query":"冷凍倉庫 7","k":10}`,
		"filter":   `{"query":"冷凍倉庫 7","k":10,"filter":{"version":{"gte":1}},"mode":"semantic"}`,
		"vector":   string(vectorBodies(followtest.Dims)["short"]),
		"base64":   string(vectorBodies(followtest.Dims)["base64"]),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest("POST", "/search", strings.NewReader(body))
				rec := &discard{header: http.Header{}}
				h.ServeHTTP(rec, req)
				if rec.code != 200 {
					b.Fatal(rec.code)
				}
			}
		})
	}
}

type discard struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (d *discard) Header() http.Header  { return d.header }
func (d *discard) WriteHeader(code int) { d.code = code }
func (d *discard) Write(p []byte) (int, error) {
	if d.code == 0 {
		d.code = http.StatusOK
	}
	d.body.Reset()
	return d.body.Write(p)
}
