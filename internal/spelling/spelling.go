// Package spelling takes out of a text what is written and not seen, so that a name is found as people type it: a
// variation selector behind a kanji, a zero-width space or soft hyphen from a web page, one of two dozen dashes.
package spelling

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold returns s as texts are compared: as Usual does, in NFKC (full-width letters and half-width kana become the usual
// ones) and in lower case. Texts that are folded stay as they are.
func Fold(s string) string {
	if plain(s) {
		return s
	}
	return strings.ToLower(norm.NFKC.String(Usual(s)))
}

// plain tells whether s holds only what Fold leaves alone: nearly every Japanese text, and found out faster than by norm.
func plain(s string) bool {
	for _, r := range s {
		switch {
		case r < 0x80 && (r < 'A' || r > 'Z'), r >= 0x3041 && r <= 0x3096, r >= 0x30A1 && r <= 0x30FC, r >= 0x3001 && r <= 0x3011, r >= 0x4E00 && r <= 0x9FFF:
		default:
			return false
		}
	}
	return true
}

// ignorable is the property Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt): no glyph, by
// default no effect on the meaning.
var ignorable = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00AD, 0x00AD, 1}, {0x034F, 0x034F, 1}, {0x061C, 0x061C, 1}, {0x115F, 0x1160, 1}, {0x17B4, 0x17B5, 1},
		{0x180B, 0x180F, 1}, {0x200B, 0x200F, 1}, {0x202A, 0x202E, 1}, {0x2060, 0x206F, 1}, {0x3164, 0x3164, 1},
		{0xFE00, 0xFE0F, 1}, {0xFEFF, 0xFEFF, 1}, {0xFFA0, 0xFFA0, 1}, {0xFFF0, 0xFFF8, 1},
	},
	R32:         []unicode.Range32{{0x1BCA0, 0x1BCA3, 1}, {0x1D173, 0x1D17A, 1}, {0xE0000, 0xE0FFF, 1}},
	LatinOffset: 1,
}

// Usual returns s without ignorable characters and with every dash as a hyphen-minus. It comes before NFKC: an ignorable
// character between a letter and its mark would keep them apart.
func Usual(s string) string {
	for _, r := range s {
		if usual(r) != r {
			return strings.Map(usual, s)
		}
	}
	return s
}

// usual is r, a hyphen for any dash, or -1 for what is to be left out.
func usual(r rune) rune {
	switch {
	case r < 0xAD, r >= 0x3041 && r <= 0x3163 && r != 0x30A0, r >= 0x3400 && r <= 0x9FFF: // nearly everything
		return r
	case unicode.Is(ignorable, r):
		return -1
	case unicode.Is(unicode.Dash, r):
		return '-'
	}
	return r
}
