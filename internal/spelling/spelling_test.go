package spelling_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/taksuehiro/vectorstore/internal/spelling"
)

func TestUsual(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"葛城物産 AX-200":            "葛城物産 AX-200",
		"葛\U000E0100城":           "葛城",
		"辻\uFE00":                "辻",
		"桜\u200b木":               "桜木",
		"soft\u00adhyphen":       "softhyphen",
		"\ufeffBOM":              "BOM",
		"a\u2060b\u200dc\u200ed": "abcd",
		"か\u034f\u3099":          "か\u3099", // NFKC joins them now
		"AX\u2212200":            "AX-200",
		"A\u2010B\u2011C\u2012D\u2013E\u2014F\u2015G": "A-B-C-D-E-F-G",
		"A－B﹣C‐D゠E〜F":                                 "A-B-C-D-E-F",
		"サーバー":                                        "サーバー", // a long vowel is no dash
		"\xff\u200b":                                  "\uFFFD",
	} {
		if got := spelling.Usual(in); got != want {
			t.Errorf("%+q: %+q, want %+q", in, got, want)
		}
	}
}

// What the Go tables know of the property must be known here: they hold parts of it under other names.
func TestIgnorableCharactersAreThoseOfUnicode(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		derived := unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r) ||
			unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.White_Space, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) &&
				!(r >= 0xFFF9 && r <= 0xFFFB) && !(r >= 0x13430 && r <= 0x13440)
		if 0xD800 <= r && r < 0xE000 {
			continue
		}
		if gone := strings.TrimSpace(spelling.Usual("x"+string(r))) == "x" && !unicode.IsSpace(r); gone != derived {
			t.Errorf("%U: left out %v, want %v", r, gone, derived)
		}
	}
}
