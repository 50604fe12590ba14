package lexical

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func build(t testing.TB, fields ...snapshot.Words) *Index {
	t.Helper()
	built, err := Build(len(fields), nil, func(i int) (snapshot.Words, error) { return fields[i], nil })
	if err != nil {
		t.Fatal(err)
	}
	x, err := From(copied(built), len(fields)) // as a replica opens it
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func copied(x *Index) (arrays [][]byte) {
	for _, a := range x.Arrays() {
		arrays = append(arrays, slices.Clone(a))
	}
	return arrays
}

func TestArraysThatDoNotFitAreRefused(t *testing.T) {
	x := build(t, snapshot.Words{Name: "甲社", Text: "冷凍倉庫"}, snapshot.Words{Name: "乙社", Text: "倉庫の温度"})
	for name, change := range map[string]func(a [][]byte) [][]byte{
		"version":     func(a [][]byte) [][]byte { a[0][0]++; return a },
		"records":     func(a [][]byte) [][]byte { a[0][8]++; return a },
		"too few":     func(a [][]byte) [][]byte { return a[:9] },
		"none":        func([][]byte) [][]byte { return nil },
		"cut names":   func(a [][]byte) [][]byte { a[7] = a[7][:len(a[7])-1]; return a },
		"name ends":   func(a [][]byte) [][]byte { a[8][7] = 1; return a },
		"name places": func(a [][]byte) [][]byte { a[9] = a[9][:len(a[9])-4]; return a },
		"cut terms":   func(a [][]byte) [][]byte { a[1] = a[1][:len(a[1])-8]; return a },
		"odd terms":   func(a [][]byte) [][]byte { a[1] = a[1][:len(a[1])-1]; return a },
		"ends beyond": func(a [][]byte) [][]byte { a[2][len(a[2])-1] = 1; return a },
		"no postings": func(a [][]byte) [][]byte { a[4] = nil; return a },
		"no lengths":  func(a [][]byte) [][]byte { a[5] = nil; return a },
	} {
		if _, err := From(change(copied(x)), 2); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever a changed byte makes of the arrays, a search ends, with positions that exist.
func FuzzArrays(f *testing.F) {
	x := build(f, snapshot.Words{Name: "株式会社コールドアイ", Text: "冷凍倉庫の温度監視", Keywords: []string{"CE-200"}}, snapshot.Words{Text: "倉庫の温度 CE 200"}, snapshot.Words{Text: "橋"})
	f.Add(uint8(4), uint32(0), byte(0xff))
	f.Add(uint8(6), uint32(8), byte(9))
	f.Fuzz(func(t *testing.T, array uint8, at uint32, value byte) {
		arrays := copied(x)
		in := arrays[int(array)%len(arrays)]
		in[int(at)%len(in)] = value
		damaged, err := From(arrays, 3)
		if err != nil {
			return
		}
		dead := roaring.BitmapOf(1, 3) // 3 is none of its rows
		for of, size := range map[*Joined]int64{
			damaged.alone: 3,
			Join([]Part{{damaged, dead, 0}, {x, nil, 3}}, nil): 6,
			Join([]Part{{x, nil, 0}, {damaged, dead, 3}}, nil): 6,
		} {
			for _, query := range []string{"冷凍倉庫の温度", "コールドアイ", "CE-200", "橋", "コール", "コルドアイ"} {
				pos, _, _ := of.Search(query, 5, nil)
				for _, p := range pos {
					if p < 0 || p >= size {
						t.Fatalf("%q found position %d", query, p)
					}
				}
			}
		}
	})
}

func texts(s ...string) []snapshot.Words {
	out := make([]snapshot.Words, len(s))
	for i := range s {
		out[i].Text = s[i]
	}
	return out
}

func TestWordsAreFoundInAnySpelling(t *testing.T) {
	x := build(t, texts("冷凍倉庫の温度監視", "ＡＸ－２００ Ｃｌｏｕｄ", "ﾊﾞｯｸｱｯﾌﾟ サーバー", "橋の点検、ひび割れ", "みのり制御", "Straße Привет")...)
	for query, want := range map[string]int64{
		"倉庫": 0, "温度": 0, "凍": 0, "ax-200": 1, "AX200": 1, "ax 200": 1, "cloud": 1, "バックアップ": 2, "サーバ": 2,
		"橋": 3, "ひび": 3, "ミノリ": 4, "straße": 5, "ПРИВЕТ": 5,
	} {
		pos, scores, _ := x.Search(query, 3, nil)
		if len(pos) == 0 || pos[0] != want || scores[0] <= 0 {
			t.Errorf("%q finds %v, want %d first", query, pos, want)
		}
	}
	for _, query := range []string{"", " 、。", "zzz", "庫倉", "\xff\xfe"} {
		if pos, _, _ := x.Search(query, 3, nil); len(pos) != 0 {
			t.Errorf("%q finds %v, want nothing", query, pos)
		}
	}
}

func TestExactNamesScoreThreeOrMore(t *testing.T) {
	x := build(t,
		snapshot.Words{Name: "株式会社カギラボ", Text: "扉の錠", Keywords: []string{"V-060", "カギラボ錠"}},
		snapshot.Words{Name: "鍵の話", Text: "カギラボ カギラボ カギラボ V-060 V-060 株式会社カギラボ"},
		snapshot.Words{Name: "Acme Tools Inc.", Text: "tools"},
	)
	for _, tt := range []struct {
		query string
		want  int64
		exact bool
	}{
		{"カギラボ", 0, true}, {"株式会社カギラボ", 0, true}, {"カギラボ株式会社", 0, true}, {"㈱カギラボ", 0, true}, {" かぎらぼ ", 0, true},
		{"v060", 0, true}, {"Ｖ－０６０", 0, true}, {"acme tools", 2, true}, {"ACME TOOLS, INC.", 2, true}, {"カギラボ 扉", 0, false}, {"tools", 2, false},
	} {
		pos, scores, _ := x.Search(tt.query, 3, nil)
		if len(pos) == 0 || pos[0] != tt.want || (scores[0] >= exactBonus) != tt.exact {
			t.Errorf("%q finds %v with %v, want %d first, exact %v", tt.query, pos, scores, tt.want, tt.exact)
		}
	}
}

func TestAWholeNameInTheQueryBeatsAPartOfOne(t *testing.T) {
	x := build(t, append(slices.Repeat([]snapshot.Words{{Name: "他社", Text: "価格"}}, 30),
		snapshot.Words{Name: "甲社", Text: "計器", Keywords: []string{"温度ナビ計"}},
		snapshot.Words{Name: "乙社", Text: "計器", Keywords: []string{"温度ナビ", "計"}}, // the same terms
	)...)
	pos, scores, _ := x.Search("温度ナビの費用", 2, nil)
	if !slices.Equal(pos, []int64{31, 30}) || scores[0] < 1 || scores[0] >= 2 || scores[1] >= 1 {
		t.Errorf("positions %v, scores %v; want 31 first, from 1 to 2, and 30 below 1", pos, scores)
	}
}

func TestANameOfCommonWordsIsNoName(t *testing.T) {
	fields := texts(slices.Repeat([]string{"在庫管理と倉庫管理、庫管"}, 10)...)
	x := build(t, append(fields, snapshot.Words{Name: "甲社", Text: "帳票", Keywords: []string{"在庫管理"}})...)
	if _, scores, _ := x.Search("在庫管理が得意な会社", 1, nil); scores[0] >= 1 {
		t.Errorf("scores %v, want below 1", scores)
	}
	if pos, scores, _ := x.Search("在庫管理", 1, nil); pos[0] != 10 || scores[0] < exactBonus {
		t.Errorf("the name as the whole query finds %v with %v, want 10 with 3 or more", pos, scores)
	}
}

func TestAllowIsAllThatIsReturned(t *testing.T) {
	x := build(t, texts("倉庫", "倉庫 倉庫", "倉庫 監視", "監視")...)
	pos, _, _ := x.Search("倉庫", 10, roaring.BitmapOf(2, 3))
	if !slices.Equal(pos, []int64{2}) {
		t.Errorf("positions %v, want [2]", pos)
	}
	if pos, _, _ := x.Search("倉庫", 10, roaring.New()); len(pos) != 0 {
		t.Errorf("positions %v of an empty bitmap", pos)
	}
}

func TestEqualScoresAreInCatalogueOrder(t *testing.T) {
	x := build(t, texts(slices.Repeat([]string{"倉庫"}, 50)...)...)
	pos, _, _ := x.Search("倉庫", 10, nil)
	if !slices.Equal(pos, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("positions %v", pos)
	}
}

func TestNothingIsFoundInNothing(t *testing.T) {
	x := build(t)
	if pos, scores, _ := x.Search("倉庫", 5, nil); len(pos)+len(scores) != 0 {
		t.Errorf("%v, %v", pos, scores)
	}
	y := build(t, texts("倉庫")...)
	for _, k := range []int{0, -1} {
		if pos, _, _ := y.Search("倉庫", k, nil); len(pos) != 0 {
			t.Errorf("k = %d finds %v", k, pos)
		}
	}
	broken := errors.New("disk")
	if _, err := Build(1, nil, func(int) (snapshot.Words, error) { return snapshot.Words{}, broken }); !errors.Is(err, broken) {
		t.Errorf("Build() = %v, want %v", err, broken)
	}
}

// naive is BM25 from its definition, over the terms of x.
func naive(x *Index, fields []snapshot.Words, query string) map[int64]float64 {
	n := float64(len(fields))
	tfs := make([]map[uint64]float64, len(fields))
	lengths := make([]float64, len(fields))
	df := make(map[uint64]float64)
	var total float64
	for i, f := range fields {
		tfs[i] = make(map[uint64]float64)
		more := func(s string, weight float64) {
			add := func(h uint64) { tfs[i][h&^1] += weight }
			documentTerms(fold(nil, s), add)
			stems(fold(nil, s), add)
			(&builder{}).heardTerms(fold(nil, s), add)
		}
		documentTerms(fold(nil, f.Text), func(uint64) { lengths[i]++ })
		more(f.Text, 1)
		for _, s := range append([]string{f.Name}, f.Keywords...) {
			more(s, nameWeight)
		}
		for h := range tfs[i] {
			df[h]++
		}
		total += lengths[i]
	}
	mean := max(total/n, 1)
	terms := make(map[uint64]float64) // what each counts
	want := func(h uint64, gain float64) { terms[h&^1] = max(terms[h&^1], gain) }
	idf := func(df float64) float64 { return math.Log(1 + (n-df+0.5)/(df+0.5)) }
	var reach, missed float64
	queryTerms(fold(nil, query), want)
	maps.DeleteFunc(terms, func(h uint64, gain float64) bool {
		if df[h] == 0 {
			missed += gain * idf(0) * (k1 + 1)
		}
		return df[h] == 0
	})
	meant := func(h uint64, gain float64) {
		if df[h&^1] > 0 {
			missed = max(0, missed-gain*idf(df[h&^1])*(k1+1))
			want(h, gain)
		}
	}
	stems(fold(nil, query), func(h uint64) { meant(h, 1) })
	if kana := x.alone.heardQuery(fold(nil, query)); kana != nil {
		x.alone.heardWords(kana, func(h uint64) { meant(h, 1) }) // how a question is cut is tested by itself, as what slips may mean
	}
	x.alone.mistyped(fold(nil, query), func(h uint64) { meant(h, typoGain) })
	reach = missed
	out := make(map[int64]float64)
	for h, gain := range terms {
		reach += gain * idf(df[h]) * (k1 + 1)
		for i := range fields {
			if tf := tfs[i][h]; tf > 0 {
				tf = float64(frequencies[frequencyClass(int(tf))])
				out[int64(i)] += gain * idf(df[h]) * tf * (k1 + 1) / (tf + k1*(1-b+b*lengths[i]/mean))
			}
		}
	}
	for p := range out {
		out[p] /= reach
	}
	return out
}

func TestScoresAreThoseOfBM25(t *testing.T) {
	words := []string{"倉庫", "温度", "監視", "cloud", "AX-200", "サーバー", "の", "橋", "あい", "ab", " "}
	sentence := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 12).Draw(t, "words"), rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
	})
	rapid.Check(t, func(t *rapid.T) {
		fields := make([]snapshot.Words, rapid.IntRange(1, 40).Draw(t, "n"))
		for i := range fields {
			fields[i] = snapshot.Words{Name: fmt.Sprintf("name%d %s", i, sentence.Draw(t, "name")), Text: sentence.Draw(t, "text")}
		}
		x, err := Build(len(fields), nil, func(i int) (snapshot.Words, error) { return fields[i], nil })
		if err != nil {
			t.Fatal(err)
		}
		query := sentence.Draw(t, "query")
		want := naive(x, fields, query)
		pos, scores, _ := x.Search(query, len(fields), nil)
		if len(pos) != len(want) {
			t.Fatalf("%q finds %v, want %d records", query, pos, len(want))
		}
		for i, p := range pos {
			if math.Abs(float64(scores[i])-want[p]) > 1e-5 {
				t.Fatalf("record %d scores %v, want %v", p, scores[i], want[p])
			}
			if i > 0 && scores[i] > scores[i-1] {
				t.Fatalf("scores rise: %v", scores)
			}
		}
		k := rapid.IntRange(1, 10).Draw(t, "k")
		few, _, _ := x.Search(query, k, nil)
		if !slices.Equal(few, pos[:min(k, len(pos))]) {
			t.Fatalf("first %d are %v, want %v", k, few, pos[:min(k, len(pos))])
		}
	})
}

func TestLongListsSurviveTheArena(t *testing.T) {
	const n = 70_000 // the postings of a term in every record fill many blocks
	x, err := Build(n, nil, func(i int) (snapshot.Words, error) {
		return snapshot.Words{Text: fmt.Sprintf("common %d %s", i, strings.Repeat("common ", i%20))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pos, _, _ := x.Search("common", n, nil); len(pos) != n {
		t.Errorf("%d records have the word, want %d", len(pos), n)
	}
	for _, i := range []int{0, 1, 12_345, n - 1} {
		if pos, _, _ := x.Search(fmt.Sprint(i), 1, nil); len(pos) != 1 || pos[0] != int64(i) {
			t.Errorf("%d finds %v", i, pos)
		}
	}
}

func TestSearchesRunSideBySide(t *testing.T) {
	x := build(t, texts("倉庫 監視", "倉庫", "監視 監視", "温度")...)
	want, wantScores, _ := x.Search("倉庫の監視", 4, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				pos, scores, _ := x.Search("倉庫の監視", 4, nil)
				if !slices.Equal(pos, want) || !slices.Equal(scores, wantScores) {
					t.Errorf("%v, %v; want %v, %v", pos, scores, want, wantScores)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzSearch(f *testing.F) {
	x := build(f,
		snapshot.Words{Name: "株式会社カギラボ", Text: "扉に後付けできる電子錠", Keywords: []string{"KL-80"}},
		snapshot.Words{Name: "倉庫システム", Text: "在庫とロットの管理 WMS ISO/IEC 27001"},
	)
	for _, q := range []string{"カギラボ", "kl-80", "在庫 管理", "", "株式会社", "--..--", "\xffa\xfe", "a-b-c-d-e-f", "ｶﾞｷﾞ", "𠮷"} {
		f.Add(q, 2)
	}
	f.Fuzz(func(t *testing.T, query string, k int) {
		pos, scores, _ := x.Search(query, k, nil)
		if len(pos) != len(scores) || len(pos) > max(k, 0) || len(pos) > 2 {
			t.Fatalf("k = %d: %v, %v", k, pos, scores)
		}
		for i := range pos {
			if pos[i] < 0 || pos[i] > 1 || !(scores[i] > 0 && scores[i] <= 4) || i > 0 && scores[i] > scores[i-1] {
				t.Fatalf("%v, %v", pos, scores)
			}
		}
	})
}

func TestABeginningOfANameFindsIt(t *testing.T) {
	x := build(t,
		snapshot.Words{Name: "ベンダーA", Text: "ベンダーB ベンダーB ベンダーB"},
		snapshot.Words{Name: "ベンダーB (updated)"},
		snapshot.Words{Name: "株式会社タレントアイ・プロ", Text: "人事"},
		snapshot.Words{Name: "Acme Tools Inc.", Text: "tools"},
		snapshot.Words{Name: "人事タレント", Text: "タレント タレントア", Keywords: []string{"採用ナビ"}},
		snapshot.Words{Name: "ＡＸ−２００計器"},
	)
	for query, want := range map[string]int64{
		"ベンダーB": 1, "べんだーＢ": 1, "ベンダーB (upd": 1, "ベンダーA": 0,
		"タレント": 2, "タレントア": 2, "株式会社タレ": 2, "タレントアイ ぷ": 2,
		"Acm": 3, "acme to": 3, "ACME TOOLS, IN": 3, "AX-2": 5, "ax2": 5, "AX–200計": 5,
	} {
		pos, scores, _ := x.Search(query, 6, nil)
		if len(pos) == 0 || pos[0] != want || scores[0] < prefixBonus {
			t.Errorf("%q finds %v with %v, want %d first with 2 or more", query, pos, scores, want)
		}
		if len(scores) > 1 && scores[1] >= prefixBonus {
			t.Errorf("%q: %v", query, scores)
		}
	}
	for _, query := range []string{"ベン", "ac", "株式", "(up", "・・・", "ax"} { // too short, or no beginning
		if _, scores, _ := x.Search(query, 6, nil); len(scores) > 0 && scores[0] >= prefixBonus {
			t.Errorf("%q scores %v", query, scores)
		}
	}
	// What many names begin with means none of them; a few come in the order of how much of their names it is.
	many := slices.Repeat([]snapshot.Words{{Name: "共通商事甲"}}, maxPrefixed+1)
	if _, scores, _ := build(t, many...).Search("共通商", 6, nil); scores[0] >= prefixBonus {
		t.Errorf("%d names: %v", len(many), scores)
	}
	few := build(t, snapshot.Words{Name: "共通商事東日本販売"}, snapshot.Words{Name: "共通商事"}, snapshot.Words{Name: "共通商事西"})
	if pos, _, _ := few.Search("共通商", 6, nil); !slices.Equal(pos, []int64{1, 2, 0}) {
		t.Errorf("order %v", pos)
	}
	if pos, scores, _ := few.Search("共通商事", 6, nil); pos[0] != 1 || scores[0] < exactBonus || scores[1] >= prefixBonus {
		t.Errorf("the name itself: %v with %v", pos, scores)
	}
}

// Names are found as people type them, whatever stands in them unseen, and the other way round.
func TestWhatIsNotSeenDoesNotMatter(t *testing.T) {
	for name, query := range map[string]string{
		"葛\U000E0100城物産": "葛城", "辻\U000E0101本工務店": "辻本工務店", "辻\uFE00本": "辻本", "桜\u200b木電機": "桜木", "Soft\u00adware House": "software house",
		"\ufeff朝日商会": "朝日商会", "か\u034f\u3099っこう": "がっこう", "एक\u200dता": "एकता", "\u200eABC\u200f商事": "abc商事", "甲\u2060乙丙": "甲乙丙", "☎\ufe0f電話局": "電話局",
		"AX\u2212200計器": "AX200", "BX\u2013300": "bx-300", "CX\u2011400": "CX-400", "DX\u2014500": "DX500", "EX－600": "ex600", "FX\u30a0700": "FX-700",
	} {
		for _, c := range [][2]string{{name, query}, {query, name}} {
			x := build(t, snapshot.Words{Name: "別の会社", Text: "葛 城 辻 本 桜 木 AX 200"}, snapshot.Words{Name: c[0], Text: "農産物"})
			if pos, scores, _ := x.Search(c[1], 2, nil); len(pos) == 0 || pos[0] != 1 || scores[0] <= 0 {
				t.Errorf("%+q for %+q finds %v with %v", c[1], c[0], pos, scores)
			}
		}
	}
}
