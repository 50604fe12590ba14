package vendors

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Record is one vendor.
type Record struct {
	ID   string // final: unique in its catalogue
	Name string // for people, without surrounding whitespace

	// Raw is the record's JSON without whitespace between tokens and otherwise as in the file. What the file calls its
	// id may differ from ID.
	Raw []byte

	Text   string   // what is embedded; see the package comment
	Answer string   // what an answer shows: the name and, on the next line, the description
	Digest [32]byte // SHA-256 of Raw: two records are the same exactly when their digests are

	Line   int   // where the record starts in the catalogue, from 1
	Offset int64 // the same in bytes, from 0
}

const (
	// maxIDLen bounds an id in bytes: ids travel in URLs and log lines.
	maxIDLen = 512

	// maxFoundName bounds a name that was taken from the first text of a record, in characters.
	maxFoundName = 100
)

// TextOf is the text that is embedded of a stored record. It checks raw as Read does; what is wrong with it is
// reported as a *CatalogueError.
func TextOf(raw []byte) (string, error) {
	var b builder
	if err := b.load(raw); err != nil {
		return "", err
	}
	text, f := b.embedded()
	if f != nil {
		return "", &CatalogueError{Kind: f.kind, Detail: f.detail}
	}
	return text, nil
}

// builder turns one tree after the other into Records, reusing its memory.
type builder struct {
	jsonread.Tree
	order []ordered
	text  []byte
	runes int                                // characters in text
	head  struct{ name, description string } // what the text begins with
	skip  [2]int                             // their nodes, -1 for none
	bare  bool                               // no labels
}

// load reads a stored record, which must be an object.
func (b *builder) load(raw []byte) error {
	if f := faultOf(b.Parse(raw, jsonread.MaxDepth), 0); f != nil {
		return &CatalogueError{Kind: f.kind, Offset: int64(f.at), Detail: f.detail}
	}
	if k := b.Kind(0); k != jsonread.Object {
		return &CatalogueError{Kind: KindShape, Detail: "a record is " + k.String()}
	}
	b.readHead()
	return nil
}

// found is a record as it stands alone, before its id is made unique.
type found struct {
	Record
	own      bool   // the id stands in the record; else it is the name or, when that cannot be one, the digest
	nameless bool   // the digest
	named    bool   // the name stands where RECORD_NAME says
	number   string // how the id is written when that is like 12.0, else empty
}

// where are the paths of Rules, split.
type where struct{ id, name []string }

// record makes a Record of the tree. With a fault, it holds the id if there is one.
func (b *builder) record(w where) (found, *fault) {
	if k := b.Kind(0); k != jsonread.Object {
		return found{}, &fault{kind: KindShape, detail: "a record is " + k.String()}
	}
	b.readHead()
	var rec found
	idAt := -1
	if v, ok := b.present(w.id, anything); ok {
		if why := badID(v.text); why != "" {
			return rec, &fault{kind: KindInvalidID, detail: why}
		}
		rec.ID, rec.own, idAt = v.text, true, v.node
		if v.rounded {
			rec.number = string(b.Bytes(v.node))
		}
	}
	var f *fault
	if rec.Text, f = b.embedded(); f != nil {
		return rec, f
	}
	rec.Raw = append([]byte(nil), b.Raw()...)
	rec.Digest = sha256.Sum256(rec.Raw)
	v, named := b.present(w.name, visible)
	rec.Name, rec.named = strings.TrimSpace(v.text), named
	if !named {
		rec.Name = b.anyName(idAt)
	}
	b.identify(&rec)
	rec.Answer = rec.Name
	if d := b.head.description; d != "" && d != rec.Name {
		rec.Answer += "\n" + d
	}
	return rec, nil
}

// identify gives a record what it lacks of id and name: the one stands in for the other, its digest for both.
func (b *builder) identify(rec *found) {
	if !rec.own {
		rec.ID = strings.Join(strings.FieldsFunc(rec.Name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
		if rec.ID == "" || badID(rec.ID) != "" {
			rec.ID, rec.nameless = hex.EncodeToString(rec.Digest[:8]), true
		}
	}
	if rec.Name == "" {
		rec.Name = rec.ID
	}
}

// value is what a path led to.
type value struct {
	text    string
	node    int
	rounded bool // 12.0 was read as 12
}

// present finds the first value at one of the paths that is a string which is not blank and pleases good, or an
// integer. An integer stands for its literal spelling; 12.0, as tables write integers once a cell was empty, for 12.
func (b *builder) present(paths []string, good func(string) bool) (v value, ok bool) {
	consider := func(i int) {
		if ok {
			return
		}
		switch b.Kind(i) {
		case jsonread.String:
			s := b.Str(i)
			if ok = strings.TrimSpace(s) != "" && good(s); ok {
				v = value{text: s, node: i}
			}
		case jsonread.Number:
			whole, fraction, _ := strings.Cut(string(b.Bytes(i)), ".")
			if ok = isInteger(whole) && strings.Trim(fraction, "0") == ""; ok {
				v = value{text: whole, node: i, rounded: fraction != ""}
			}
		}
	}
	for _, path := range paths {
		if i, direct := b.Member(0, path); direct {
			consider(i)
		} else if strings.Contains(path, ".") {
			b.Follow(0, path, consider)
		}
		if ok {
			return v, true
		}
	}
	return value{}, false
}

func isInteger(number string) bool {
	for i := range len(number) {
		if c := number[i]; (c < '0' || c > '9') && (c != '-' || i > 0) {
			return false
		}
	}
	return true
}

func badID(id string) string {
	if len(id) > maxIDLen {
		return "longer than 512 bytes"
	}
	for _, r := range id {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return "it holds a control character or half a surrogate pair"
		}
	}
	return ""
}

// Where the text finds a name and a description; "" is the record itself. A title is a name only where there is no
// other. These decide what is embedded, so they do not follow RECORD_NAME.
var (
	nameKeys          = [...]string{"name", "vendor_name", "company_name"}
	namePlaces        = [...]string{"", "basic_info"}
	titleKeys         = [...]string{"title"}
	titlePlaces       = [...]string{""}
	descriptionKeys   = [...]string{"description", "description_short", "summary", "overview"}
	descriptionPlaces = [...]string{"", "basic_info", "offerings"}
)

// readHead finds what the text begins with.
func (b *builder) readHead() {
	b.head.name, b.skip[0] = b.first(nameKeys[:], namePlaces[:])
	if !visible(b.head.name) {
		b.head.name, b.skip[0] = b.first(titleKeys[:], titlePlaces[:])
	}
	if !visible(b.head.name) {
		b.head.name, b.skip[0] = "", -1
	}
	b.head.description, b.skip[1] = b.first(descriptionKeys[:], descriptionPlaces[:])
}

// visible tells whether there is anything to see in s.
func visible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}

// first finds the first string that is not blank under one of keys in one of places, and its node; -1 for none.
func (b *builder) first(keys, places []string) (s string, at int) {
	for _, place := range places {
		parent := 0
		if place != "" {
			var ok bool
			if parent, ok = b.Member(0, place); !ok {
				continue
			}
		}
		for _, key := range keys {
			i, ok := b.Member(parent, key)
			if !ok || b.Kind(i) != jsonread.String {
				continue
			}
			if s := strings.TrimSpace(b.Str(i)); s != "" {
				return s, i
			}
		}
	}
	return "", -1
}

// anyName is a name for a record that has none where names are looked for: the one its text begins with, else the first
// string that says something, in the order of the file. The id's own node is none.
func (b *builder) anyName(id int) string {
	if at := b.skip[0]; at >= 0 && at != id {
		return b.head.name
	}
	for i := range b.Len() {
		if b.Kind(i) != jsonread.String || i == id {
			continue
		}
		if s := strings.TrimSpace(b.Str(i)); visible(s) && !meaningless(tidy(s)) && !isDate(tidy(s)) {
			s, _, _ = strings.Cut(s, "\n")
			return cutRunes(strings.TrimSpace(s), maxFoundName)
		}
	}
	return ""
}

func cutRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// isDate recognises dates that are written with letters.
func isDate(s string) bool {
	rest := strings.TrimLeftFunc(s, func(r rune) bool {
		return strings.ContainsRune("明治大正昭和平成令年月日時分秒頃()曜火水木金土 0123456789.:/-〜~", r)
	})
	if rest == "" {
		return strings.ContainsAny(s, "0123456789")
	}
	for _, layout := range [...]string{"Jan 2, 2006", "January 2, 2006", "2 Jan 2006", "2 January 2006", "Jan 2006", "January 2006", time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}
