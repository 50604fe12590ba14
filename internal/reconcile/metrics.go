package reconcile

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// Metrics of an indexer. A nil *Metrics counts nothing.
type Metrics struct {
	total       *prometheus.CounterVec
	duration    prometheus.Histogram
	lastSuccess prometheus.Gauge
	leader      prometheus.Gauge
	records     prometheus.Gauge
	repaired    *prometheus.GaugeVec
	embeddings  *prometheus.CounterVec
	tokensUsed  prometheus.Counter
	retries     prometheus.Counter
	vectors     prometheus.Gauge
	bytes       prometheus.Gauge
	promotions  *prometheus.CounterVec
	held        prometheus.Gauge
	snapshots   prometheus.Gauge
	replicas    *prometheus.GaugeVec
	deltaRows   prometheus.Gauge
	compactions *prometheus.CounterVec
	editSeconds prometheus.Histogram
}

// NewMetrics registers the indexer's metrics, every label value present from the start.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns = "vectorstore"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: name, Help: help})
	}
	m := &Metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Name: "reconcile_total", Help: "Passes by result."}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Name: "reconcile_duration_seconds", Help: "Duration of passes.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 60, 300, 900, 3600}}),
		lastSuccess: gauge("reconcile_last_success_timestamp_seconds", "When a pass last ended without a failure, by the local clock."),
		leader:      gauge("leader", "1 while this process leads."),
		records:     gauge("source_records", "Records in the catalogue as last read."),
		repaired: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Name: "source_repaired", Help: "What was put right in the catalogue as last read, by kind."}, []string{"kind"}),
		embeddings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Name: "embeddings_total", Help: "Vectors of builds by origin."}, []string{"origin"}),
		tokensUsed: counter("embedding_tokens_total", "Tokens bought from the embedding provider."),
		retries:    counter("embedding_retries_total", "Requests to the embedding provider that were sent again."),
		vectors:    gauge("snapshot_vectors", "Vectors of the promoted snapshot."),
		bytes:      gauge("snapshot_bytes", "Bytes of the promoted snapshot's files."),
		promotions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Name: "promotions_total", Help: "Attempts to move the pointer by result."}, []string{"result"}),
		held:      gauge("gate_held", "1 while a candidate is held."),
		snapshots: gauge("snapshots_retained", "Snapshots in the store when garbage was last collected."),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Name: "replicas", Help: "Live replicas by what they serve."}, []string{"state"}),
		deltaRows: gauge("delta_rows", "Records and tombstones of the promoted snapshot's deltas, 0 for a full snapshot."),
		compactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Name: "compactions_total", Help: "Bases that were made beside the passes, by what came of them."}, []string{"result"}),
		editSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Name: "edit_to_promoted_seconds", Help: "From the catalogue's last change, by the store's clock, to its promotion.",
			Buckets: []float64{.25, .5, 1, 2, 3, 5, 8, 15, 30, 60, 300, 1800}}),
	}
	for _, r := range []string{
		ResultUnchanged, ResultPromoted, ResultHeld, ResultFailed, ResultFollower, ResultSuspended, ResultPinned, ResultCollected,
	} {
		m.total.WithLabelValues(r)
	}
	for _, k := range vendors.RepairKinds {
		m.repaired.WithLabelValues(k)
	}
	for _, o := range []string{"reused", "computed"} {
		m.embeddings.WithLabelValues(o)
	}
	for _, r := range []string{"promoted", "conflict", "failed"} {
		m.promotions.WithLabelValues(r)
	}
	for _, c := range []string{compactionAdopted, compactionFailed, compactionHeld, compactionCancelled} {
		m.compactions.WithLabelValues(c)
	}
	for _, s := range []string{"current", "behind"} {
		m.replicas.WithLabelValues(s)
	}
	reg.MustRegister(m.total, m.duration, m.lastSuccess, m.leader, m.records, m.repaired, m.embeddings, m.tokensUsed, m.retries,
		m.vectors, m.bytes, m.promotions, m.held, m.snapshots, m.replicas,
		m.deltaRows, m.compactions, m.editSeconds)
	return m
}

// EmbeddingRetry counts one request that the embedding provider was sent again.
func (m *Metrics) EmbeddingRetry() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *Metrics) lead(is bool) {
	if m == nil {
		return
	}
	m.leader.Set(0)
	if is {
		m.leader.Set(1)
	}
}

func (m *Metrics) embedded(origin string, n int) {
	if m != nil {
		m.embeddings.WithLabelValues(origin).Add(float64(n))
	}
}

func (m *Metrics) tokens(n int) {
	if m != nil {
		m.tokensUsed.Add(float64(n))
	}
}

func (m *Metrics) promoted(err error) {
	if m == nil {
		return
	}
	result := "failed"
	switch {
	case err == nil:
		result = "promoted"
	case errors.Is(err, store.ErrConflict):
		result = "conflict"
	}
	m.promotions.WithLabelValues(result).Inc()
}

func (m *Metrics) retained(n int) {
	if m != nil {
		m.snapshots.Set(float64(n))
	}
}

// passed counts a finished pass.
func (m *Metrics) passed(p *pass, out Outcome, took time.Duration) {
	if m == nil {
		return
	}
	m.total.WithLabelValues(out.Result).Inc()
	m.duration.Observe(took.Seconds())
	if out.Err == nil {
		m.lastSuccess.Set(float64(p.Clock.Now().UnixMilli()) / 1e3)
	}
	switch out.Result {
	case ResultHeld:
		m.held.Set(1)
	case ResultUnchanged, ResultPromoted:
		m.held.Set(0)
	}
	if p.source.Records > 0 {
		m.records.Set(float64(p.source.Records))
	}
	if list, known := p.catalogueRepairs(); known {
		m.repaired.Reset()
		for _, k := range vendors.RepairKinds {
			m.repaired.WithLabelValues(k).Set(0)
		}
		for _, r := range list {
			m.repaired.WithLabelValues(r.Kind).Set(float64(r.Count))
		}
	}
	if p.pointer != nil {
		m.vectors.Set(float64(p.pointer.Stats.Vectors))
		m.bytes.Set(float64(p.pointer.Size()))
		m.deltaRows.Set(float64(tailRows(p.pointer.Manifest)))
	}
	for _, state := range []string{"current", "behind"} {
		m.replicas.WithLabelValues(state).Set(float64(p.states[state]))
	}
}

// compacted counts a base that was made, or was to be made, beside the passes.
func (m *Metrics) compacted(result string) {
	if m != nil {
		m.compactions.WithLabelValues(result).Inc()
	}
}

// edited notes how long a change took to be promoted.
func (m *Metrics) edited(changed, promoted time.Time) {
	if m != nil && !changed.IsZero() {
		m.editSeconds.Observe(max(0, promoted.Sub(changed).Seconds()))
	}
}
