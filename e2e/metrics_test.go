package e2e

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// promised are the series that dashboards and alerts rely on; a series is checked up to its labels' values.
var promised = map[string][]string{
	"both": {
		`store_requests_total{code="`, `store_request_duration_seconds_bucket{op="`, `build_info{commit="`,
	},
	"indexer": {
		`reconcile_total{result="promoted"} 1`, `reconcile_duration_seconds_count`, `reconcile_last_success_timestamp_seconds `,
		`leader 1`, `source_records 92`, `embeddings_total{origin="reused"}`, `embeddings_total{origin="computed"} 92`,
		`embedding_tokens_total `, `embedding_retries_total 0`, `snapshot_vectors 92`, `snapshot_bytes `, `promotions_total{result="`,
		`gate_held 0`, `snapshots_retained `, `replicas{state="current"}`, `replicas{state="behind"}`,
	},
	"server": {
		`snapshot_info{generation="1",id="`, `snapshot_created_timestamp_seconds `, `pointer_last_poll_success_timestamp_seconds `,
		`pointer_polls_total{result="unchanged"}`, `pointer_polls_total{result="changed"}`, `pointer_polls_total{result="error"} 0`,
		`swaps_total{result="`, `swap_duration_seconds_count{phase="download"}`, `swap_duration_seconds_count{phase="verify"}`,
		`swap_duration_seconds_count{phase="open"}`, `swap_duration_seconds_count{phase="warm"}`, `search_requests_total{code="200"} 1`,
		`search_duration_seconds_count{stage="embed"}`, `search_duration_seconds_count{stage="index"}`, `search_duration_seconds_count{stage="total"}`,
		`search_in_flight 0`, `query_embedding_cache_total{result="`, `index_resident_bytes `, `search_degraded_total 0`,
		`search_slow_total 0`, `search_empty_total{reason="none"} 0`, `search_empty_total{reason="unfit"} `,
	},
}

func TestMetricsAreThereAndWellFormed(t *testing.T) {
	t.Parallel()
	b := dirBackend(t)
	b.put(t, b.layout.Source, sample(t))
	ix := harness.StartIndexer(t, b.env)
	b.awaitPointer(t, "a snapshot", func(store.Pointer) bool { return true })
	s := harness.StartServer(t, b.env)
	s.Await(t, "server ready", 1)
	if _, err := harness.Search(s.URL, `{"query":"物流"}`); err != nil {
		t.Fatal(err)
	}
	for name, admin := range map[string]string{"indexer": ix.Admin, "server": s.Admin} {
		harness.Eventually(t, name+"'s metrics", func() error {
			body := harness.Get(t, admin+"/metrics").Body
			for _, series := range append(promised["both"], promised[name]...) {
				if !bytes.Contains(body, []byte("\nvectorstore_"+series)) {
					return missing(series)
				}
			}
			return nil
		})
		problems, err := promlint.New(bytes.NewReader(harness.Get(t, admin+"/metrics").Body)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

type missing string

func (m missing) Error() string { return "no series " + string(m) }
