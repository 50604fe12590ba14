package vecindex

import (
	"errors"
	"fmt"
	"math"
)

// ErrVector marks a vector that cannot be stored or searched for: wrong
// length, not finite, zero, or not of unit length.
var ErrVector = errors.New("invalid vector")

// unitTolerance is how far a squared norm may be from 1. Normalising in
// float32 leaves about dims * 2^-24; this allows vectors from elsewhere that
// were rounded to three decimals and still refuses those never normalised.
const unitTolerance = 1e-2

// checkRows accepts rows of dims finite components each, none of them zero,
// and unit length when unit is set.
func checkRows(rows []float32, dims int, unit bool) error {
	if len(rows) == 0 || len(rows)%dims != 0 {
		return fmt.Errorf("%w: %d numbers are not rows of %d", ErrVector, len(rows), dims)
	}
	for r := 0; r*dims < len(rows); r++ {
		// NaN and infinities carry through the sum.
		var norm float64
		for _, v := range rows[r*dims : (r+1)*dims] {
			norm += float64(v) * float64(v)
		}
		switch {
		case math.IsNaN(norm) || math.IsInf(norm, 0):
			return fmt.Errorf("%w: row %d is not finite", ErrVector, r)
		case norm == 0:
			return fmt.Errorf("%w: row %d is zero", ErrVector, r)
		case unit && math.Abs(norm-1) > unitTolerance:
			return fmt.Errorf("%w: row %d has length %.4g, must be 1", ErrVector, r, math.Sqrt(norm))
		}
	}
	return nil
}
