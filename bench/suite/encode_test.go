package suite

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

var vector = []float32{0.1, -0.25, 1e-7, 3.4028235e38}

func TestBothBodiesCarryTheSameBits(t *testing.T) {
	var plain struct {
		Vector []float32
		K      int
	}
	if err := json.Unmarshal(jsonBody(vector), &plain); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(plain.Vector, vector) || plain.K != 10 {
		t.Errorf("JSON carries %v, k %d", plain.Vector, plain.K)
	}
	var packed struct {
		Vector string
		K      int
	}
	if err := json.Unmarshal(base64Body(vector), &packed); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(packed.Vector)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 4*len(vector) || packed.K != 10 {
		t.Fatalf("base64 carries %d bytes, k %d", len(raw), packed.K)
	}
	for i, want := range vector {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])); got != want {
			t.Errorf("component %d is %g, want %g", i, got, want)
		}
	}
}

func TestPositionsReadNumbersAndStrings(t *testing.T) {
	for body, want := range map[string][]int{
		`{"results":[{"id":7,"score":1},{"id":0}]}`: {7, 0},
		`{"results":[{"id":"12","metadata":{}}]}`:   {12},
		`{"results":[]}`: {},
	} {
		got, err := positions([]byte(body))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", body, got, err, want)
		}
	}
	for _, body := range []string{`{"results":[{"id":"V-1"}]}`, `not JSON`, `{"results":[{}]}`} {
		if got, err := positions([]byte(body)); err == nil {
			t.Errorf("%s: %v, want an error", body, got)
		}
	}
}

func TestCountersKeepLabelsApart(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("# HELP a b\na{op=\"get\",code=\"304\"} 12\na{op=\"put\",code=\"200\"} 3\nb 1.5e+06\n"))
	}))
	defer srv.Close()
	got, err := counters(t.Context(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got[`a{op="get",code="304"}`] != 12 || got[`a{op="put",code="200"}`] != 3 || got["b"] != 1.5e6 || len(got) != 3 {
		t.Errorf("read %v", got)
	}
}
