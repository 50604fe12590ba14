package suite

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/load"
)

// jsonBody writes the vector as numbers, each the shortest that gives the float32 back.
func jsonBody(vector []float32) []byte {
	b := []byte(`{"vector":[`)
	for i, v := range vector {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(v), 'g', -1, 32)
	}
	return fmt.Appendf(b, `],"k":%d}`, dataset.K)
}

// base64Body writes the vector as little-endian float32 in base64.
func base64Body(vector []float32) []byte {
	raw := make([]byte, 0, 4*len(vector))
	for _, v := range vector {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return fmt.Appendf(nil, `{"vector":%q,"k":%d}`, base64.StdEncoding.EncodeToString(raw), dataset.K)
}

// requests of all queries of a set.
func requests(set *dataset.Set, addr string, encode func([]float32) []byte) load.Target {
	t := load.Target{Addr: addr, Requests: make([][]byte, set.Shape.Queries)}
	for i := range t.Requests {
		t.Requests[i] = load.Request(addr, "/search", encode(set.Query(i)))
	}
	return t
}

// positions reads the ids of an answer: numbers, or strings of digits.
func positions(body []byte) ([]int, error) {
	var answer struct {
		Results []struct {
			ID json.RawMessage `json:"id"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("answer %.80q: %w", body, err)
	}
	ids := make([]int, len(answer.Results))
	for i, r := range answer.Results {
		n, err := strconv.Atoi(string(bytes.Trim(r.ID, `"`)))
		if err != nil {
			return nil, err
		}
		ids[i] = n
	}
	return ids, nil
}
