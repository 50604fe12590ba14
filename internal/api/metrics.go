package api

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of requests; all names begin with vectorstore_.
type metrics struct {
	requests *prometheus.CounterVec
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, c Config) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		requests: auto.NewCounterVec(prometheus.CounterOpts{Name: "vectorstore_search_requests_total", Help: "Answers of searches: /search, /search/batch, similar vendors and the search tools of /mcp."}, []string{"code"}),
		inFlight: auto.NewGauge(prometheus.GaugeOpts{Name: "vectorstore_search_in_flight", Help: "Searches being answered."}),
	}
	for _, code := range []string{"200", "401", "413", "415", "422", "429", "499", "500", "502", "503", "504"} {
		m.requests.WithLabelValues(code)
	}
	auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vectorstore_build_info", Help: "What is running, always 1.",
	}, []string{"version", "commit", "faiss"}).WithLabelValues(c.Version, c.Commit, c.FAISS).Set(1)
	return m
}
