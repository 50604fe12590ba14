package serve

import (
	"math"
	"strconv"
)

// powersOfTen that a float64 represents exactly.
var powersOfTen = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float consumes a number and returns the nearest float32, ties to even: bit for bit strconv.ParseFloat(s, 32).
//
// Up to 19 significant digits fit a uint64 m, and the number is m × 10^e. For |e| ≤ 22 one float64 multiplication or
// division gives d with a relative error of at most 2⁻⁵³ from converting m and 2⁻⁵³ from the operation, together
// below 2.1 units in d's last place. Rounding d to float32 is then right unless a midpoint between two float32 lies
// that close to d, which the 29 bits that rounding drops tell. Those, one in 50 million, and everything else that is
// unusual go to strconv.
func (s *scanner) float() (float32, error) {
	in, i := s.in, s.pos
	neg := i < len(in) && in[i] == '-'
	if neg {
		i++
	}
	var m uint64
	first := i
	for i < len(in) && isDigit(in[i]) {
		m = m*10 + uint64(in[i]-'0')
		i++
	}
	digits := i - first
	if digits == 0 || digits > 1 && in[first] == '0' {
		return s.slowFloat() // not a JSON number
	}
	e := 0
	if i < len(in) && in[i] == '.' {
		i++
		frac := i
		for i < len(in) && isDigit(in[i]) {
			m = m*10 + uint64(in[i]-'0')
			i++
		}
		if i == frac {
			return s.slowFloat() // not a JSON number
		}
		e = frac - i
		digits -= e
		for j := frac; in[first] == '0' && j < i && in[j] == '0'; j++ {
			digits-- // the zeros of 0.0012 are not significant; nor is the first, which stays counted
		}
	}
	if i < len(in) && in[i]|0x20 == 'e' {
		var ok bool
		if e, i, ok = exponent(in, i, e); !ok {
			return s.slowFloat()
		}
	}
	// digits counts the leading zero of 0.x, so 20 of them are at most 19 significant ones then.
	if digits > 19 && !(digits == 20 && in[first] == '0') || e < -22 || e > 22 {
		return s.slowFloat()
	}
	d := float64(m)
	if e < 0 {
		d /= powersOfTen[-e]
	} else {
		d *= powersOfTen[e]
	}
	const half, dropped = 1 << 28, 1<<29 - 1
	if low := int64(math.Float64bits(d) & dropped); low > half-4 && low < half+4 ||
		d > math.MaxFloat32/2 || d < 0x1p-126 && m != 0 {
		return s.slowFloat()
	}
	s.pos = i
	if neg {
		return float32(-d), nil // also -0
	}
	return float32(d), nil
}

// exponent reads e[+-]digits at i and adds it to e; at most three digits, which is more than the fast path takes.
func exponent(in []byte, i, e int) (sum, next int, ok bool) {
	i++
	sign := 1
	if i < len(in) && (in[i] == '+' || in[i] == '-') {
		if in[i] == '-' {
			sign = -1
		}
		i++
	}
	n, from := 0, i
	for i < len(in) && isDigit(in[i]) && i-from < 3 {
		n = n*10 + int(in[i]-'0')
		i++
	}
	return e + sign*n, i, i > from && (i >= len(in) || !isDigit(in[i]))
}

// slowFloat is float for any spelling. Beyond float32's range is an error, as in encoding/json.
func (s *scanner) slowFloat() (float32, error) {
	at := s.pos
	raw, err := s.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(raw), 32)
	if err != nil {
		s.pos = at
		return 0, s.fail("a number is out of range")
	}
	return float32(v), nil
}
