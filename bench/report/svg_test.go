package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestChartsAreWellFormedAndInsideTheirFrame(t *testing.T) {
	for name, c := range map[string]Chart{
		"no data":                    {Title: "a < b & c"},
		"one point":                  {Lines: []Line{{Name: "x", Points: [][2]float64{{5, 5}}}}},
		"logarithmic":                {LogX: true, LogY: true, Lines: []Line{{Name: "x", Own: true, Points: [][2]float64{{1, 0.001}, {1e6, 1000}}}}},
		"zero on a logarithmic axis": {LogY: true, Lines: []Line{{Name: "x", Points: [][2]float64{{0, 0}, {1, 10}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			svg := c.SVG()
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("a coordinate is not a number:\n%s", svg)
			}
			d := xml.NewDecoder(strings.NewReader(svg))
			for {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v:\n%s", err, svg)
				}
			}
		})
	}
}

func TestTicksLieInTheRange(t *testing.T) {
	for _, a := range []axis{{lo: 0.9, hi: 1}, {lo: 0, hi: 12345}, {log: true, lo: 0.03, hi: 4000}} {
		ticks := a.ticks()
		if len(ticks) < 3 || len(ticks) > 20 {
			t.Errorf("%d ticks for %+v", len(ticks), a)
		}
		for _, v := range ticks {
			if v < a.lo-1e-9 || v > a.hi+1e-9 {
				t.Errorf("tick %g outside %+v", v, a)
			}
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{0.985: "0.985", 5: "5", 20000: "20k", 2e6: "2 M", 0.0001: "0.0001"} {
		if got := number(v); got != want {
			t.Errorf("%g is written %q, want %q", v, got, want)
		}
	}
}
