// Package result holds what the benchmarks measured, as JSON files that one run writes and the report reads.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Machine is what the numbers depend on.
type Machine struct {
	At       time.Time         `json:"at"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   int64             `json:"memory"` // bytes
	System   string            `json:"system"`
	Versions map[string]string `json:"versions"`
	Command  string            `json:"command"`
	Note     string            `json:"note,omitempty"`
	// Load is the load average of the last minute before measuring: above 1, others were computing too.
	Load float64 `json:"load"`
}

// Samples of one figure, one per interleaved round, in order.
type Samples []float64

// Median of the samples, 0 for none.
func (s Samples) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// Spread is (max-min)/median: how noisy the figure is.
func (s Samples) Spread() float64 {
	if len(s) < 2 || s.Median() == 0 {
		return 0
	}
	return (slices.Max(s) - slices.Min(s)) / s.Median()
}

// Point of a curve: recall@10 and queries/s on one thread, in process, at one setting.
type Point struct {
	Param  int     `json:"param"` // efSearch, nprobe or expansion
	Recall float64 `json:"recall"`
	QPS    float64 `json:"qps"`
}

// Built is an index that was made and tuned.
type Built struct {
	Seconds  Samples `json:"seconds"`
	Bytes    int64   `json:"bytes"`           // of the file
	Param    int     `json:"param,omitempty"` // the smallest that reaches the target recall
	Curve    []Point `json:"curve,omitempty"`
	BatchQPS float64 `json:"batch_qps,omitempty"` // 64 queries at once on one thread
	Path     string  `json:"path"`
}

// Row is one contestant of a search contest.
type Row struct {
	System   string  `json:"system"`
	Family   string  `json:"family"` // graph, flat, ivf, floor
	Own      bool    `json:"own"`
	Build    *Built  `json:"build,omitempty"`
	Recall   float64 `json:"recall"`
	Asked    int     `json:"asked"`  // queries the recall was measured with
	Memory   int64   `json:"memory"` // PSS of the loaded server, bytes
	One      Samples `json:"one"`    // p50 in seconds, one client
	Many     Samples `json:"many"`   // answers per second, Clients clients
	CPU      Samples `json:"cpu"`    // seconds of the server's processor time per answer, Clients clients
	OpenP50  Samples `json:"open_p50,omitempty"`
	OpenP99  Samples `json:"open_p99,omitempty"`
	OpenP999 Samples `json:"open_p999,omitempty"`
	Failed   int64   `json:"failed"`
}

// Contest is one data set's table.
type Contest struct {
	Machine  Machine `json:"machine"`
	Data     string  `json:"data"`
	Clients  int     `json:"clients"`
	Rounds   int     `json:"rounds"`
	OpenRate float64 `json:"open_rate"`
	Rows     []Row   `json:"rows"`
	// ScanSplit is a flat search without HTTP, a share of the rows per core, in the same rounds: seconds.
	ScanSplit Samples `json:"scan_split"`
}

// Row returns the row of that name.
func (c Contest) Row(system string) (Row, bool) {
	for _, r := range c.Rows {
		if r.System == system {
			return r, true
		}
	}
	return Row{}, false
}

// Limits are what this machine can do without HTTP, per data set.
type Limits struct {
	Machine   Machine `json:"machine"`
	Data      string  `json:"data"`
	Bytes     int64   `json:"bytes"`      // of the vectors
	Read1     Samples `json:"read_1"`     // bytes/s, plain read, one thread
	Read2     Samples `json:"read_2"`     // bytes/s, all threads
	ScanSplit Samples `json:"scan_split"` // seconds, one query, a share of the rows per thread
	Search    Samples `json:"search"`     // seconds, the same through vecindex.Search
	Batch64   Samples `json:"batch_64"`   // queries/s, 64 at once, through vecindex.Search
	Scalar    Samples `json:"scalar"`     // seconds, one query, plain Go on one thread
}

// Codes compares 8-bit storage.
type Codes struct {
	Machine Machine    `json:"machine"`
	Data    string     `json:"data"`
	Rows    []CodesRow `json:"rows"`
}

// CodesRow is one index: in process, one query at a time on one thread.
type CodesRow struct {
	System string  `json:"system"`
	Own    bool    `json:"own"`
	Build  *Built  `json:"build"`
	Recall float64 `json:"recall"`
	QPS    Samples `json:"qps"`
	Bytes  int64   `json:"bytes"` // resident
}

// Rebuild compares building anew with carrying the last graph over.
type Rebuild struct {
	Machine Machine `json:"machine"`
	Data    string  `json:"data"`
	Kind    string  `json:"kind"`
	Full    Samples `json:"full"`  // seconds
	Reuse   Samples `json:"reuse"` // seconds, 1 % of the rows changed
	Recall  float64 `json:"recall"`
	RecallR float64 `json:"recall_reuse"`
}

// Million is the end-to-end run.
type Million struct {
	Machine       Machine `json:"machine"`
	Records       int     `json:"records"`
	Dims          int     `json:"dims"`
	SourceBytes   int64   `json:"source_bytes"`
	Seconds       float64 `json:"seconds"`      // vendors.json to promoted
	IndexerPeak   int64   `json:"indexer_peak"` // bytes
	VectorBytes   int64   `json:"vector_bytes"`
	SnapshotBytes int64   `json:"snapshot_bytes"` // what the server holds: index and documents
	ServerRSS     int64   `json:"server_rss"`
	ServerReady   float64 `json:"server_ready"` // seconds from start
	SwapSeconds   float64 `json:"swap_seconds"` // promotion seen to served
	SwapRequests  int64   `json:"swap_requests"`
	SwapFailed    int64   `json:"swap_failed"`
	SwapRate      float64 `json:"swap_rate"`
	SwapP99       float64 `json:"swap_p99"`
	SwapMax       float64 `json:"swap_max"`
	Second        float64 `json:"second"` // seconds of the rebuild with 1 % changed
	Kind          string  `json:"kind"`
}

// Replica is the start of a server with an empty disk against a plain download of the same bytes.
type Replica struct {
	Machine  Machine `json:"machine"`
	Bytes    int64   `json:"bytes"`
	Ready    Samples `json:"ready"`    // seconds from exec to /ready 200
	Download Samples `json:"download"` // seconds of download plus sha256sum
	Tool     string  `json:"tool"`
}

// Idle is a server nobody asks.
type Idle struct {
	Machine Machine            `json:"machine"`
	Seconds float64            `json:"seconds"`
	CPU     float64            `json:"cpu"` // share of one core
	Polls   float64            `json:"polls"`
	Calls   map[string]float64 `json:"calls"` // store requests by operation and code
}

// Save writes v as <dir>/<name>.json, whole or not at all.
func Save(dir, name string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Load reads what Save wrote; ok is false when there is none.
func Load[T any](dir, name string) (v T, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, false, fmt.Errorf("%s: %w", name, err)
	}
	return v, true, nil
}

// Kinds compares the kinds of index over growing catalogues, in process, one query at a time.
type Kinds struct {
	Machine Machine   `json:"machine"`
	Dims    int       `json:"dims"`
	Rows    []KindRow `json:"rows"`
}

// KindRow is one kind at one size, tuned to the target recall where it reaches it.
type KindRow struct {
	Kind    string  `json:"kind"`
	N       int     `json:"n"`
	Build   float64 `json:"build"` // seconds
	Bytes   int64   `json:"bytes"` // resident
	Param   int     `json:"param"`
	Recall  float64 `json:"recall"`
	Latency float64 `json:"latency"` // seconds, median
}
