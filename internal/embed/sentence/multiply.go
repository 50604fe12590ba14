package sentence

import (
	"os"
	"sync"
	"unsafe"
)

// tile is how many rows a kernel computes at once, panel how many columns.
const (
	tile  = 8
	panel = 32
)

// kernel computes a tile of a product: c = a b + bias for tile rows of a, lda numbers apart, and one panel of b with k rows;
// rows of c are ldc numbers apart.
type kernel func(a *float32, lda int, b *float32, k int, bias, c *float32, ldc int)

// multiply writes x w + bias for the given number of rows, lda numbers apart in x, of w.columns numbers in out. Rows may
// overlap in x. It reads and writes whole tiles, so both must have room for one more.
func multiply(x []float32, lda, rows int, w matrix, bias, out []float32) {
	do := chosen()
	rounded := (rows + tile - 1) / tile * tile
	_, _ = x[(rounded-1)*lda+w.rows-1], out[rounded*w.columns-1] // the kernels check no bounds
	for p := 0; p < w.columns; p += panel {
		b := &w.data[p*w.rows]
		for r := 0; r < rows; r += tile {
			do(&x[r*lda], lda, b, w.rows, &bias[p], &out[r*w.columns+p], w.columns)
		}
	}
}

// chosen is the kernel in use: the widest that the CPU has, or the one that VECTORSTORE_SIMD (avx512, avx2, baseline) names,
// as for the searches of the index.
var chosen = sync.OnceValue(func() kernel {
	have := kernels()
	if k, ok := have[os.Getenv("VECTORSTORE_SIMD")]; ok {
		return k
	}
	for _, name := range []string{"avx512", "avx2"} {
		if k, ok := have[name]; ok {
			return k
		}
	}
	return have["baseline"]
})

// tileBaseline is the kernel for every other CPU.
func tileBaseline(a *float32, lda int, b *float32, k int, bias, c *float32, ldc int) {
	left, right := unsafe.Slice(a, (tile-1)*lda+k), unsafe.Slice(b, k*panel)
	to, from := unsafe.Slice(c, (tile-1)*ldc+panel), unsafe.Slice(bias, panel)
	for r := range tile {
		acc := [panel]float32(from)
		for i, v := range left[r*lda:][:k] {
			row := (*[panel]float32)(right[i*panel:])
			for j := range acc {
				acc[j] += v * row[j]
			}
		}
		copy(to[r*ldc:][:panel], acc[:])
	}
}
