// Package report turns results into docs/BENCHMARKS.md and its pictures.
package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Chart is a line chart. Axes may be logarithmic; the ranges come from the data.
type Chart struct {
	Title, X, Y string
	LogX, LogY  bool
	Lines       []Line
}

// Line is one series; Own ones are drawn thicker.
type Line struct {
	Name   string
	Own    bool
	Points [][2]float64
}

// The drawing area, in pixels.
const (
	width, height            = 820, 420
	left, right, top, bottom = 78, 270, 44, 56
)

// palette keeps its order apart for most kinds of colour vision (Okabe and Ito, 2008).
var palette = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#A0522D"}

// SVG draws the chart.
func (c Chart) SVG() string {
	x, y := axis{log: c.LogX, from: left, to: width - right}, axis{log: c.LogY, from: height - bottom, to: top}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			x.include(p[0])
			y.include(p[1])
		}
	}
	if !c.LogY {
		y.include(0)
	}
	x.settle()
	y.settle()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	text(&b, left, 24, "start", `font-size="15" font-weight="bold"`, c.Title)
	for _, v := range x.ticks() {
		at := x.place(v)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", at, top, at, height-bottom)
		text(&b, at, height-bottom+18, "middle", "", number(v))
	}
	for _, v := range y.ticks() {
		at := y.place(v)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", left, at, width-right, at)
		text(&b, left-8, at+4, "end", "", number(v))
	}
	text(&b, (left+width-right)/2, height-12, "middle", "", c.X)
	fmt.Fprintf(&b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, html.EscapeString(c.Y))
	for i, l := range c.Lines {
		draw(&b, l, palette[i%len(palette)], x, y)
		legend(&b, i, l, palette[i%len(palette)])
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func draw(b *strings.Builder, l Line, colour string, x, y axis) {
	stroke := 1.6
	if l.Own {
		stroke = 3
	}
	var path []string
	for _, p := range l.Points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.place(p[0]), y.place(p[1])))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="%g" points="%s"/>`+"\n", colour, stroke, strings.Join(path, " "))
	for _, p := range l.Points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"/>`+"\n", x.place(p[0]), y.place(p[1]), stroke+1, colour)
	}
}

func legend(b *strings.Builder, i int, l Line, colour string) {
	at := top + 12 + 20*i
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"/>`+"\n", width-right+16, at, width-right+38, at, colour)
	style := ""
	if l.Own {
		style = `font-weight="bold"`
	}
	text(b, width-right+44, float64(at)+4, "start", style, l.Name)
}

func text(b *strings.Builder, x any, y any, anchor, attributes, s string) {
	fmt.Fprintf(b, `<text x="%v" y="%v" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, attributes, html.EscapeString(s))
}

// axis maps values to pixels.
type axis struct {
	log      bool
	from, to float64 // pixels
	lo, hi   float64 // values
	any      bool
}

func (a *axis) include(v float64) {
	if a.log && v <= 0 {
		return
	}
	if !a.any {
		a.lo, a.hi, a.any = v, v, true
	}
	a.lo, a.hi = min(a.lo, v), max(a.hi, v)
}

// settle gives the range some room and a sane value when there is no data.
func (a *axis) settle() {
	switch {
	case !a.any:
		a.lo, a.hi = 1, 10
	case a.log:
		a.lo, a.hi = a.lo/1.15, a.hi*1.15
	case a.lo == a.hi:
		a.lo, a.hi = a.lo-1, a.hi+1
	default:
		room := (a.hi - a.lo) * 0.04
		if a.lo != 0 {
			a.lo -= room
		}
		a.hi += room
	}
}

func (a *axis) place(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(max(v, a.lo))
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// ticks are 1, 2 and 5 times powers of ten inside the range: all of them on a logarithmic axis, evenly spaced ones
// otherwise.
func (a *axis) ticks() []float64 {
	var out []float64
	if a.log {
		for e := math.Floor(math.Log10(a.lo)); e <= math.Log10(a.hi); e++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, e); v >= a.lo && v <= a.hi {
					out = append(out, v)
				}
			}
		}
		return out
	}
	raw := (a.hi - a.lo) / 6
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * unit
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= raw {
			step = m * unit
			break
		}
	}
	for i := math.Ceil(a.lo / step); i*step <= a.hi; i++ {
		out = append(out, i*step)
	}
	return out
}

// number without more digits than the ticks need: 20k, 0.985, 2 M.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return trim(v/1e6) + " M"
	case v >= 10_000:
		return trim(v/1000) + "k"
	default:
		return trim(v)
	}
}

func trim(v float64) string {
	s := fmt.Sprintf("%.4f", v)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
