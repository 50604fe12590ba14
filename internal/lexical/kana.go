package lexical

import "strings"

// loose appends to dst how katakana sounds, without what people spell in several ways: long vowels (トーキョー, トウキョウ and
// トキョ are one), ヂ and ジ, ヅ and ズ, ヲ and オ, ヴァ and バ, ニャ and ンヤ (honyaku).
func loose(dst []rune, kana []rune) []rune {
	before := rune(0) // the vowel that the last kana ended with, as katakana
	for i := 0; i < len(kana); i++ {
		r := katakanaOf(kana[i])
		switch r {
		case 'ー', '・':
			continue
		case 'ヂ':
			r = 'ジ'
		case 'ヅ':
			r = 'ズ'
		case 'ヲ':
			r = 'オ'
		case 'ニ':
			if i+1 < len(kana) {
				if at := strings.IndexRune("ャュョ", katakanaOf(kana[i+1])); at >= 0 {
					dst = append(dst, 'ン')
					r = []rune("ヤユヨ")[at/len("ャ")]
					i++
				}
			}
		case 'ヴ':
			r = 'ブ'
			if i+1 < len(kana) {
				if at := strings.IndexRune("ァィェォ", katakanaOf(kana[i+1])); at >= 0 {
					r = []rune("バビベボ")[at/len("ァ")]
					i++
				}
			}
		}
		if before != 0 && (r == before || r == 'ウ' && before == 'オ' || r == 'イ' && before == 'エ') {
			continue
		}
		dst = append(dst, r)
		before = vowelOf(r)
	}
	return dst
}

// vowelOf is the vowel with which a katakana ends, 0 for none.
func vowelOf(r rune) rune {
	for _, row := range [...]struct {
		vowel rune
		kana  string
	}{
		{'ア', "アカサタナハマヤラワガザダバパァャヮ"},
		{'イ', "イキシチニヒミリギジビピィ"},
		{'ウ', "ウクスツヌフムユルグズブプゥュ"},
		{'エ', "エケセテネヘメレゲゼデベペェ"},
		{'オ', "オコソトノホモヨロゴゾドボポォョ"},
	} {
		if strings.ContainsRune(row.kana, r) {
			return row.vowel
		}
	}
	return 0
}

// syllables maps consonants to what they make with a, i, u, e, o: Hepburn, Kunrei and what keyboards take.
var syllables = map[string][5]string{
	"": {"ア", "イ", "ウ", "エ", "オ"}, "k": {"カ", "キ", "ク", "ケ", "コ"}, "s": {"サ", "シ", "ス", "セ", "ソ"},
	"t": {"タ", "チ", "ツ", "テ", "ト"}, "n": {"ナ", "ニ", "ヌ", "ネ", "ノ"}, "h": {"ハ", "ヒ", "フ", "ヘ", "ホ"},
	"m": {"マ", "ミ", "ム", "メ", "モ"}, "y": {"ヤ", "", "ユ", "イェ", "ヨ"}, "r": {"ラ", "リ", "ル", "レ", "ロ"},
	"w": {"ワ", "ウィ", "", "ウェ", "ヲ"}, "g": {"ガ", "ギ", "グ", "ゲ", "ゴ"}, "z": {"ザ", "ジ", "ズ", "ゼ", "ゾ"},
	"d": {"ダ", "ジ", "ズ", "デ", "ド"}, "b": {"バ", "ビ", "ブ", "ベ", "ボ"}, "p": {"パ", "ピ", "プ", "ペ", "ポ"},
	"f": {"ファ", "フィ", "フ", "フェ", "フォ"}, "v": {"バ", "ビ", "ブ", "ベ", "ボ"}, "j": {"ジャ", "ジ", "ジュ", "ジェ", "ジョ"},
	"sh": {"シャ", "シ", "シュ", "シェ", "ショ"}, "ch": {"チャ", "チ", "チュ", "チェ", "チョ"}, "ts": {"ツァ", "ツィ", "ツ", "ツェ", "ツォ"},
	"th": {"", "ティ", "", "", ""}, "dh": {"", "ディ", "", "", ""},
	"ky": {"キャ", "", "キュ", "", "キョ"}, "sy": {"シャ", "", "シュ", "", "ショ"}, "ty": {"チャ", "", "チュ", "", "チョ"},
	"cy": {"チャ", "", "チュ", "", "チョ"}, "ny": {"ニャ", "", "ニュ", "", "ニョ"}, "hy": {"ヒャ", "", "ヒュ", "", "ヒョ"},
	"my": {"ミャ", "", "ミュ", "", "ミョ"}, "ry": {"リャ", "", "リュ", "", "リョ"}, "gy": {"ギャ", "", "ギュ", "", "ギョ"},
	"zy": {"ジャ", "", "ジュ", "", "ジョ"}, "jy": {"ジャ", "", "ジュ", "", "ジョ"}, "by": {"ビャ", "", "ビュ", "", "ビョ"},
	"py": {"ピャ", "", "ピュ", "", "ピョ"},
}

// romaji reads a folded word of Latin letters as Japanese, in katakana; ok is false when it is none.
func romaji(word []rune) (kana []rune, ok bool) {
	for i := 0; i < len(word); {
		start := i
		for i < len(word) && vowelAt(word[i]) < 0 {
			if word[i] < 'a' || word[i] > 'z' || i-start > 3 {
				return nil, false
			}
			i++
		}
		consonants := word[start:i]
		// A syllable that ends without a vowel: n, m before a lip sound, a doubled consonant.
		for len(consonants) > 0 {
			c, more := consonants[0], consonants[1:]
			last := i == len(word) // nothing follows
			switch {
			case c == 'n' && len(more) > 0 && more[0] == 'n' && (last && len(more) == 1 || len(more) > 1 && more[1] != 'y'):
				kana, more = append(kana, 'ン'), more[1:] // as keyboards take it
			case c == 'n' && (last || len(more) > 0 && more[0] != 'y'):
				kana = append(kana, 'ン')
			case c == 'm' && len(more) > 0 && strings.ContainsRune("bpm", more[0]):
				kana = append(kana, 'ン')
			case len(more) > 0 && (more[0] == c || c == 't' && more[0] == 'c') && c != 'n':
				kana = append(kana, 'ッ')
			case c == 'h' && start > 0 && (last || len(more) > 0): // Ohta
			default:
				goto syllable
			}
			consonants = more
		}
	syllable:
		if i == len(word) {
			return kana, len(consonants) == 0 && len(kana) > 0
		}
		made := syllables[string(consonants)][vowelAt(word[i])]
		if made == "" {
			return nil, false
		}
		kana = append(kana, []rune(made)...)
		i++
	}
	return kana, len(kana) > 0
}

// vowelAt is which of a, i, u, e, o a letter is, with a macron or circumflex too; -1 for none.
func vowelAt(r rune) int {
	for i, same := range [...]string{"aāâ", "iīî", "uūû", "eēê", "oōô"} {
		if strings.ContainsRune(same, r) {
			return i
		}
	}
	return -1
}

// isKana tells whether a text is all kana.
func isKana(text []rune) bool {
	for _, r := range text {
		if s := scriptOf(r); s != katakana && s != hiragana {
			return false
		}
	}
	return len(text) > 0
}
