package langchain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// graphFile is the start of a graph over a storage, with arrays of n entries.
func graphFile(kind string, metric int32, n int64, storage []byte) []byte {
	var b bytes.Buffer
	b.Write(flatFile(kind, 2, 1, metric, 0)[:headerSize])
	for _, size := range []int64{8, 4, 4, 8, 4} {
		_ = binary.Write(&b, binary.LittleEndian, n)
		if n >= 0 && n < 1000 {
			b.Write(make([]byte, n*size))
		}
	}
	b.Write(make([]byte, 20))
	b.Write(storage)
	return b.Bytes()
}

func TestDistancesChangeOnlyWhatNamesTheMetric(t *testing.T) {
	flat := flatFile("IxFI", 2, 1, 0, 2, 1, 2)
	for name, c := range map[string]struct {
		data []byte
		at   map[int]byte // what differs afterwards
		want error
	}{
		"flat":                       {flat, map[int]byte{3: '2', metricAt: 1}, nil},
		"inverted lists":             {flatFile("IwFl", 2, 1, 0, 2, 1, 2), map[int]byte{metricAt: 1}, nil},
		"graph":                      {graphFile("IHNf", 0, 3, flat), map[int]byte{metricAt: 1, 37 + 5*8 + 3*28 + 20 + 3: '2', 37 + 5*8 + 3*28 + 20 + metricAt: 1}, nil},
		"graph over codes":           {graphFile("IHNs", 0, 0, flatFile("IxSQ", 2, 1, 0, 2, 1, 2)), map[int]byte{metricAt: 1, 37 + 5*8 + 20 + metricAt: 1}, nil},
		"L2 already":                 {flatFile("IxF2", 2, 1, 1, 2, 1, 2), nil, ErrUnknownIndex},
		"another kind":               {flatFile("IxPq", 2, 1, 0, 2, 1, 2), nil, ErrUnknownIndex},
		"graph over something else":  {graphFile("IHNf", 0, 3, flatFile("IxPq", 2, 1, 0, 2)), nil, ErrUnknownIndex},
		"graph over L2":              {graphFile("IHNf", 0, 3, flatFile("IxF2", 2, 1, 1, 2)), nil, ErrUnknownIndex},
		"graph with a damaged array": {graphFile("IHNf", 0, -1, flat), nil, errAny},
		"graph that ends":            {graphFile("IHNf", 0, 3, nil), nil, io.ErrUnexpectedEOF},
		"graph of huge arrays":       {graphFile("IHNf", 0, 1<<39, flat), nil, io.ErrUnexpectedEOF},
		"empty":                      {nil, nil, io.ErrUnexpectedEOF},
	} {
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := os.WriteFile(src, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Distances(src, dst)
		if c.want != nil {
			if !errors.Is(err, c.want) && !(c.want == errAny && err != nil) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			continue
		}
		want := bytes.Clone(c.data)
		for at, b := range c.at {
			want[at] = b
		}
		got, rerr := os.ReadFile(dst)
		if err := errors.Join(err, rerr); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\ngot  %q\nwant %q", name, err, got, want)
		}
		if again, _ := os.ReadFile(src); !bytes.Equal(again, c.data) {
			t.Errorf("%s: the source changed", name)
		}
	}
}

var errAny = errors.New("any")
