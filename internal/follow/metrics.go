package follow

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// metrics of following; all names begin with vectorstore_.
type metrics struct {
	snapshotInfo    *prometheus.GaugeVec
	snapshotCreated prometheus.Gauge
	lastPoll        prometheus.Gauge
	polls           *prometheus.CounterVec
	swaps           *prometheus.CounterVec
	swapSeconds     *prometheus.HistogramVec
	lag             prometheus.Gauge
	resident        prometheus.Gauge

	native atomic.Int64 // bytes of the indexes that are open
	phases phases
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

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "vectorstore_" + name, Help: help})
	}
	m := &metrics{
		snapshotInfo: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vectorstore_snapshot_info", Help: "The snapshot being served, always 1.",
		}, []string{"id", "generation", "model"}),
		snapshotCreated: gauge("snapshot_created_timestamp_seconds", "When the served snapshot was built."),
		lastPoll:        gauge("pointer_last_poll_success_timestamp_seconds", "When the pointer was last read."),
		polls:           auto.NewCounterVec(prometheus.CounterOpts{Name: "vectorstore_pointer_polls_total", Help: "Polls of the pointer."}, []string{"result"}),
		swaps:           auto.NewCounterVec(prometheus.CounterOpts{Name: "vectorstore_swaps_total", Help: "Attempts to serve another snapshot."}, []string{"result"}),
		swapSeconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vectorstore_swap_duration_seconds", Help: "Time of each phase of a swap.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10), // 1 ms … 262 s
		}, []string{"phase"}),
		lag:      gauge("served_lag_seconds", "From the promotion of the served snapshot to its publication here; 0 for what was found at start."),
		resident: gauge("index_resident_bytes", "Resident bytes of the opened indexes, the one being retired included."),
	}
	for _, result := range []string{pollUnchanged, pollChanged, pollError} {
		m.polls.WithLabelValues(result)
	}
	for _, result := range []string{swapOK, swapFailed, swapRefused} {
		m.swaps.WithLabelValues(result)
	}
	for _, phase := range []string{phaseDownload, phaseVerify, phaseOpen, phaseWarm} {
		m.swapSeconds.WithLabelValues(phase)
	}
	return m
}

// served records which snapshot is published.
func (m *metrics) served(p store.Pointer) {
	m.snapshotInfo.Reset()
	m.snapshotInfo.WithLabelValues(p.ID, strconv.FormatInt(p.Generation, 10), p.Spec.Embedding.Model).Set(1)
	m.snapshotCreated.Set(float64(p.CreatedAt.UnixNano()) / 1e9)
}

// opened and closed count the memory of an index; closed comes after its Close.
func (m *metrics) opened(bytes int64) { m.resident.Set(float64(m.native.Add(bytes))) }
func (m *metrics) closed(bytes int64) { m.opened(-bytes) }

func (m *metrics) residentBytes() int64 { return m.native.Load() }

func (m *metrics) phase(name string, since time.Time) {
	m.swapSeconds.WithLabelValues(name).Observe(time.Since(since).Seconds())
	m.phases.add(name, since)
}
