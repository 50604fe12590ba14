package sentence

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:noescape
func multiplyAVX512(a *float32, lda int, b *float32, k int, bias, c *float32, ldc int)

// multiplyAVX2 computes 4 rows and 16 columns, a quarter of a tile.
//
//go:noescape
func multiplyAVX2(a *float32, lda int, b *float32, k int, bias, c *float32, ldc int)

func tileAVX2(a *float32, lda int, b *float32, k int, bias, c *float32, ldc int) {
	for r := 0; r < tile; r += 4 {
		for p := 0; p < panel; p += 16 {
			multiplyAVX2(at(a, r*lda), lda, at(b, p), k, at(bias, p), at(c, r*ldc+p), ldc)
		}
	}
}

func at(p *float32, n int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n)) }

// kernels that this CPU can run, by name.
func kernels() map[string]kernel {
	have := map[string]kernel{"baseline": tileBaseline}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		have["avx2"] = tileAVX2
	}
	if cpu.X86.HasAVX512F {
		have["avx512"] = multiplyAVX512
	}
	return have
}
