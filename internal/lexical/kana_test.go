package lexical

import (
	"slices"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

func TestRomajiIsReadInEveryUsualSpelling(t *testing.T) {
	for word, want := range map[string]string{
		"soko": "ソコ", "souko": "ソウコ", "shinbashi": "シンバシ", "shimbashi": "シンバシ", "sinbasi": "シンバシ", "tokyo": "トキョ",
		"toukyou": "トウキョウ", "tōkyō": "トキョ", "matchi": "マッチ", "macchi": "マッチ", "mattya": "マッチャ", "konnichiha": "コンニチハ",
		"konnya": "コンニャ", "hon": "ホン", "honn": "ホン", "kin'en": "", "onna": "オンナ", "jyosei": "ジョセイ", "zyosei": "ジョセイ", "ohta": "オタ",
		"butsuryuu": "ブツリュウ", "buturyu": "ブツリュ", "kaikei": "カイケイ", "hokuto": "ホクト", "genba": "ゲンバ", "shinnkansen": "シンカンセン",
		"cloud": "", "https": "", "x": "", "n": "ン", "linux": "", "rpa": "", "aws": "", "gyousei": "ギョウセイ", "patty": "", "nyuusatsu": "ニュウサツ",
	} {
		got, ok := romaji([]rune(word))
		if !ok {
			got = nil
		}
		if string(got) != want {
			t.Errorf("%s is read as %q, want %q", word, string(got), want)
		}
	}
}

func TestSpellingsOfOneSoundAreOne(t *testing.T) {
	for _, same := range [][]string{
		{"トウキョウ", "トーキョー", "トキョ", "とうきょう"}, {"ソウコ", "ソーコ", "そうこ"}, {"ヴァイオリン", "バイオリン"}, {"ツヅキ", "ツズキ"},
		{"ケイカク", "ケーカク", "ケエカク"}, {"オオサカ", "オーサカ", "オサカ"}, {"サーバー", "サーバ"}, {"ホンヤク", "ホニャク"},
	} {
		want := string(loose(nil, []rune(same[0])))
		for _, s := range same[1:] {
			if got := string(loose(nil, []rune(s))); got != want {
				t.Errorf("%s sounds as %q, %s as %q", s, got, same[0], want)
			}
		}
	}
	if a, b := string(loose(nil, []rune("カイ"))), string(loose(nil, []rune("カ"))); a == b {
		t.Error("カイ and カ are one")
	}
}

func TestEnglishIsFoundInOtherForms(t *testing.T) {
	x := built(t, nil, "temperature monitoring for cold chains", "monitored by batteries", "invoice")
	for query, want := range map[string]int{"monitors": 2, "chain": 1, "battery": 1, "invoices": 1, "invoicing": 1, "monitor": 2} {
		if pos, _, _ := x.Search(query, 10, nil); len(pos) != want {
			t.Errorf("%s finds %v, want %d records", query, pos, want)
		}
	}
}

// A word that some record holds is meant as it is written.
func TestOnlyUnknownWordsAreTakenForSlips(t *testing.T) {
	x := built(t, nil, "クラウド会計 accounting", "クラウン会計 counting", "ハードウェア", "model12 ab12")
	for query, want := range map[string][]int64{
		"クラウド": {0}, "クラウン": {1}, "acounting": {0}, "accuonting": {0}, "accoumting": {0}, "accountings": {0},
		"counting": {1}, "ハードウア": {2}, "ハドウエア": {2}, "ab13": nil, "model13": nil, "xcounting": {1}, "accntng": nil,
	} {
		pos, _, _ := x.Search(query, 1, nil)
		if !slices.Equal(pos, want) {
			t.Errorf("%s finds %v, want %v", query, pos, want)
		}
	}
}

// A reader that cuts after every character reads kanji by the table.
type table map[rune]string

func (tb table) Read(text string) []Reading {
	var out []Reading
	for _, r := range text {
		out = append(out, Reading{Surface: string(r), Kana: tb[r], Content: true})
	}
	return out
}

func TestRecordsAreFoundByHowTheySound(t *testing.T) {
	x := built(t, table{'倉': "ソウ", '庫': "コ", '温': "オン", '度': "ド", '東': "トウ", '京': "キョウ"}, "倉庫の温度", "東京 倉庫", "AX-200 toukyou")
	for query, want := range map[string][]int64{
		"そうこ": {0, 1}, "ソーコ": {0, 1}, "souko": {0, 1}, "おんど": {0}, "souko ondo": {0, 1}, "tokyo": {1}, "toukyou": {2},
		"おん": {0}, "どこ": nil, "倉庫がそうこ": {0, 1},
	} {
		pos, _, _ := x.Search(query, 10, nil)
		slices.Sort(pos)
		if !slices.Equal(pos, want) {
			t.Errorf("%s finds %v, want %v", query, pos, want)
		}
	}
}

func built(t *testing.T, read Reader, texts ...string) *Index {
	t.Helper()
	x, err := Build(len(texts), read, func(i int) (snapshot.Words, error) { return snapshot.Words{Text: texts[i]}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return x
}
