package report

import (
	"strings"

	"github.com/taksuehiro/vectorstore/bench/result"
)

// namedChart is a picture with the section that shows it.
type namedChart struct {
	section, file string
	chart         Chart
}

func pictures(p *page, charts []namedChart, section string) {
	for _, c := range charts {
		if c.section == section {
			p.say("![%s](img/%s)\n", c.chart.Title, c.file)
		}
	}
}

func (f Found) charts() []namedChart {
	var out []namedChart
	for i, c := range f.Contests {
		chart := Chart{Title: c.Data + ": recall and speed, in process, one thread", X: "recall@10", Y: "1 / median time of a query", LogY: true}
		for _, r := range c.Rows {
			if r.Build == nil || len(r.Build.Curve) < 2 || has(chart.Lines, short(r)) {
				continue
			}
			l := Line{Name: short(r), Own: r.Own}
			for _, pt := range r.Build.Curve {
				if pt.Recall >= 0.9 {
					l.Points = append(l.Points, [2]float64{pt.Recall, pt.QPS})
				}
			}
			chart.Lines = append(chart.Lines, l)
		}
		out = append(out, namedChart{"search-" + c.Data, "bench-recall-" + Sets[i%len(Sets)] + ".svg", chart})
	}
	if k := f.Kinds; k != nil {
		for _, c := range []struct {
			file, title, y string
			value          func(result.KindRow) float64
		}{
			{"bench-kinds-latency.svg", "One query at recall@10 ≥ 0.99", "ms", func(r result.KindRow) float64 { return 1000 * r.Latency }},
			{"bench-kinds-build.svg", "Build", "seconds", func(r result.KindRow) float64 { return r.Build }},
			{"bench-kinds-memory.svg", "Memory", "MB", func(r result.KindRow) float64 { return float64(r.Bytes) / 1e6 }},
		} {
			out = append(out, namedChart{"kinds", c.file, kindsChart(k, c.title, c.y, c.value)})
		}
	}
	return out
}

func kindsChart(k *result.Kinds, title, y string, value func(result.KindRow) float64) Chart {
	c := Chart{Title: title + ", 384 dimensions", X: "vectors", Y: y, LogX: true, LogY: true}
	at := map[string]int{}
	for _, r := range k.Rows {
		i, ok := at[r.Kind]
		if !ok {
			i = len(c.Lines)
			at[r.Kind] = i
			c.Lines = append(c.Lines, Line{Name: r.Kind, Own: r.Kind == "hnsw" || r.Kind == "flat"})
		}
		c.Lines[i].Points = append(c.Lines[i].Points, [2]float64{float64(r.N), value(r)})
	}
	return c
}

// short names a row's library without what serves it.
func short(r result.Row) string {
	name, _, _ := strings.Cut(r.System, ",")
	return name
}

func has(lines []Line, name string) bool {
	for _, l := range lines {
		if l.Name == name {
			return true
		}
	}
	return false
}
