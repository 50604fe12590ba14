package vendors

import (
	"strings"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

const maxKeyword = 100 // characters

// WordsOf reads the words of a stored record, which the catalogue gave its id and name. Its text is the description and
// all other text that is embedded, without labels, "_text" included. Its keywords are what people type to find exactly
// one thing: the id, and the strings under keys for names and codes ("name", "code", "sku", "model", "alias" and their
// plurals, "…_name", "…_code") and under "product" and "products", wherever they are but with contacts. It checks raw as
// Read does.
func WordsOf(id, name string, raw []byte) (snapshot.Words, error) {
	var b builder
	if err := b.load(raw); err != nil {
		return snapshot.Words{}, err
	}
	w := snapshot.Words{Name: name, Keywords: []string{id}}
	if base, ok := unsuffixed(id); ok {
		w.Keywords = append(w.Keywords, base)
	}
	b.bare = true
	if b.head.name != "" && b.head.name != name {
		b.put(tidy(b.head.name) + "\n")
	}
	if b.head.description != "" {
		b.put(tidy(b.head.description))
	}
	b.lines(0)
	if i, ok := b.Member(0, "_text"); ok && b.Kind(i) == jsonread.String {
		b.text = append(append(b.text, '\n'), cutBytes(b.Str(i), MaxVerbatimText)...)
	}
	w.Text = string(b.text)
	b.keywords(0, false, func(s string) {
		if s = strings.TrimSpace(s); s != "" && utf8.RuneCountInString(s) <= maxKeyword {
			w.Keywords = append(w.Keywords, s)
		}
	})
	return w, nil
}

// keywords calls found with the strings at and below i that are names or codes; named says that i itself is one.
func (b *builder) keywords(i int, named bool, found func(string)) {
	switch b.Kind(i) {
	case jsonread.String:
		if named {
			found(b.Str(i))
		}
	case jsonread.Array:
		for c := range b.Children(i) {
			b.keywords(c, named, found)
		}
	case jsonread.Object:
		for c := range b.Children(i) {
			if key := b.Key(c); key != "contact" && key != "contacts" {
				b.keywords(c, namesThings(key), found)
			}
		}
	}
}

func namesThings(key string) bool {
	switch key {
	case "name", "names", "code", "codes", "sku", "skus", "model", "models", "alias", "aliases", "product", "products":
		return true
	}
	return strings.HasSuffix(key, "_name") || strings.HasSuffix(key, "_code")
}
