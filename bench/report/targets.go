package report

import (
	"fmt"

	"github.com/taksuehiro/vectorstore/bench/result"
)

// target is one promise of this project with what came out.
type target struct {
	what     string
	want     string
	measured string
	met      bool
}

// targets compares what was measured with what was promised.
func (f Found) targets(p *page) {
	var all []target
	for _, c := range f.Contests {
		all = append(all, searchTargets(c)...)
		all = append(all, flatTargets(c)...)
	}
	for _, c := range f.Codes {
		all = append(all, codesTargets(c)...)
	}
	for _, c := range f.Contests {
		all = append(all, buildTargets(c)...)
	}
	all = append(all, f.lifeTargets()...)
	if len(all) == 0 {
		return
	}
	p.say("## Promises\n")
	var rows [][]string
	for _, t := range all {
		met := "yes"
		if !t.met {
			met = "**no**"
		}
		rows = append(rows, []string{t.what, t.want, t.measured, met})
	}
	p.table([]string{"what", "promised", "measured", "met"}, rows)
}

// best picks the row that better prefers among those that match.
func best(c result.Contest, match func(result.Row) bool, better func(a, b result.Row) bool) (out result.Row, ok bool) {
	for _, r := range c.Rows {
		if match(r) && (!ok || better(r, out)) {
			out, ok = r, true
		}
	}
	return out, ok
}

func faster(a, b result.Row) bool  { return a.Many.Median() > b.Many.Median() }
func quicker(a, b result.Row) bool { return a.One.Median() < b.One.Median() }

func isPeer(family string) func(result.Row) bool {
	return func(r result.Row) bool { return !r.Own && r.Family == family }
}

func atLeast(what string, got, want float64) target {
	return target{what, fmt.Sprintf("≥ %.1fx", want), fmt.Sprintf("%.2fx", got), got >= want}
}

func atMost(what string, got, want float64) target {
	digits := 2
	if got > want && got < want+0.005 {
		digits = 3 // rounded, it would look met
	}
	return target{what, fmt.Sprintf("≤ %.2fx", want), fmt.Sprintf("%.*fx", digits, got), got > 0 && got <= want}
}

func searchTargets(c result.Contest) []target {
	peer, ok1 := best(c, isPeer("graph"), faster)
	quick, ok2 := best(c, isPeer("graph"), quicker)
	own, ok3 := c.Row("vectorstore hnsw, JSON")
	compact, ok4 := c.Row("vectorstore hnsw, base64")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil
	}
	return []target{
		{c.Data + ": recall@10 of our graph", "≥ 0.99", fmt.Sprintf("%.4f", own.Recall), own.Recall >= 0.99},
		atLeast(fmt.Sprintf("%s, JSON: throughput against %s", c.Data, peer.System), own.Many.Median()/peer.Many.Median(), 1.5),
		atMost(fmt.Sprintf("%s, JSON: p50 of one client against %s", c.Data, quick.System), own.One.Median()/quick.One.Median(), 0.75),
		atLeast(fmt.Sprintf("%s, base64: throughput against %s", c.Data, peer.System), compact.Many.Median()/peer.Many.Median(), 2),
	}
}

func flatTargets(c result.Contest) []target {
	own, ok1 := c.Row("vectorstore flat, JSON")
	floor, ok2 := c.Row("floor: Go net/http + encoding/json, no search")
	peer, ok3 := c.Row("python FAISS flat + AVX2, Starlette + ujson, 2 workers")
	if !ok1 || !ok2 || !ok3 || len(c.ScanSplit) == 0 {
		return nil
	}
	limit := c.ScanSplit.Median() + floor.One.Median()
	return []target{
		atMost(c.Data+", flat: p50 of one client against split scan + HTTP floor", own.One.Median()/limit, 1.4),
		atLeast(c.Data+", flat: throughput against python FAISS flat + AVX2", own.Many.Median()/peer.Many.Median(), 5),
	}
}

func codesTargets(c result.Codes) []target {
	var peer, own, whole result.CodesRow
	for _, r := range c.Rows {
		switch {
		case r.System == DebianCodes:
			peer = r
		case r.System == WholeFloats:
			whole = r
		case r.System == OwnCodes:
			own = r
		}
	}
	if peer.Build == nil || own.Build == nil || whole.Bytes == 0 {
		return nil
	}
	return []target{
		{c.Data + ": recall@10 of " + own.System, "≥ 0.98", fmt.Sprintf("%.4f", own.Recall), own.Recall >= 0.98},
		atLeast(c.Data+", 8-bit: throughput against Debian's IVF,SQ8", own.QPS.Median()/peer.QPS.Median(), 5),
		atMost(c.Data+", 8-bit: memory against the same index of floats", float64(own.Bytes)/float64(whole.Bytes), 0.3),
	}
}

// The rows of a codes table that the promises are about: one structure, with codes and with floats.
const (
	OwnCodes    = "vectorstore ivf-sq8"
	DebianCodes = "Debian's python FAISS IVF,SQ8"
	WholeFloats = "vectorstore ivf"
)

func buildTargets(c result.Contest) []target {
	own, ok1 := c.Row("vectorstore hnsw, JSON")
	debian, ok2 := c.Row("Debian's python FAISS HNSW, FastAPI, 2 workers")
	usearch, ok3 := c.Row("usearch bf16, node cluster 2")
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	took := own.Build.Seconds.Median()
	return []target{
		atLeast(c.Data+", hnsw build: speed against Debian's python FAISS", debian.Build.Seconds.Median()/took, 3),
		atLeast(c.Data+", hnsw build: speed against usearch", usearch.Build.Seconds.Median()/took, 1),
	}
}

func (f Found) lifeTargets() []target {
	var all []target
	if r := f.Rebuild; r != nil {
		all = append(all, atMost("rebuild with 1 % changed against the full build, "+r.Kind, r.Reuse.Median()/r.Full.Median(), 0.15))
	}
	if m := f.Million; m != nil {
		n := number(float64(m.Records))
		all = append(all,
			target{n + " records, vendors.json to promoted", "≤ 15 min", fmt.Sprintf("%.1f min", m.Seconds/60), m.Seconds <= 900},
			atMost(n+" records: indexer's peak against the float vectors", float64(m.IndexerPeak)/float64(m.VectorBytes), 2.5),
			atMost(n+" records: server's memory against index + documents on disk", float64(m.ServerRSS)/float64(m.SnapshotBytes), 1.25),
			target{n + " records: failed requests during the swap", "0", fmt.Sprintf("%d of %s", m.SwapFailed, count(float64(m.SwapRequests))), m.SwapFailed == 0 && m.SwapRequests > 0},
		)
	}
	if r := f.Replica; r != nil {
		all = append(all, atMost("replica start to ready against download + sha256sum", r.Ready.Median()/r.Download.Median(), 2))
	}
	if i := f.Idle; i != nil {
		all = append(all, target{"idle server's share of a core", "< 0.5 %", fmt.Sprintf("%.2f %%", 100*i.CPU), i.CPU < 0.005})
	}
	return all
}
