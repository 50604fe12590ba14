package sentence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/sentence"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

// texts in Japanese and English: the sample catalogue's records and their lines, the questions, the documents' lines, and
// what people would not write.
func texts(t *testing.T) []string {
	t.Helper()
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join(harness.Root(), path))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var out []string
	_, err := vendors.Read(strings.NewReader(read("testdata/vendors.json")), vendors.DefaultRules(), vendors.DefaultLimits(), nil, func(r vendors.Record) error {
		out = append(out, r.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"testdata/questions/tuning.jsonl", "README.md", "README.ja.md", "docs/CATALOGUE.ja.md"} {
		for line := range strings.Lines(read(file)) {
			if len(line) > 20 {
				out = append(out, strings.ToValidUTF8(line[:min(len(line), 120)], ""))
			}
		}
	}
	out = append(out, "", " ", "  a  b ", "ＡＢＣ ①㈱ ﾊﾝｶｸ", "zzzzqqqq", "😀👩‍👩‍👧 emoji", "한국어 테스트", "\u200bhello\u3000世界", "<s> </s> <unk>", "▁x▁", "¨ a", "e\u0301",
		"\n\n", "\x00\x01", strings.Repeat("x", 3000), strings.Join(out[:20], " "))
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		var b strings.Builder
		for range rng.IntN(30) {
			switch r := rune(rng.IntN(0x30000)); {
			case rng.IntN(2) == 0:
				b.WriteRune(r % 0x3100)
			default:
				b.WriteRune(r) // a surrogate becomes U+FFFD
			}
		}
		out = append(out, b.String())
	}
	return out
}

// The model's own package, asked in the same words, cuts into the same pieces and makes the same vectors.
func TestTheModelIsThatOfItsPackage(t *testing.T) {
	m, err := sentence.Open(harness.Weights(t))
	if err != nil {
		t.Fatal(err)
	}
	all := texts(t)
	asked, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "texts.json")
	if err := os.WriteFile(file, asked, 0o600); err != nil {
		t.Fatal(err)
	}
	answer := json.NewDecoder(bytes.NewReader(harness.RunPython(t, "internal/embed/sentence/testdata/reference.py", file)))
	e, vectors := m.NewEncoder(), make([]float32, len(all)*sentence.Dims)
	e.Encode(all, vectors)
	worst := 1.0
	for i, text := range all {
		var want struct {
			Pieces []int32
			Vector []float64
		}
		if err := answer.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got := e.Pieces(text); !slices.Equal(got, want.Pieces) {
			t.Errorf("%q is cut into %v, want %v", text, got, want.Pieces)
		}
		cosine := 0.0
		for j, v := range want.Vector {
			cosine += v * float64(vectors[i*sentence.Dims+j])
		}
		if worst = min(worst, cosine); cosine < 0.99999 {
			t.Errorf("%.60q: cosine %.6f", text, cosine)
		}
	}
	t.Logf("%d texts, lowest cosine %.7f", len(all), worst)
	if len(all) < 500 {
		t.Errorf("only %d texts", len(all))
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, sentence.FileName)
	if _, err := sentence.Open(dir); !errors.Is(err, sentence.ErrNotInstalled) || sentence.Installed(dir) {
		t.Errorf("without a file: %v, installed %v", err, sentence.Installed(dir))
	}
	for _, size := range []int64{0, 1 << 20, 81485056} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		_, err := sentence.Open(dir)
		if err == nil || !strings.Contains(err.Error(), "make weights") || errors.Is(err, sentence.ErrNotInstalled) {
			t.Errorf("a file of %d zeros: %v", size, err)
		}
	}
}

// What texts mean decides: the same in another language or other words is nearer than what shares words.
func TestMeaningDecides(t *testing.T) {
	m, err := sentence.Open(harness.Weights(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, near, far string }{
		{"冷凍倉庫の温度を監視する", "watching the temperature of a cold store", "冷凍食品の味を評価する"},
		{"社員の勤怠を管理したい", "従業員の出退勤を記録するサービス", "社員食堂の献立を管理するサービス"},
		{"parcel delivery", "荷物を届ける", "delivery of a speech"},
	} {
		v := make([]float32, 3*sentence.Dims)
		m.NewEncoder().Encode([]string{c.text, c.near, c.far}, v)
		cosine := func(a, b int) (sum float64) {
			for i := range sentence.Dims {
				sum += float64(v[a*sentence.Dims+i]) * float64(v[b*sentence.Dims+i])
			}
			return sum
		}
		if near, far := cosine(0, 1), cosine(0, 2); near <= far || math.IsNaN(near) {
			t.Errorf("%s: %.3f to %s, %.3f to %s", c.text, near, c.near, far, c.far)
		}
	}
}
