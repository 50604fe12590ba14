package sentence

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// small is a model with the right shape and random weights, and a handful of pieces.
func small() *Model {
	rng := rand.New(rand.NewPCG(1, 2))
	numbers := func(n int, scale float32) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = (rng.Float32() - 0.5) * scale
		}
		return out
	}
	random := func(rows, columns int) matrix {
		return matrix{rows, columns, numbers(rows*columns, 4/float32(math.Sqrt(float64(rows))))}
	}
	pieces := []string{"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "abc", "c", "▁a", "倉", "倉庫", "庫", "!!"}
	scores := []float32{0, 0, 0, -3, -2, -2, -3, -6.5, -2, -4, -5, -6, -5, -1}
	offsets := []uint32{0}
	for _, p := range pieces {
		offsets = append(offsets, offsets[len(offsets)-1]+uint32(len(p)))
	}
	m := &Model{
		tokens:  newTokenizer(offsets, scores, []byte(strings.Join(pieces, "")), []uint32{0}, nil),
		scale:   numbers(chunks, 0.1),
		lo:      numbers(chunks, 4),
		project: random(width, 3*channels), projectBias: numbers(3*channels, 1),
		gamma: numbers(3*channels, 2), beta: numbers(3*channels, 1),
		gammaAll: numbers(features, 2), betaAll: numbers(features, 1),
		mean: random(features, width), meanBias: numbers(width, 1),
		d0: random(width, hidden), d1: random(hidden, hidden), p1: random(width, hidden),
		d2: random(hidden, width), p3: random(hidden, Dims), d3: random(width, Dims),
	}
	m.table = make([]uint8, len(pieces)*width)
	for i := range m.table {
		m.table[i] = uint8(rng.UintN(64))
	}
	for i, c := range []conv{{order: 2, left: 0}, {order: 3, left: 1}, {order: 5, left: 2}} {
		for l := range c.w {
			c.w[l], c.b[l] = random(c.order*channels, channels), numbers(channels, 1)
		}
		m.convs[i] = c
	}
	return m
}

func (w matrix) times(x []float64) []float64 {
	out := make([]float64, w.columns)
	for p := 0; p < w.columns; p += panel {
		for r, v := range x {
			for c, f := range w.data[p*w.rows+r*panel:][:panel] {
				out[p+c] += v * float64(f)
			}
		}
	}
	return out
}

func relu(x []float64) []float64 {
	for i, v := range x {
		x[i] = max(v, 0)
	}
	return x
}

func plus(x, y []float64) []float64 {
	out := slices.Clone(x)
	for i, v := range y {
		out[i] += v
	}
	return out
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func layerNorm(x []float64, gamma, beta []float32) []float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (v-mean)/math.Sqrt(square+epsilon)*float64(gamma[i]) + float64(beta[i])
	}
	return out
}

// plain is the network as its authors describe it, one text after the other, in the obvious way.
func plain(m *Model, ids []int32) []float64 {
	var projected, whole [][]float64
	for _, id := range ids {
		row := make([]float64, width)
		for i := range row {
			row[i] = float64(m.table[int(id)*width+i])*float64(m.scale[id%chunks]) + float64(m.lo[id%chunks])
		}
		projected = append(projected, layerNorm(plus(m.project.times(row), wide(m.projectBias)), m.gamma, m.beta))
		whole = append(whole, slices.Clone(row))
	}
	for i, c := range m.convs {
		x := make([][]float64, len(ids))
		for t := range x {
			x[t] = projected[t][i*channels : (i+1)*channels]
		}
		for l := range c.w {
			next := make([][]float64, len(ids))
			for t := range x {
				window := make([]float64, c.order*channels)
				for o := range c.order {
					if at := t - c.left + o; at >= 0 && at < len(x) {
						copy(window[o*channels:], x[at])
					}
				}
				next[t] = plus(relu(plus(c.w[l].times(window), wide(c.b[l]))), x[t])
			}
			x = next
		}
		for t := range whole {
			whole[t] = append(whole[t], x[t]...)
		}
	}
	mean := make([]float64, width)
	for _, row := range whole {
		mean = plus(mean, plus(m.mean.times(layerNorm(row, m.gammaAll, m.betaAll)), wide(m.meanBias)))
	}
	for i := range mean {
		mean[i] /= math.Sqrt(float64(len(ids)))
	}
	y0 := relu(m.d0.times(mean))
	y1 := relu(plus(m.p1.times(mean), m.d1.times(y0)))
	z := plus(m.p3.times(y1), m.d3.times(relu(m.d2.times(y1))))
	length := 0.0
	for i, v := range z {
		z[i] = math.Tanh(v)
		length += z[i] * z[i]
	}
	for i := range z {
		z[i] /= math.Sqrt(length)
	}
	return z
}

// Texts of every length, alone and among others, within one pass and across several: the vectors are those of the plain
// network.
func TestEncodeIsThePlainNetwork(t *testing.T) {
	m := small()
	rng := rand.New(rand.NewPCG(3, 4))
	text := func(runes int) string {
		var b strings.Builder
		for range runes {
			b.WriteRune([]rune("aabbcc倉庫!? ")[rng.IntN(11)])
		}
		return b.String()
	}
	texts := []string{"", "a", "ab", "abc", "倉庫 a", text(40), text(3), text(150), text(90), text(700), "c"}
	e, out := m.NewEncoder(), make([]float32, 11*Dims)
	total := e.Encode(texts, out)
	sum := 0
	for i, s := range texts {
		ids := m.tokens.cut(s, &e.lattice, nil)
		sum += len(ids)
		want := plain(m, ids)
		alone := make([]float32, Dims)
		m.NewEncoder().Encode([]string{s}, alone)
		for j, w := range want {
			if got := out[i*Dims+j]; math.Abs(float64(got)-w) > 1e-4 || math.IsNaN(float64(got)) {
				t.Fatalf("text %d of %d pieces: component %d is %g, want %g", i, len(ids), j, got, w)
			}
			if math.Abs(float64(alone[j])-w) > 1e-4 {
				t.Fatalf("text %d alone: component %d is %g, want %g", i, j, alone[j], w)
			}
		}
	}
	if total != sum || sum < 2*tokenBudget {
		t.Errorf("%d pieces reported, %d cut", total, sum)
	}
}

// A later call finds nothing left over from an earlier one.
func TestEncodeForgetsWhatWasBefore(t *testing.T) {
	m := small()
	e, first, again := m.NewEncoder(), make([]float32, Dims), make([]float32, Dims)
	e.Encode([]string{"ab c"}, first)
	e.Encode([]string{strings.Repeat("倉庫abc", 300), strings.Repeat("b", 700)}, make([]float32, 2*Dims))
	e.Encode([]string{"ab c"}, again)
	if !slices.Equal(first, again) {
		t.Error("the vector of a text depends on what was embedded before")
	}
}

func TestKernelsMultiply(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const k, lda, ldc = 37, 20, 96 // rows of a overlap
	a, b := make([]float32, (tile-1)*lda+k), make([]float32, k*panel)
	bias, c := make([]float32, panel), make([]float32, tile*ldc)
	for _, s := range [][]float32{a, b, bias} {
		for i := range s {
			s[i] = rng.Float32() - 0.5
		}
	}
	for name, do := range kernels() {
		for i := range c {
			c[i] = 7
		}
		do(&a[0], lda, &b[0], k, &bias[0], &c[32], ldc)
		for i, got := range c {
			r, col := i/ldc, i%ldc-32
			want := 7.0
			if col >= 0 && col < panel {
				want = float64(bias[col])
				for j := range k {
					want += float64(a[r*lda+j]) * float64(b[j*panel+col])
				}
			}
			if math.Abs(float64(got)-want) > 1e-5 {
				t.Fatalf("%s: row %d, column %d is %g, want %g", name, r, col, got, want)
			}
		}
	}
}

func TestCut(t *testing.T) {
	m := small()
	for text, want := range map[string][]int32{
		"":         {1, 0, 2},
		"  ":       {1, 0, 2},
		"a":        {1, 9, 2},
		"ab":       {1, 3, 6, 2},    // ▁ + ab beats ▁a + b
		"abc":      {1, 3, 6, 8, 2}, // ab + c beats abc
		"b  倉庫 ":   {1, 3, 5, 3, 11, 2},
		"倉x庫":      {1, 3, 10, 0, 12, 2},
		"!!!":      {1, 3, 0, 13, 2}, // of equal sums, the first found
		"\xffa":    {1, 3, 0, 4, 2},
		"<s> </s>": {1, 3, 1, 3, 2, 2},
	} {
		var l lattice
		if got := m.tokens.cut(text, &l, nil); !slices.Equal(got, want) {
			t.Errorf("%q is cut into %v, want %v", text, got, want)
		}
	}
}
