// Package vendorstest writes fictional catalogues of any size: for tests, benchmarks and trying things out. The same
// Options give the same bytes on every machine.
package vendorstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// Options say which catalogue to write.
type Options struct {
	N    int    // records before Drop
	Seed uint64 // another seed, another catalogue

	// Rev is the revision of the catalogue, from 1 (0 means 1). Each revision after the first edits a share Changed
	// of the records, chosen by seed, record and revision; edits of earlier revisions stay. An edit changes the
	// description, the score and the status, never the id or the name.
	Rev     int
	Changed float64 // 0..1

	Drop  float64 // 0..1: the share of records left out, the same ones in every revision
	Array bool    // a bare array instead of {"vendors": [...]}
}

// Write streams the catalogue to w, one record a line.
func Write(w io.Writer, o Options) error {
	if o.N < 0 || !(o.Changed >= 0 && o.Changed <= 1) || !(o.Drop >= 0 && o.Drop <= 1) {
		return fmt.Errorf("vendorstest: n %d, changed %v, drop %v: want n >= 0 and shares in 0..1", o.N, o.Changed, o.Drop)
	}
	b := bufio.NewWriterSize(w, 1<<20)
	before, after := "{\"vendors\":[\n", "]}\n"
	if o.Array {
		before, after = "[\n", "]\n"
	}
	b.WriteString(before)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	first := true
	for i := range o.N {
		if chosen(o.Seed, uint64(i), purposeDrop, o.Drop) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		if err := enc.Encode(record(o, i)); err != nil {
			return err
		}
	}
	b.WriteString(after)
	return b.Flush()
}

// ID is the id of record i, from 0.
func ID(i int) string { return fmt.Sprintf("V-%07d", i+1) }

// revision is the last revision that edited record i.
func (o Options) revision(i int) int {
	for r := o.Rev; r > 1; r-- {
		if chosen(o.Seed, uint64(i), purposeEdit+uint64(r), o.Changed) {
			return r
		}
	}
	return 1
}

const (
	purposeText = 1
	purposeDrop = 2
	purposeEdit = 1 << 32
)

// chosen is true for a share of all i, evenly spread.
func chosen(seed, i, purpose uint64, share float64) bool {
	d := newDice(seed, i, purpose)
	return float64(d.next()>>11)/(1<<53) < share
}

// dice is the SplitMix64 generator (Steele, Lea, Flood 2014): a few nanoseconds to start anew for every record, so
// that records do not depend on their neighbours.
type dice uint64

func newDice(seed, i, purpose uint64) *dice {
	d := dice(seed*0x9E3779B97F4A7C15 ^ i*0xD1B54A32D192ED03 ^ purpose*0x8CB92BA72F3D8DD7)
	d.next()
	return &d
}

func (d *dice) next() uint64 {
	*d += 0x9E3779B97F4A7C15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (d *dice) below(n int) int { return int(d.next() >> 1 % uint64(n)) }

func pick[T any](d *dice, from []T) T { return from[d.below(len(from))] }

// some picks n different elements, in order.
func some(d *dice, from []string, n int) []string {
	out := make([]string, 0, n)
	for i, s := range from {
		if d.below(len(from)-i) < n-len(out) {
			out = append(out, s)
		}
	}
	return out
}

func round(x float64) float64 { return math.Round(x*10) / 10 }
