package langchain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
)

func flatFile(fourCC string, dims int32, total int64, metric int32, floats uint64, values ...float32) []byte {
	var b bytes.Buffer
	h := flatHeader{Dims: dims, Total: total, Trained: 1, Metric: metric, Floats: floats}
	copy(h.FourCC[:], fourCC)
	_ = binary.Write(&b, binary.LittleEndian, h)
	_ = binary.Write(&b, binary.LittleEndian, values)
	return b.Bytes()
}

func readFlat(data []byte) (rows [][]float32, err error) {
	err = ReadFlat(bytes.NewReader(data), func(n, dims int) error { return nil }, func(_ int, v []float32) error {
		rows = append(rows, append([]float32(nil), v...))
		return nil
	})
	return rows, err
}

func TestFlatIndexGivesItsVectors(t *testing.T) {
	for _, kind := range []string{"IxF2", "IxFI"} {
		rows, err := readFlat(flatFile(kind, 2, 3, 1, 6, 1, 2, 3, 4, 5, 6))
		if err != nil || len(rows) != 3 || rows[2][1] != 6 {
			t.Errorf("%s: %v, %v", kind, rows, err)
		}
	}
}

func TestFlatIndexThatIsNoneIsRefused(t *testing.T) {
	good := flatFile("IxF2", 2, 1, 1, 2, 1, 2)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"another kind":      {flatFile("IHNf", 2, 1, 1, 2, 1, 2), ErrNotFlat},
		"another metric":    {flatFile("IxF2", 2, 1, 7, 2, 1, 2), ErrNotFlat},
		"cut off":           {good[:len(good)-1], io.ErrUnexpectedEOF},
		"empty":             {nil, io.ErrUnexpectedEOF},
		"fewer numbers":     {flatFile("IxF2", 2, 2, 1, 2, 1, 2), nil},
		"huge":              {flatFile("IxF2", math.MaxInt32, math.MaxInt64, 1, math.MaxUint64), nil},
		"negative":          {flatFile("IxF2", -2, -1, 1, 2), nil},
		"product overflows": {flatFile("IxF2", 1<<16, 1<<31, 1, 0), nil},
	} {
		if rows, err := readFlat(c.data); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
}
