//go:build !amd64

package sentence

func kernels() map[string]kernel { return map[string]kernel{"baseline": tileBaseline} }
