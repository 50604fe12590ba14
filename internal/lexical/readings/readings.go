// Package readings says how Japanese text is pronounced, by the IPA dictionary (mecab-ipadic, 392,000 words) that kagome
// carries. Only building an index needs it: whoever searches types kana or romaji. The dictionary takes about 100 MB
// from the first call of Open to the end of the process, which is why servers do without.
package readings

import (
	"fmt"

	"github.com/ikawaha/kagome-dict/ipa"
	"github.com/ikawaha/kagome/v2/tokenizer"

	"github.com/taksuehiro/vectorstore/internal/lexical"
)

// Dictionary implements lexical.Reader. Safe for concurrent use.
type Dictionary struct{ t *tokenizer.Tokenizer }

// Open loads the dictionary, half a second the first time.
func Open() (*Dictionary, error) {
	t, err := tokenizer.New(ipa.Dict(), tokenizer.OmitBosEos())
	if err != nil {
		return nil, fmt.Errorf("open the dictionary of readings: %w", err)
	}
	return &Dictionary{t}, nil
}

// Read implements lexical.Reader.
func (d *Dictionary) Read(text string) []lexical.Reading {
	tokens := d.t.Tokenize(text)
	out := make([]lexical.Reading, 0, len(tokens))
	for i := range tokens {
		r := lexical.Reading{Surface: tokens[i].Surface}
		r.Kana, _ = tokens[i].Reading()
		if pos := tokens[i].POS(); len(pos) > 0 {
			r.Content = pos[0] == "名詞" || pos[0] == "動詞" || pos[0] == "形容詞"
			r.Inflected = pos[0] != "名詞"
		}
		if r.Inflected {
			r.Base, _ = tokens[i].BaseForm()
		}
		out = append(out, r)
	}
	return out
}
