package embed

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type got struct {
	index, size int
	vec         []float32
}

func decodeAll(body io.Reader, dims int) (entries []got, a answer, err error) {
	a, err = newAnswerDecoder(body, dims).decode(func(i int, v []float32, size int) error {
		entries = append(entries, got{i, size, slices.Clone(v)})
		return nil
	})
	return entries, a, err
}

func b64(v ...float32) string {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestAnswersOfManyShapesAreRead(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"base64":            {`{"data":[{"index":0,"embedding":"` + b64(1, 2) + `"}],"usage":{"prompt_tokens":3,"total_tokens":3}}`, "[{0 2 [1 2]}] 3"},
		"numbers":           {`{"data":[{"index":0,"embedding":[1,2.5e0]}]}`, "[{0 2 [1 2.5]}] 0"},
		"index last":        {`{"data":[{"embedding":[1,2],"index":1},{"embedding":[3,4],"index":0}]}`, "[{1 2 [1 2]} {0 2 [3 4]}] 0"},
		"no index":          {`{"data":[{"embedding":[1,2]}]}`, "[{-1 2 [1 2]}] 0"},
		"spaces":            {" {\n\t\"data\" : [ { \"embedding\" : [ 1 , 2 ] , \"index\" : 0 } ] }\r\n", "[{0 2 [1 2]}] 0"},
		"unknown members":   {`{"x":{"a":[1,{"b":"}]\""}],"c":null},"data":[{"y":[[]],"index":0,"embedding":[1,2],"z":true}],"model":"m"}`, "[{0 2 [1 2]}] 0"},
		"usage first":       {`{"usage":{"total_tokens":7,"details":{"a":1}},"data":[]}`, "[] 7"},
		"no padding":        {`{"data":[{"index":0,"embedding":"` + strings.TrimRight(b64(1, 2), "=") + `"}]}`, "[{0 2 [1 2]}] 0"},
		"escaped slashes":   {`{"data":[{"index":0,"embedding":"` + strings.ReplaceAll(b64(math.Float32frombits(0xffffffff), 1), "/", `\/`) + `"}]}`, "[{0 2 [NaN 1]}] 0"},
		"NaN and null":      {`{"data":[{"index":0,"embedding":[NaN,null]}]}`, "[{0 2 [NaN NaN]}] 0"},
		"too long, base64":  {`{"data":[{"index":0,"embedding":"` + b64(make([]float32, 500)...) + `"}]}`, "[{0 500 []}] 0"},
		"too long, numbers": {`{"data":[{"index":0,"embedding":[1,2,3]}]}`, "[{0 3 [1 2]}] 0"},
		"too short":         {`{"data":[{"index":0,"embedding":[1]}]}`, "[{0 1 [1]}] 0"},
		"empty":             {`{"data":[]}`, "[] 0"},
		"no data":           {`{"error":{"message":"x"}}`, "[] 0"},
		"data is no list":   {`{"data":{}}`, "[] 0"},
		"usage null":        {`{"data":[{"index":0,"embedding":[1,2]}],"usage":null}`, "[{0 2 [1 2]}] 0"},
		"usage a string":    {`{"data":[{"index":0,"embedding":[1,2]}],"usage":"free"}`, "[{0 2 [1 2]}] 0"},
		"usage of strings":  {`{"data":[{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":"3","total_tokens":"x"}}`, "[{0 2 [1 2]}] 3"},
		"usage of objects":  {`{"data":[{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":{"a":[1]},"total_tokens":null}}`, "[{0 2 [1 2]}] 0"},
		"index null":        {`{"data":[{"index":null,"embedding":[1,2]}]}`, "[{-1 2 [1 2]}] 0"},
		"index a string":    {`{"data":[{"index":"1","embedding":[1,2]}]}`, "[{1 2 [1 2]}] 0"},
		"index no number":   {`{"data":[{"index":"first","embedding":[1,2]},{"index":1.5,"embedding":[1,2]},{"index":[],"embedding":[1,2]}]}`, "[{-1 2 [1 2]} {-1 2 [1 2]} {-1 2 [1 2]}] 0"},
		"strings":           {`{"data":[{"index":0,"embedding":["1","2.5"]}]}`, "[{0 2 [1 2.5]}] 0"},
		"strings of words":  {`{"data":[{"index":0,"embedding":["1","x"]}]}`, "[{0 2 [1 NaN]}] 0"},
		"no embedding":      {`{"data":[{},{"embedding":null},{"embedding":7},{"embedding":{}}]}`, "[{-1 0 []} {-1 0 []} {-1 0 []} {-1 0 []}] 0"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.body), iotest.OneByteReader(strings.NewReader(c.body))} {
			entries, a, err := decodeAll(r, 2)
			if s := fmt.Sprint(entries, a.tokens); err != nil || s != c.want {
				t.Errorf("%s: got %s, %v, want %s", name, s, err, c.want)
			}
		}
	}
}

func TestBrokenAnswersAreToldFromWrongOnes(t *testing.T) {
	whole := `{"object":"list","data":[{"index":0,"embedding":"` + b64(1, 2) + `"},{"index":1,"embedding":[1,2]}],"usage":{"total_tokens":3}}`
	for cut := range len(whole) {
		if _, _, err := decodeAll(strings.NewReader(whole[:cut]), 2); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %q: %v", whole[:cut], err)
		}
	}
	for _, body := range []string{
		`[]`, `<html>`, `{"data":[{"embedding":"%%%%"}]}`, `{"data":[{"embedding":[[1]]}]}`, `{"data":[1]}`,
		`{"data":[{"embedding":[1 2]}]}`, `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"data":[]}`,
		`{"data":[{"embedding":[` + strings.Repeat("1", 1000) + `]}]}`, `{"` + strings.Repeat("k", 1000) + `":1,"data":[]}`,
	} {
		if _, _, err := decodeAll(strings.NewReader(body), 2); !errors.Is(err, errSyntax) {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}

// FuzzAnswer holds the decoder against encoding/json on whatever both accept.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"data":[{"index":0,"embedding":"` + b64(1, 2) + `"},{"index":1,"embedding":[1,-2e3]}],"usage":{"prompt_tokens":3}}`)
	f.Add(`{"data":[{"embedding":[]}],"x":[{"y":"\\"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		entries, _, err := decodeAll(strings.NewReader(body), 4)
		var std struct {
			Data []struct{ Embedding json.RawMessage }
		}
		if err != nil || json.Unmarshal([]byte(body), &std) != nil || strings.Count(body, `"data"`) != 1 || strings.Count(body, "mbedding") != len(std.Data) || strings.Contains(body, `\`) {
			return
		}
		if len(std.Data) != len(entries) {
			t.Fatalf("%d entries instead of %d in %s", len(entries), len(std.Data), body)
		}
		for i, e := range std.Data {
			var numbers []float64
			if e.Embedding != nil && json.Unmarshal(e.Embedding, &numbers) == nil && numbers != nil && len(numbers) != entries[i].size {
				t.Fatalf("entry %d has %d numbers instead of %d in %s", i, entries[i].size, len(numbers), body)
			}
		}
	})
}
