package jsonread

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// powersOfTen that a float64 represents exactly.
var powersOfTen = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// Float takes a number and returns the nearest float32, ties to even: bit for bit strconv.ParseFloat(s, 32).
//
// Up to 19 significant digits fit a uint64 m, and the number is m × 10^e. For |e| ≤ 22 one float64 multiplication or
// division gives d with a relative error of at most 2⁻⁵³ from converting m and 2⁻⁵³ from the operation, together
// below 2.1 units in d's last place. Rounding d to float32 is then right unless a midpoint between two float32 lies
// that close to d, which the 29 bits that rounding drops tell. Those, one in 50 million, and everything else that is
// unusual go to strconv.
func (r *Reader) Float() (float32, error) {
	r.Peek()
	in, i := r.in, r.pos
	neg := i < len(in) && in[i] == '-'
	if neg {
		i++
	}
	first := i
	m, i := digits(in, i, 0)
	count := i - first
	if count == 0 || count > 1 && in[first] == '0' {
		return r.slowFloat() // not a JSON number
	}
	e := 0
	if i < len(in) && in[i] == '.' {
		frac := i + 1
		m, i = digits(in, frac, m)
		if i == frac {
			return r.slowFloat() // not a JSON number
		}
		e = frac - i
		count -= e
		for j := frac; in[first] == '0' && j < i && in[j] == '0'; j++ {
			count-- // the zeros of 0.0012 are not significant; nor is the first, which stays counted
		}
	}
	if i < len(in) && in[i]|0x20 == 'e' {
		var ok bool
		if e, i, ok = exponent(in, i, e); !ok {
			return r.slowFloat()
		}
	}
	// The leading zero of 0.x is counted, so 20 digits are at most 19 significant ones then.
	if count > 19 && !(count == 20 && in[first] == '0') || e < -22 || e > 22 {
		return r.slowFloat()
	}
	d := float64(m)
	if e < 0 {
		d /= powersOfTen[-e]
	} else {
		d *= powersOfTen[e]
	}
	if ambiguous(d) || d > math.MaxFloat32/2 || d < 0x1p-126 && m != 0 {
		return r.slowFloat()
	}
	if i == len(in) && r.src != nil {
		return r.slowFloat() // it may go on
	}
	r.pos = i
	if neg {
		return float32(-d), nil // also -0
	}
	return float32(d), nil
}

// fraction is Float for the numbers that vectors are made of, 0.0123 or -1.25: one digit, the point, 1 to 19 digits. ok
// is false for others, and where Float would ask strconv. It does not branch on sign and lengths, which are as good as
// random from number to number: half of Float's time goes into branches that were guessed wrong.
func fraction(in []byte, i int) (f float32, next int, ok bool) {
	const longest = 1 + 1 + 1 + 3*8 + 1 // sign, digit, point, three words and what follows them
	if i+longest > len(in) {
		return 0, i, false
	}
	in = in[i : i+longest]
	neg := 0
	if in[0] == '-' {
		neg = 1
	}
	m := uint64(in[neg] - '0')
	if m > 9 || in[neg+1] != '.' {
		return 0, i, false
	}
	most := 19
	if m > 0 {
		most = 18
	}
	v, n := leading(binary.LittleEndian.Uint64(in[neg+2:]))
	w, k := leading(binary.LittleEndian.Uint64(in[neg+10:]))
	all := -(n >> 3) // -1 when the first eight are digits, otherwise the second do not count
	k &= all
	m = (m*wholePowers[n]+v)*wholePowers[k] + w&uint64(all)
	if n += k; n == 16 {
		v, k = leading(binary.LittleEndian.Uint64(in[neg+18:]))
		m = m*wholePowers[k] + v // overflows only with more digits than are accepted
		n += k
	}
	end := neg + 2 + n
	if n == 0 || n > most || in[end]|0x20 == 'e' {
		return 0, i, false
	}
	d := float64(m) / powersOfTen[n]
	if ambiguous(d) {
		return 0, i, false
	}
	return math.Float32frombits(math.Float32bits(float32(d)) | uint32(neg)<<31), i + end, true
}

// ambiguous tells whether the number that d is near to may round to another float32 than d does.
func ambiguous(d float64) bool {
	const half, dropped = 1 << 28, 1<<29 - 1
	low := math.Float64bits(d) & dropped
	return low-(half-3) < 2*3+1
}

// wholePowers of ten.
var wholePowers = [...]uint64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// leading reads the decimal digits that w, eight bytes of text, begins with: their value and how many.
func leading(w uint64) (v uint64, n int) {
	n = bits.TrailingZeros64(notDigits(w)) / 8
	return eight((w - zeros) << (64 - 8*n)), n
}

// zeros is the text 00000000.
const zeros = 0x3030303030303030

// notDigits has its first bit that is set in the first byte of w that is not a digit: a byte is one when its upper half
// is 3 and stays 3 after adding 6. 0 when all are digits.
func notDigits(w uint64) uint64 {
	return w&(w+0x0606060606060606)&0xF0F0F0F0F0F0F0F0 ^ zeros
}

// eight combines eight digits, a byte each, to pairs, fours and all, within one word.
func eight(w uint64) uint64 {
	w = w*10 + w>>8 // pairs, in every other byte
	return ((w&0x000000FF000000FF)*(100+1000000<<32) + (w>>16&0x000000FF000000FF)*(1+10000<<32)) >> 32
}

// digits appends the decimal digits at i to m, which may overflow, and returns where they end. Eight are read at a
// time.
func digits(in []byte, i int, m uint64) (sum uint64, end int) {
	for i+8 <= len(in) {
		w := binary.LittleEndian.Uint64(in[i:])
		if notDigits(w) != 0 {
			break
		}
		m = m*1e8 + eight(w-zeros)
		i += 8
	}
	for i < len(in) && isDigit(in[i]) {
		m = m*10 + uint64(in[i]-'0')
		i++
	}
	return m, i
}

// Floats takes a list of numbers, at most limit. ok is false at an item too many and where an item is no number, which
// is next then.
func (r *Reader) Floats(limit int) (v []float32, ok bool, err error) {
	v = make([]float32, 0, min(limit, len(r.in)/8, 2048)) // a number and its comma take 8 bytes or more, mostly
	if !r.Take('[') {
		return nil, false, r.Unexpected("an array")
	}
	if r.Take(']') {
		return v, true, nil
	}
	for {
		if r.pos < len(r.in) && r.in[r.pos] <= ' ' {
			r.Peek()
		}
		f, next, ok := fraction(r.in, r.pos)
		if ok {
			r.pos = next
		} else {
			if c := r.Peek(); c != '-' && !isDigit(c) {
				return v, false, nil
			}
			if f, err = r.Float(); err != nil {
				return v, false, err
			}
		}
		v = append(v, f)
		if r.pos < len(r.in) && r.in[r.pos] == ',' {
			r.pos++
		} else if r.Take(']') {
			return v, true, nil
		} else if !r.Take(',') {
			return v, false, r.Unexpected("',' or ']'")
		}
		if len(v) == limit {
			return v, false, nil
		}
	}
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

// slowFloat is Float for any spelling. Beyond float32's range is an error, as in encoding/json.
func (r *Reader) slowFloat() (float32, error) {
	at := r.Offset()
	raw, err := r.Number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(raw), 32)
	if err != nil {
		return 0, &SyntaxError{Reason: OutOfRange, At: at}
	}
	return float32(v), nil
}
