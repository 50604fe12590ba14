package embedtest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func post(t *testing.T, s *Server, key, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest("POST", s.URL()+"/embeddings", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, res.Header, err.Error()
	}
	return res.StatusCode, res.Header, string(out)
}

func TestTheWireFormat(t *testing.T) {
	s := Start(t, Options{Dims: 64, Key: "right", Models: []string{"m"}})
	status, _, body := post(t, s, "right", `{"model":"m","input":"冷凍倉庫の温度監視","encoding_format":"base64","dimensions":32}`)
	var got struct {
		Object string
		Data   []struct {
			Object    string
			Index     int
			Embedding string
		}
		Model string
		Usage struct {
			Prompt int `json:"prompt_tokens"`
			Total  int `json:"total_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	raw, err := base64.StdEncoding.DecodeString(got.Data[0].Embedding)
	if err != nil || len(raw) != 4*32 || got.Object != "list" || got.Data[0].Object != "embedding" || got.Model != "m" || got.Usage.Prompt != 9 || got.Usage.Total != 9 {
		t.Errorf("%+v, %d bytes, %v", got, len(raw), err)
	}
	if status, _, body := post(t, s, "right", `{"model":"m","input":["a","b"]}`); status != 200 || strings.Count(body, `"embedding":[`) != 2 {
		t.Errorf("numbers: %d %.200s", status, body)
	}
}

func TestErrorsAreThoseOfTheAPI(t *testing.T) {
	s := Start(t, Options{Dims: 64, Key: "right", Models: []string{"m"}, MaxBatch: 2})
	for name, c := range map[string]struct {
		key, body, want string
		status          int
	}{
		"wrong key":        {"wrong", `{"model":"m","input":"a"}`, "invalid_api_key", 401},
		"unknown model":    {"right", `{"model":"x","input":"a"}`, "model_not_found", 404},
		"not JSON":         {"right", `{`, "parse the JSON", 400},
		"no input":         {"right", `{"model":"m"}`, "'$.input' is invalid", 400},
		"empty text":       {"right", `{"model":"m","input":["a",""]}`, "empty string", 400},
		"too many texts":   {"right", `{"model":"m","input":["a","b","c"]}`, "array too long", 400},
		"too long a text":  {"right", `{"model":"m","input":"` + strings.Repeat("倉", 8193) + `"}`, "maximum context length", 400},
		"odd format":       {"right", `{"model":"m","input":"a","encoding_format":"x"}`, "encoding_format", 400},
		"too many numbers": {"right", `{"model":"m","input":"a","dimensions":65}`, "dimensions", 400},
	} {
		status, _, body := post(t, s, c.key, c.body)
		if status != c.status || !strings.Contains(body, c.want) || !strings.Contains(body, `"error":{`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestEachFaultDoesWhatItSaysAndIsCounted(t *testing.T) {
	const body = `{"model":"m","input":["a","b","c","d"],"encoding_format":"float"}`
	for name, c := range map[string]struct {
		faults    Faults
		status    int
		want      string // in the body
		destroyed int
	}{
		"none":        {Faults{}, 200, `"index":3`, 0},
		"too many":    {Faults{TooMany: 1}, 429, "rate_limit_exceeded", 4},
		"internal":    {Faults{Internal: 1}, 500, "server_error", 4},
		"bad gateway": {Faults{BadGateway: 1}, 502, "<html>", 4},
		"overloaded":  {Faults{Overloaded: 1}, 529, "overloaded", 4},
		"drop":        {Faults{Drop: 1}, 0, "EOF", 4},
		"half":        {Faults{Half: 1}, 200, "unexpected EOF", 2},
		"shuffle":     {Faults{Shuffle: 1}, 200, `"index":0`, 0},
		"NaN":         {Faults{NaN: 1}, 200, "NaN", 1},
		"wrong dims":  {Faults{WrongDims: 1}, 200, `"index":0`, 1},
		"wrong count": {Faults{WrongCount: 1}, 200, `"index":0`, 4},
		"drip":        {Faults{Drip: 1}, 200, `"index":3`, 0},
		"slow":        {Faults{Slow: 1}, 200, `"index":3`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, Options{Dims: 16, Faults: c.faults})
			status, _, got := post(t, s, "", body)
			st := s.Stats()
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%d %s", status, got)
			}
			if st.DestroyedTexts != c.destroyed || st.AnsweredTexts != 4-c.destroyed || st.Texts != 4 {
				t.Errorf("%+v, want %d destroyed", st, c.destroyed)
			}
		})
	}
}

func TestTheLimitSaysWhenToComeBack(t *testing.T) {
	s := Start(t, Options{Dims: 16, Limit: Limit{Requests: 0.5, Headers: true}})
	if status, h, _ := post(t, s, "", `{"model":"m","input":"a"}`); status != 200 || h.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%d %v", status, h)
	}
	if status, h, _ := post(t, s, "", `{"model":"m","input":"a"}`); status != 429 || h.Get("Retry-After") != "2" {
		t.Errorf("%d %v", status, h)
	}
	if st := s.Stats(); st.Throttled != 1 || st.RefusedTexts != 1 || st.DestroyedTexts != 1 {
		t.Errorf("%+v", st)
	}
}
