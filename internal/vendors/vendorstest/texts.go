package vendorstest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// JSONText draws the text of a JSON value with insignificant whitespace, odd spellings and repeated structure.
func JSONText(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 6
		if depth == 0 {
			kinds = 4
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return stringText().Draw(t, "string")
		case 1:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal")
		case 2, 3:
			return rapid.SampledFrom([]string{"0", "-0", "1", "1.0", "1e0", "10E-1", "-2.50", "9007199254740993", "1e999", "7"}).Draw(t, "number")
		case 4:
			items := rapid.SliceOfN(JSONText(depth-1), 0, 3).Draw(t, "items")
			return "[" + strings.Join(items, space().Draw(t, "space")+",") + space().Draw(t, "space") + "]"
		}
		return ObjectText(depth-1, nil).Draw(t, "object")
	})
}

func stringText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.OneOf(rapid.SampledFrom([]string{"", "SaaS", "面談済", "a b", "x\ny", "\"\\/", "😀", "1", "true", "7", "-2.50", "007", "1.0 "}), rapid.String()).Draw(t, "text")
		if rapid.Bool().Draw(t, "escaped") {
			return strconv.QuoteToASCII("x")[:1] + escapeAll(s) + `"`
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	})
}

// escapeAll spells every character as \uXXXX.
func escapeAll(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xD800+r>>10, 0xDC00+r&0x3FF)
			continue
		}
		fmt.Fprintf(&b, `\u%04X`, r)
	}
	return b.String()
}

func space() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "", " ", "\n", "\t \r\n"})
}

// ObjectText draws an object of up to four members with few different keys, and the given members before them.
func ObjectText(depth int, first []string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		members := append([]string(nil), first...)
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "a.b", "c", "", "型", "b.c"}), 0, 4, rapid.ID).Draw(t, "keys")
		for _, k := range keys {
			key, err := json.Marshal(k)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, string(key)+space().Draw(t, "space")+":"+space().Draw(t, "space")+JSONText(depth).Draw(t, "value"))
		}
		return "{" + space().Draw(t, "space") + strings.Join(members, ","+space().Draw(t, "space")) + "}"
	})
}

// RecordTexts draws n records with the ids 0..n-1.
func RecordTexts(t *rapid.T, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = ObjectText(3, []string{fmt.Sprintf(`"id": "%d"`, i), `"name":"n"`}).Draw(t, "record")
	}
	return texts
}
