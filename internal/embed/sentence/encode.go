package sentence

import "math"

const (
	// tokenBudget is how many rows pass through the network at a time: enough that the weights are read once for many, few
	// enough that everything else stays in a core's cache. It bounds an Encoder's memory too, at 5 MB.
	tokenBudget = 384

	// halo is how far a piece's features reach: two layers of at most two pieces to each side. pad rows of zeros stand
	// between texts, as far as one layer sees.
	halo = 4
	pad  = 2

	epsilon = 1e-12
)

// segment is a part of a text in a pass through the network.
type segment struct {
	text       int
	rows       span // the pieces that are seen
	counts     span // those of them that count: the others are in another segment
	firstPiece int  // of the text, in rows.from
}

// span is rows [from, to).
type span struct{ from, to int }

// Encoder turns texts into vectors. It holds the memory of one pass and must not be used by two goroutines at once.
type Encoder struct {
	m       *Model
	lattice lattice
	ids     []int32
	starts  []int // of each text in ids, and the end

	segments []segment
	embedded []float32    // rows x width
	x, c     [3][]float32 // rows x channels: a convolution's input, and its first layer
	out      [3][]float32
	sums     []float32 // texts x features
	last     [tile * features]float32
	dense    [4][tile * width]float32
}

// NewEncoder returns an encoder; its memory is taken at first use.
func (m *Model) NewEncoder() *Encoder { return &Encoder{m: m} }

// Pieces is what the model sees of text, with its marks of begin and end; valid until the next call.
func (e *Encoder) Pieces(text string) []int32 {
	e.ids = e.m.tokens.cut(text, &e.lattice, e.ids[:0])
	return e.ids
}

// Encode writes the unit vector of each text to out, Dims numbers a text, and returns how many pieces it cut them into.
// A text's vector does not depend on the others.
func (e *Encoder) Encode(texts []string, out []float32) int {
	e.ids, e.starts = e.ids[:0], append(e.starts[:0], 0)
	for _, t := range texts {
		e.ids = e.m.tokens.cut(t, &e.lattice, e.ids)
		e.starts = append(e.starts, len(e.ids))
	}
	e.sums = append(e.sums[:0], make([]float32, len(texts)*features)...)
	row := pad
	for i := range texts {
		n := e.starts[i+1] - e.starts[i]
		for from := 0; from < n; {
			before := min(from, halo)
			room := tokenBudget - row - before - pad
			if n-from > room && row > pad {
				e.pass(row)
				row = pad
				continue
			}
			to, after := n, 0
			if n-from > room {
				to, after = from+room-halo, halo
			}
			counts := span{row + before, row + before + to - from}
			e.segments = append(e.segments, segment{i, span{row, counts.to + after}, counts, from - before})
			row, from = counts.to+after+pad, to
		}
	}
	e.pass(row)
	e.finish(len(texts), out)
	return len(e.ids)
}

// grow makes room for rows in a pass: a query needs few.
func (e *Encoder) grow(rows int) {
	rows += tile + pad + halo // tiles of the kernels and the last windows of the convolutions reach past the last row
	if rows*width <= len(e.embedded) {
		return
	}
	e.embedded = make([]float32, rows*width)
	for i := range e.x {
		e.x[i], e.c[i], e.out[i] = make([]float32, rows*channels), make([]float32, rows*channels), make([]float32, rows*channels)
	}
}

// pass takes the segments through embedding and convolutions and adds up each text's normalised features. rows are in use.
func (e *Encoder) pass(rows int) {
	if len(e.segments) == 0 {
		return
	}
	e.grow(rows)
	m := e.m
	for _, s := range e.segments {
		for i, id := range e.ids[e.starts[s.text]+s.firstPiece:][:s.rows.to-s.rows.from] {
			m.row(int(id), e.embedded[(s.rows.from+i)*width:][:width])
		}
	}
	for i := range e.x {
		part := matrix{m.project.rows, channels, m.project.data[i*width*channels : (i+1)*width*channels]}
		multiply(e.embedded, width, rows, part, m.projectBias[i*channels:(i+1)*channels], e.x[i])
	}
	e.normaliseProjection(rows)
	for i, c := range m.convs {
		in := e.x[i]
		for l, out := range [2][]float32{e.c[i], e.out[i]} {
			// The window of a row begins left rows before it: row 0 of the product is row left of the input.
			multiply(in, channels, rows-c.left, c.w[l], c.b[l], out[c.left*channels:])
			e.activate(in, out, rows)
			in = out
		}
	}
	e.sumFeatures()
	e.segments = e.segments[:0]
}

// row writes what piece id is in the table.
func (m *Model) row(id int, out []float32) {
	scale, lo := m.scale[id%chunks], m.lo[id%chunks]
	for i, q := range m.table[id*width:][:len(out)] {
		out[i] = float32(q)*scale + lo
	}
}

// between clears the rows of x that are no piece's: what a convolution sees beyond the ends of a text.
func (e *Encoder) between(rows int, x []float32) {
	from := 0
	for _, s := range e.segments {
		clear(x[from*channels : s.rows.from*channels])
		from = s.rows.to
	}
	clear(x[from*channels : (rows+tile)*channels])
}

// normaliseProjection gives each row of the three inputs together mean 0 and variance 1, then scale and shift.
func (e *Encoder) normaliseProjection(rows int) {
	for _, s := range e.segments {
		for r := s.rows.from; r < s.rows.to; r++ {
			var parts [3][]float32
			for i := range parts {
				parts[i] = e.x[i][r*channels:][:channels]
			}
			mean, inverse := moments(parts[:]...)
			for i, p := range parts {
				gamma, beta := e.m.gamma[i*channels:][:len(p)], e.m.beta[i*channels:][:len(p)]
				for j, v := range p {
					p[j] = (v-mean)*inverse*gamma[j] + beta[j]
				}
			}
		}
	}
	for _, x := range e.x {
		e.between(rows, x)
	}
}

// activate adds a layer's input to what is positive of its output.
func (e *Encoder) activate(in, out []float32, rows int) {
	for _, s := range e.segments {
		in, out := in[s.rows.from*channels:s.rows.to*channels], out[s.rows.from*channels:s.rows.to*channels]
		for i, v := range in {
			out[i] = max(out[i], 0) + v
		}
	}
	e.between(rows, out)
}

// sumFeatures normalises every row that counts and adds it to its text's sum.
func (e *Encoder) sumFeatures() {
	for _, s := range e.segments {
		sum := e.sums[s.text*features:][:features]
		for r := s.counts.from; r < s.counts.to; r++ {
			parts := [4][]float32{e.embedded[r*width:][:width]}
			for i := range e.out {
				parts[i+1] = e.out[i][r*channels:][:channels]
			}
			mean, inverse := moments(parts[:]...)
			at := 0
			for _, p := range parts {
				to := sum[at:][:len(p)]
				for j, v := range p {
					to[j] += (v - mean) * inverse
				}
				at += len(p)
			}
		}
	}
}

// moments are the mean of all numbers and one over their deviation.
func moments(parts ...[]float32) (mean, inverse float32) {
	n := 0
	var sum [4]float32
	for _, p := range parts {
		n += len(p)
		for ; len(p) >= 4; p = p[4:] {
			sum[0] += p[0]
			sum[1] += p[1]
			sum[2] += p[2]
			sum[3] += p[3]
		}
	}
	mean = (sum[0] + sum[1] + sum[2] + sum[3]) / float32(n)
	sum = [4]float32{}
	for _, p := range parts {
		for ; len(p) >= 4; p = p[4:] {
			a, b, c, d := p[0]-mean, p[1]-mean, p[2]-mean, p[3]-mean
			sum[0] += a * a
			sum[1] += b * b
			sum[2] += c * c
			sum[3] += d * d
		}
	}
	variance := (sum[0] + sum[1] + sum[2] + sum[3]) / float32(n)
	return mean, 1 / float32(math.Sqrt(float64(variance+epsilon)))
}

// finish takes the sums of the texts through the dense layers, a tile of texts at a time.
func (e *Encoder) finish(texts int, out []float32) {
	m := e.m
	var none [width]float32
	for first := 0; first < texts; first += tile {
		n := min(tile, texts-first)
		sums := e.last[:]
		for i := range n {
			pieces := float32(e.starts[first+i+1] - e.starts[first+i])
			root := 1 / float32(math.Sqrt(float64(pieces)))
			for j, v := range e.sums[(first+i)*features:][:features] {
				sums[i*features+j] = (v*m.gammaAll[j] + pieces*m.betaAll[j]) * root
			}
		}
		mean, y0, y1, y2 := e.dense[0][:], e.dense[1][:], e.dense[2][:], e.dense[3][:]
		multiply(sums, features, n, m.mean, none[:], mean)
		for i := range n {
			root := float32(math.Sqrt(float64(e.starts[first+i+1] - e.starts[first+i])))
			for j, b := range m.meanBias {
				mean[i*width+j] += b * root
			}
		}
		multiply(mean, width, n, m.d0, none[:], y0)
		positive(y0[:n*hidden])
		multiply(mean, width, n, m.p1, none[:], y1)
		multiply(y0, hidden, n, m.d1, none[:], y2)
		add(y1[:n*hidden], y2)
		positive(y1[:n*hidden])
		multiply(y1, hidden, n, m.d2, none[:], y2)
		positive(y2[:n*width])
		multiply(y1, hidden, n, m.p3, none[:], mean)
		multiply(y2, width, n, m.d3, none[:], y0)
		add(mean[:n*Dims], y0)
		for i := range n {
			unit(mean[i*Dims:][:Dims], out[(first+i)*Dims:][:Dims])
		}
	}
}

func positive(x []float32) {
	for i, v := range x {
		x[i] = max(v, 0)
	}
}

func add(x, y []float32) {
	for i, v := range y[:len(x)] {
		x[i] += v
	}
}

// unit writes the tangens hyperbolicus of x, scaled to length 1.
func unit(x, out []float32) {
	var squares float64
	for i, v := range x {
		y := math.Tanh(float64(v))
		out[i] = float32(y)
		squares += y * y
	}
	inverse := float32(1 / math.Sqrt(max(squares, epsilon)))
	for i := range out {
		out[i] *= inverse
	}
}
