package serve

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// metrics of the server; all names begin with vectorstore_.
type metrics struct {
	snapshotInfo    *prometheus.GaugeVec
	snapshotCreated prometheus.Gauge
	lastPoll        prometheus.Gauge
	polls           *prometheus.CounterVec
	swaps           *prometheus.CounterVec
	swapSeconds     *prometheus.HistogramVec
	requests        *prometheus.CounterVec
	searchSeconds   *prometheus.HistogramVec
	inFlight        prometheus.Gauge
	embedCache      *prometheus.CounterVec
	resident        prometheus.Gauge

	native atomic.Int64 // bytes of the indexes that are open

	// Observed on every request, so looked up once.
	embedSeconds, indexSeconds, totalSeconds prometheus.Observer
	embedHit, embedMiss                      prometheus.Counter
}

// Results of a poll and a swap, as labels.
const (
	pollUnchanged = "unchanged"
	pollChanged   = "changed"
	pollError     = "error"
	swapOK        = "ok"
	swapFailed    = "failed"
	swapRefused   = "refused"
)

func newMetrics(reg prometheus.Registerer, b Build) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vectorstore_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vectorstore_" + name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		reg.MustRegister(c)
		return c
	}
	histograms := func(name, help, label string, buckets []float64, values ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vectorstore_" + name, Help: help, Buckets: buckets}, []string{label})
		for _, v := range values {
			h.WithLabelValues(v)
		}
		reg.MustRegister(h)
		return h
	}
	m := &metrics{
		snapshotInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vectorstore_snapshot_info", Help: "The snapshot being served, always 1.",
		}, []string{"id", "generation", "model"}),
		snapshotCreated: gauge("snapshot_created_timestamp_seconds", "When the served snapshot was built."),
		lastPoll:        gauge("pointer_last_poll_success_timestamp_seconds", "When the pointer was last read."),
		polls:           counters("pointer_polls_total", "Polls of the pointer.", "result", pollUnchanged, pollChanged, pollError),
		swaps:           counters("swaps_total", "Attempts to serve another snapshot.", "result", swapOK, swapFailed, swapRefused),
		swapSeconds: histograms("swap_duration_seconds", "Time of each phase of a swap.", "phase",
			prometheus.ExponentialBuckets(0.001, 4, 10), phaseDownload, phaseVerify, phaseOpen, phaseWarm), // 1 ms … 262 s
		requests: counters("search_requests_total", "Answers of /search and /search/batch.", "code",
			"200", "401", "413", "422", "429", "500", "502", "503", "504"),
		searchSeconds: histograms("search_duration_seconds", "Time of a search by stage.", "stage",
			prometheus.ExponentialBuckets(0.0001, 2, 17), "embed", "index", "total"), // 0.1 ms … 6.6 s
		inFlight:   gauge("search_in_flight", "Searches being answered."),
		embedCache: counters("query_embedding_cache_total", "Look-ups in the cache of query embeddings.", "result", "hit", "miss"),
		resident:   gauge("index_resident_bytes", "Resident bytes of the opened indexes, the one being retired included."),
	}
	reg.MustRegister(m.snapshotInfo)
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vectorstore_build_info", Help: "What is running, always 1.",
	}, []string{"version", "commit", "faiss"})
	reg.MustRegister(info)
	info.WithLabelValues(b.Version, b.Commit, b.FAISS).Set(1)
	m.embedSeconds = m.searchSeconds.WithLabelValues("embed")
	m.indexSeconds = m.searchSeconds.WithLabelValues("index")
	m.totalSeconds = m.searchSeconds.WithLabelValues("total")
	m.embedHit = m.embedCache.WithLabelValues("hit")
	m.embedMiss = m.embedCache.WithLabelValues("miss")
	return m
}

// served records which snapshot is published.
func (m *metrics) served(p store.Pointer) {
	m.snapshotInfo.Reset()
	m.snapshotInfo.WithLabelValues(p.ID, strconv.FormatInt(p.Generation, 10), p.Spec.Embedding.Model).Set(1)
	m.snapshotCreated.Set(float64(p.CreatedAt.UnixNano()) / 1e9)
}

// opened and closed count the memory of an index; closed comes before its Close.
func (m *metrics) opened(bytes int64) { m.resident.Set(float64(m.native.Add(bytes))) }
func (m *metrics) closed(bytes int64) { m.opened(-bytes) }

func (m *metrics) residentBytes() int64 { return m.native.Load() }

func (m *metrics) phase(name string, since time.Time) {
	m.swapSeconds.WithLabelValues(name).Observe(time.Since(since).Seconds())
}
