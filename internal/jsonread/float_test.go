package jsonread

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// FuzzFloat: bit for bit strconv.ParseFloat of JSON numbers, consuming exactly the number.
func FuzzFloat(f *testing.F) {
	for _, s := range []string{
		"0", "-0", "0.0", "-0.000", "1", "0.1", "16777217", "16777216.999999999", "0.00000000000000000000001", "1e-22", "1e22", "1e23",
		"3.4028235e38", "3.4028236e38", "1.401298464324817e-45", "1.17549435e-38", "9007199254740993", "12345678901234567890", "0.30000001192092896",
		"1.2345678901234567e-05", "0.012345678901234567", "1.00000017881393432617187499", "1.00000017881393421514957253748434595763683319091796875001",
		"9.9999999999999999999", "9.999999999999999999", "0.9999999999999999999", "-0.00000000", "1.25", "-1.5e5", "1.12345678e1",
		"0.1234567812345678e1", "0.123456781234567812345678", "0.1234567812345678123456789", "01", "1.", ".1", "1e", "1e+", "--1", "+1", "NaN", "1e9999", "1e-9999", "1.5e0000000001",
		"/.5", "a.5", "-a.5", "-", "0.", "-0.", "1.x",
	} {
		f.Add(s)
	}
	f.Fuzz(checkFloat)
}

func checkFloat(t *testing.T, in string) {
	t.Helper()
	n := Over([]byte(in))
	raw, nerr := n.Number()
	s := Over([]byte(in))
	got, err := s.Float()
	if nerr != nil {
		if err == nil {
			t.Fatalf("%q is no number, read as %v", in, got)
		}
		raw = []byte(in)
	}
	// fraction takes fewer, and looks ahead: whatever follows in the text must not matter.
	for _, after := range []string{",", "]", ", 1.5", "\n", ":"} {
		const far = "7777777777777777777777777777777777777777"
		f, end, ok := fraction(append(append([]byte("["), raw...), after+far...), 1)
		if ok && (err != nil || math.Float32bits(f) != math.Float32bits(got) || end != 1+len(raw)) {
			t.Fatalf("%q before %q: fraction %v (%x), Float %v (%x); read %d of %d bytes", raw, after, f, math.Float32bits(f), got, math.Float32bits(got), end-1, len(raw))
		}
	}
	if nerr != nil {
		return
	}
	want, werr := strconv.ParseFloat(string(raw), 32)
	if (err != nil) != (werr != nil) {
		t.Fatalf("%q: %v, strconv %v", in, err, werr)
	}
	if err == nil && (math.Float32bits(got) != math.Float32bits(float32(want)) || s.Offset() != n.Offset()) {
		t.Fatalf("%q: %v (%x), strconv %v (%x); read %d of %d bytes", in, got, math.Float32bits(got), want, math.Float32bits(float32(want)), s.pos, n.pos)
	}
	for name, r := range ways(in + " ") {
		streamed, serr := r.Float()
		if (serr != nil) != (err != nil) || math.Float32bits(streamed) != math.Float32bits(got) || err == nil && r.Offset() != n.Offset() {
			t.Fatalf("%s: %q: %v, %v, in memory %v, %v", name, in, streamed, serr, got, err)
		}
	}
}

func TestFloatsAreReadUpToTheLimit(t *testing.T) {
	for in, want := range map[string]string{
		`[]`: "[] true", ` [ 1 , -2.5,3e0 ] `: "[1 -2.5 3] true", `[1,2,3,4]`: "[1 2 3] false 7", `[1,"2"]`: "[1] false 3", `[1,]`: "[1] false 3",
		`[1 2]`: "[1] false found '2' where ',' or ']' should be, at byte 3", `[1e99]`: "[] false a number is out of range, at byte 1",
		`[0.25`: "[0.25] false it ends where ',' or ']' should be, at byte 5", `7`: "[] false found '7' where an array should be, at byte 0",
		`[0.123456789012345,0.123456789012345]`: "[0.12345679 0.12345679] true",
	} {
		for name, r := range ways(in) {
			v, ok, err := r.Floats(3)
			got := fmt.Sprint(v, ok)
			if err != nil {
				got += " " + err.Error()
			} else if !ok {
				got += fmt.Sprintf(" %d", r.Offset())
			}
			if got != want {
				t.Errorf("%s: %s: %s, want %s", name, in, got, want)
			}
		}
	}
}

// TestFractionTakesWhatVectorsAreMadeOf holds that the fast way is the usual one.
func TestFractionTakesWhatVectorsAreMadeOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for name, bits := range map[string]int{"as float32": 32, "as the float64 that Python prints": 64} {
		taken := 0
		const n = 1536
		for range n {
			f := float32(rng.NormFloat64() / 40)
			text := strconv.FormatFloat(float64(f), 'f', -1, bits)
			if _, _, ok := fraction([]byte(text+strings.Repeat(" ", 30)), 0); ok {
				taken++
			}
		}
		if taken < n*95/100 {
			t.Errorf("%s: %d of %d", name, taken, n)
		}
	}
}

func TestFloatEqualsStrconv(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		f := math.Float32frombits(rng.Uint32())
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			continue
		}
		unit := rng.Float64()*2 - 1
		// Midpoints between two float32 and their neighbours in float64 are the hard cases.
		mid := (float64(f) + float64(math.Nextafter32(f, 0))) / 2
		for _, v := range []string{
			strconv.FormatFloat(float64(f), 'g', -1, 32), strconv.FormatFloat(unit, 'g', -1, 64), strconv.FormatFloat(unit, 'f', -1, 64),
			strconv.FormatFloat(float64(float32(unit)), 'f', -1, 64), strconv.FormatFloat(mid, 'e', -1, 64),
			strconv.FormatFloat(math.Nextafter(mid, 1), 'e', -1, 64), strconv.FormatFloat(unit, 'f', rng.IntN(25), 64),
			strconv.FormatFloat(unit*10, 'f', rng.IntN(25), 64),
			strconv.FormatFloat((float64(float32(unit))+float64(math.Nextafter32(float32(unit), 2)))/2, 'f', -1, 64),
		} {
			checkFloat(t, v)
		}
	}
}
