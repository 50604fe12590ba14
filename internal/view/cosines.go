package view

import (
	"fmt"
	"math"
)

// sampledRows are enough for the mean and the spread of a question's cosines: a tenth of a spread off, at most, for
// 0.1 ms of 128 x 1,536 products.
const sampledRows = 128

// sampleVectors copies vectors of records, evenly spread over the catalogue.
func (v *View) sampleVectors() ([]float32, error) {
	count := min(v.vectors, sampledRows)
	dims := v.Dims()
	out := make([]float32, count*dims)
	for i := range count {
		pos := v.ranked(int(int64(i) * int64(v.vectors) / int64(count))) // those without a vector are the last
		if err := v.Vector(int(pos), out[i*dims:(i+1)*dims]); err != nil {
			return nil, fmt.Errorf("sample the index: %w", err)
		}
	}
	return out, nil
}

// Cosines are the mean and the standard deviation of a unit vector's cosines to the records, by a sample.
func (v *View) Cosines(vector []float32) (mean, spread float64) {
	count := len(v.sample) / len(vector)
	if count == 0 {
		return 0, 0
	}
	var sum, squares float64
	for i := range count {
		row := v.sample[i*len(vector):][:len(vector)]
		var dot float32
		for d, c := range row {
			dot += c * vector[d]
		}
		sum += float64(dot)
		squares += float64(dot) * float64(dot)
	}
	mean = sum / float64(count)
	return mean, math.Sqrt(max(0, squares/float64(count)-mean*mean))
}
