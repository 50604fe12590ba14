package embed

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestTokensAreNeverUnderestimatedBadly compares with counts of the real cl100k_base tokenizer, recorded in testdata.
func TestTokensAreNeverUnderestimatedBadly(t *testing.T) {
	data, err := os.ReadFile("testdata/cl100k_counts.json")
	if err != nil {
		t.Fatal(err)
	}
	var counts [][2]any
	if err := json.Unmarshal(data, &counts); err != nil {
		t.Fatal(err)
	}
	sumTrue, sumGuess := 0, 0
	for _, c := range counts {
		truth, text := int(c[0].(float64)), c[1].(string)
		guess := estimateTokens(text)
		sumTrue, sumGuess = sumTrue+truth, sumGuess+guess
		if ratio := float64(guess) / float64(truth); ratio < 0.6 || ratio > 2.5 || utf8.RuneCountInString(text) > 40 && ratio < 0.95 {
			t.Errorf("%d tokens are estimated as %d: %.40q", truth, guess, text)
		}
	}
	if ratio := float64(sumGuess) / float64(sumTrue); ratio < 1 || ratio > 1.4 {
		t.Errorf("%d estimated for %d", sumGuess, sumTrue)
	}
}

func TestCutsEndOnARuneWithinTheLimit(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("冷凍倉庫", 50), strings.Repeat("a b😀", 50), strings.Repeat("word ", 50), "é", "😀", strings.Repeat("x", 300), "ab\xff\xfe倉\x80庫",
	} {
		for limit := range 40 {
			cut := cutToTokens(text, limit)
			if !strings.HasPrefix(text, cut) || estimateTokens(cut) > limit || utf8.ValidString(text) && !utf8.ValidString(cut) {
				t.Fatalf("%q cut to %d tokens is %q", text, limit, cut)
			}
			if rest := text[len(cut):]; rest != "" && utf8.ValidString(text) {
				_, n := utf8.DecodeRuneInString(rest)
				if longer := text[:len(cut)+n]; estimateTokens(longer) <= limit && estimateTokens(text) > limit {
					t.Fatalf("%q cut to %d tokens loses %q", text, limit, rest[:n])
				}
			}
		}
	}
}

func FuzzCutToTokens(f *testing.F) {
	f.Add("冷凍 storage 12", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 0), 100)
		if cut := cutToTokens(text, limit); !strings.HasPrefix(text, cut) || estimateTokens(cut) > limit || utf8.ValidString(text) && !utf8.ValidString(cut) {
			t.Errorf("%q, %d: %q", text, limit, cut)
		}
	})
}

func TestPricesAreKnownOrSaidNotToBe(t *testing.T) {
	if usd, known := Price("text-embedding-3-small", 5_000_000); !known || usd != 0.1 {
		t.Errorf("%v, %v", usd, known)
	}
	if _, known := Price("some-model", 5); known {
		t.Error("a price was made up")
	}
}
