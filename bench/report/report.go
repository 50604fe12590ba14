package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/bench/result"
)

// Found is everything that was measured; what is missing has no section.
type Found struct {
	Contests []result.Contest
	Limits   []result.Limits
	Codes    []result.Codes
	Rebuild  *result.Rebuild
	Kinds    *result.Kinds
	Million  *result.Million
	Replica  *result.Replica
	Idle     *result.Idle
}

// Sets are the names of the data sets that results are kept under.
var Sets = []string{"tall", "wide"}

// Read loads the results of a run.
func Read(dir string) (Found, error) {
	var f Found
	for _, set := range Sets {
		if err := add(&f.Contests, dir, "contest-"+set); err != nil {
			return f, err
		}
		if err := add(&f.Limits, dir, "limits-"+set); err != nil {
			return f, err
		}
		if err := add(&f.Codes, dir, "codes-"+set); err != nil {
			return f, err
		}
	}
	for _, one := range []func() error{
		func() error { return set(&f.Rebuild, dir, "rebuild") },
		func() error { return set(&f.Kinds, dir, "kinds") },
		func() error { return set(&f.Million, dir, "million") },
		func() error { return set(&f.Replica, dir, "replica") },
		func() error { return set(&f.Idle, dir, "idle") },
	} {
		if err := one(); err != nil {
			return f, err
		}
	}
	return f, nil
}

func add[T any](to *[]T, dir, name string) error {
	v, ok, err := result.Load[T](dir, name)
	if ok && err == nil {
		*to = append(*to, v)
	}
	return err
}

func set[T any](to **T, dir, name string) error {
	v, ok, err := result.Load[T](dir, name)
	if ok && err == nil {
		*to = &v
	}
	return err
}

// Write writes <docs>/BENCHMARKS.md and <docs>/img/bench-*.svg.
func Write(f Found, docs string) error {
	img := filepath.Join(docs, "img")
	if err := os.MkdirAll(img, 0o755); err != nil {
		return err
	}
	charts := f.charts()
	for _, c := range charts {
		if err := os.WriteFile(filepath.Join(img, c.file), []byte(c.chart.SVG()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(docs, "BENCHMARKS.md"), []byte(f.markdown(charts)), 0o644)
}

// page builds Markdown.
type page struct{ strings.Builder }

func (p *page) say(format string, a ...any) { fmt.Fprintf(p, format+"\n", a...) }

// table writes a header, its alignment (numbers to the right) and rows.
func (p *page) table(header []string, rows [][]string) {
	p.say("| %s |", strings.Join(header, " | "))
	p.say("|---%s|", strings.Repeat("|---:", len(header)-1))
	for _, r := range rows {
		p.say("| %s |", strings.Join(r, " | "))
	}
	p.say("")
}

func (f Found) markdown(charts []namedChart) string {
	var p page
	p.say("# Benchmarks\n")
	p.say("Written by `make bench`; do not edit. Only ratios inside one table are worth comparing: the machine is shared and noisy.\n")
	if m, ok := f.newest(); ok && m.Note != "" {
		p.say("%s\n", m.Note)
	}
	f.targets(&p)
	f.method(&p)
	for _, c := range f.Contests {
		contest(&p, c)
		pictures(&p, charts, "search-"+c.Data)
	}
	f.limits(&p)
	f.codes(&p)
	f.builds(&p)
	pictures(&p, charts, "kinds")
	f.million(&p)
	f.replica(&p)
	f.machine(&p)
	f.loads(&p)
	return p.String()
}

func (f Found) method(p *page) {
	p.say("## How it is measured\n")
	p.say("- Data: unit vectors in clusters of a space of rank 48 plus noise in all dimensions, deterministic; queries are held out; exact neighbours come from plain Go.")
	p.say("- Every approximate system is tuned with its own library to the smallest beam that reaches recall@10 ≥ 0.99; the load generator takes the recall shown again, over HTTP.")
	p.say("- All servers run at once on this machine and are measured in turn, round after round; shown are medians of the rounds. The load generator shares the cores.")
	p.say("- p50: one client over one kept-alive connection. q/s: %d clients, each sending its next request at the last answer. Bodies are serialised beforehand; JSON numbers are the shortest that give the float32 back.", clients(f))
	p.say("- Open loop: requests are due on a fixed schedule and latency counts from when a request was due, so that a stall shows in all that it held up.")
	p.say("- Our answers carry the whole record of every hit; the peers answer with ids and scores only. The AVX2 rows preload this project's AVX2 kernels into Debian's library, as a wheel compiled for AVX2 would run.")
	p.say("- CPU per answer: processor time of all the server's processes during the q/s measurement, divided by the answers. Unlike the other columns it hardly depends on what else runs on the machine.")
	p.say("- Memory: resident after all queries were asked once, pages shared by workers counted once.\n")
}

func clients(f Found) int {
	if len(f.Contests) == 0 {
		return 16
	}
	return f.Contests[0].Clients
}

func contest(p *page, c result.Contest) {
	p.say("## Search over HTTP, %s, k = 10\n", c.Data)
	var rows [][]string
	for _, r := range c.Rows {
		name := r.System
		if r.Own {
			name = "**" + name + "**"
		}
		build, param := "–", ""
		if r.Build != nil {
			build = seconds(r.Build.Seconds.Median())
			if r.Build.Param > 0 {
				param = fmt.Sprintf(" (%d)", r.Build.Param)
			}
		}
		recall := "–"
		if r.Recall > 0 {
			recall = fmt.Sprintf("%.3f%s", r.Recall, param)
		}
		open := "–"
		if len(r.OpenP50) > 0 {
			open = fmt.Sprintf("%.2f / %.2f / %.2f", 1000*r.OpenP50.Median(), 1000*r.OpenP99.Median(), 1000*r.OpenP999.Median())
		}
		rows = append(rows, []string{name, recall, ms(r.One.Median()), count(r.Many.Median()), count(1e6 * r.CPU.Median()), open, build, megabytes(r.Memory), fmt.Sprint(r.Failed)})
	}
	if len(c.ScanSplit) > 0 {
		rows = append(rows, []string{"limit: scan split over all cores, in process", "1.000", ms(c.ScanSplit.Median()), "–", "–", "–", "–", "–", "–"})
	}
	p.table([]string{"system", "recall@10 (beam)", "1 client p50, ms", fmt.Sprintf("%d clients q/s", c.Clients), "server's CPU per answer, µs",
		fmt.Sprintf("open loop %.0f/s: p50 / p99 / p99.9, ms", c.OpenRate), "build, s", "memory, MB", "failed"}, rows)
}

func (f Found) limits(p *page) {
	if len(f.Limits) == 0 {
		return
	}
	p.say("## What the machine can do, in process\n")
	p.say("Flat, inner product. Reads: the fastest of fifteen in each round. One query at a time: the median of fifteen queries. All are medians of the rounds. A split scan gives every thread its share of the rows, and looks at their 8-bit codes as our searches do. These are bursts: on a shared machine a search that goes on for seconds is slower, so the limit in the tables above is measured like the servers there.\n")
	var rows [][]string
	for _, l := range f.Limits {
		rows = append(rows, []string{
			l.Data, fmt.Sprintf("%.1f / %.1f", l.Read1.Median()/1e9, l.Read2.Median()/1e9), ms(l.ScanSplit.Median()),
			ms(l.Search.Median()), count(l.Batch64.Median()), ms(l.Scalar.Median()), fmt.Sprintf("%.1f", float64(l.Bytes)/l.ScanSplit.Median()/1e9),
		})
	}
	p.table([]string{"data", "plain read, 1 / all threads, GB/s", "split scan, ms", "vecindex.Search, ms", "64 queries at once, q/s", "plain Go, 1 thread, ms", "split scan, GB/s"}, rows)
	rows = nil
	for _, c := range f.Contests {
		for _, r := range c.Rows {
			if r.Family == "flat" && r.Build != nil && len(r.Build.Curve) == 1 && !r.Own {
				rows = append(rows, []string{c.Data, r.System, count(r.Build.Curve[0].QPS), count(r.Build.BatchQPS)})
			}
		}
	}
	if len(rows) > 0 {
		p.say("The same scans by the peers without HTTP, on one thread:\n")
		p.table([]string{"data", "system", "one query at a time, q/s", "64 at once, q/s"}, rows)
	}
}

func (f Found) codes(p *page) {
	if len(f.Codes) == 0 {
		return
	}
	p.say("## 8-bit storage, in process, one query at a time\n")
	for _, c := range f.Codes {
		p.say("%s:\n", c.Data)
		var rows [][]string
		for _, r := range c.Rows {
			rows = append(rows, []string{bold(r.System, r.Own), fmt.Sprintf("%.3f (%d)", r.Recall, r.Build.Param), count(r.QPS.Median()), megabytes(r.Bytes), seconds(r.Build.Seconds.Median())})
		}
		p.table([]string{"index", "recall@10 (beam)", "q/s", "MB", "build, s"}, rows)
	}
}

func (f Found) builds(p *page) {
	if r := f.Rebuild; r != nil {
		p.say("## Rebuilding with 1 %% of the rows changed, %s, %s\n", r.Data, r.Kind)
		p.table([]string{"", "s", "recall@10"}, [][]string{
			{"full build", seconds(r.Full.Median()), fmt.Sprintf("%.3f", r.Recall)},
			{"carrying the last graph over", seconds(r.Reuse.Median()), fmt.Sprintf("%.3f", r.RecallR)},
		})
	}
	if f.Kinds == nil {
		return
	}
	p.say("## Kinds of index over size, %d dimensions\n", f.Kinds.Dims)
	p.say("In process, one query at a time, tuned to recall@10 ≥ 0.99 where the kind reaches it. `auto` chooses from these curves.\n")
	var rows [][]string
	for _, r := range f.Kinds.Rows {
		rows = append(rows, []string{fmt.Sprintf("%s, %s", number(float64(r.N)), r.Kind), fmt.Sprintf("%.3f", r.Recall), ms(r.Latency), seconds(r.Build), megabytes(r.Bytes)})
	}
	p.table([]string{"vectors, kind", "recall@10", "query, ms", "build, s", "memory, MB"}, rows)
}

func (f Found) million(p *page) {
	m := f.Million
	if m == nil {
		return
	}
	p.say("## %s records end to end, local embedder, %d dimensions\n", number(float64(m.Records)), m.Dims)
	p.table([]string{"", "measured"}, [][]string{
		{fmt.Sprintf("vendors.json (%s MB) to promoted, %s", megabytes(m.SourceBytes), m.Kind), seconds(m.Seconds) + " s"},
		{"the next snapshot, 1 % of the records edited, server under load", seconds(m.Second) + " s"},
		{fmt.Sprintf("indexer's peak memory; vectors are %s MB", megabytes(m.VectorBytes)), fmt.Sprintf("%s MB (%.2fx)", megabytes(m.IndexerPeak), ratio(float64(m.IndexerPeak), float64(m.VectorBytes)))},
		{fmt.Sprintf("server's memory; index and documents on disk are %s MB", megabytes(m.SnapshotBytes)), fmt.Sprintf("%s MB (%.2fx)", megabytes(m.ServerRSS), ratio(float64(m.ServerRSS), float64(m.SnapshotBytes)))},
		{"server start to ready", seconds(m.ServerReady) + " s"},
		{"promotion to served", seconds(m.SwapSeconds) + " s"},
		{"requests during rebuild and swap (4 clients), failed", fmt.Sprintf("%s, **%d**", count(float64(m.SwapRequests)), m.SwapFailed)},
		{"their p99 and longest", ms(m.SwapP99) + " ms, " + ms(m.SwapMax) + " ms"},
	})
}

func (f Found) replica(p *page) {
	if r := f.Replica; r != nil {
		p.say("## A replica's start, %s MB snapshot in an S3 server on the loopback\n", megabytes(r.Bytes))
		p.table([]string{"", "s"}, [][]string{
			{"server from exec to ready, empty disk", fmt.Sprintf("%.2f", r.Ready.Median())},
			{r.Tool, fmt.Sprintf("%.2f", r.Download.Median())},
		})
	}
	if i := f.Idle; i != nil {
		var calls []string
		for name, n := range i.Calls {
			calls = append(calls, fmt.Sprintf("%.0f x %s", n, name))
		}
		slices.Sort(calls)
		p.say("Nobody asking, %.0f s: %.2f %% of one core, %.0f polls, store requests `%s`.\n", i.Seconds, 100*i.CPU, i.Polls, strings.Join(calls, ", "))
	}
}

func (f Found) machine(p *page) {
	m, ok := f.newest()
	if !ok {
		return
	}
	p.say("## Machine and versions\n")
	p.say("%s, %d cores, %d GB, %s. `%s`, finished %s.", m.CPU, m.Cores, m.Memory>>30, m.System, m.Command, m.At.Format("2006-01-02 15:04 MST"))
	p.say("")
	var rows [][]string
	for name, v := range m.Versions {
		rows = append(rows, []string{name, v})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	p.table([]string{"", "version"}, rows)
}

// loads says how busy the machine was when each section was measured.
func (f Found) loads(p *page) {
	var rows [][]string
	row := func(name string, m result.Machine) {
		rows = append(rows, []string{name, m.At.Format("2006-01-02 15:04 MST"), fmt.Sprintf("%.1f", m.Load)})
	}
	for _, c := range f.Contests {
		row("search, "+c.Data, c.Machine)
	}
	for _, l := range f.Limits {
		row("limits, "+l.Data, l.Machine)
	}
	for _, c := range f.Codes {
		row("8-bit storage, "+c.Data, c.Machine)
	}
	if f.Rebuild != nil {
		row("rebuild", f.Rebuild.Machine)
	}
	if f.Kinds != nil {
		row("kinds", f.Kinds.Machine)
	}
	if f.Million != nil {
		row("end to end", f.Million.Machine)
	}
	if f.Replica != nil {
		row("replica", f.Replica.Machine)
	}
	if f.Idle != nil {
		row("idle", f.Idle.Machine)
	}
	p.say("Load average before each part; what exceeds the part's own work was other people's and made the absolute numbers worse:\n")
	p.table([]string{"part", "when", "load"}, rows)
}

// newest machine description of all results.
func (f Found) newest() (best result.Machine, ok bool) {
	take := func(m result.Machine) {
		if !ok || m.At.After(best.At) {
			best, ok = m, true
		}
	}
	for _, c := range f.Contests {
		take(c.Machine)
	}
	for _, l := range f.Limits {
		take(l.Machine)
	}
	for _, c := range f.Codes {
		take(c.Machine)
	}
	if f.Million != nil {
		take(f.Million.Machine)
	}
	if f.Replica != nil {
		take(f.Replica.Machine)
	}
	return best, ok
}

func bold(s string, yes bool) string {
	if yes {
		return "**" + s + "**"
	}
	return s
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func ms(s float64) string {
	switch v := 1000 * s; {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func seconds(s float64) string {
	if s >= 10 {
		return fmt.Sprintf("%.0f", s)
	}
	return fmt.Sprintf("%.2f", s)
}

func megabytes(n int64) string { return count(float64(n) / 1e6) }

// count writes whole numbers with separators: 12,400.
func count(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
