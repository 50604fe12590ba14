package vendors

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
)

// Record is one vendor.
type Record struct {
	ID   string
	Name string // as in the file, without surrounding whitespace

	// Raw is the record's JSON without whitespace between tokens and otherwise as in the file.
	Raw []byte

	Text   string   // what is embedded; see the package comment
	Answer string   // what an answer shows: the name and, on the next line, the description
	Digest [32]byte // SHA-256 of Raw: two records are the same exactly when their digests are

	Line   int   // where the record starts in the catalogue, from 1; 0 from FromRaw
	Offset int64 // the same in bytes, from 0
}

// maxIDLen bounds an id in bytes: ids travel in URLs and log lines.
const maxIDLen = 512

// FromRaw derives a Record again from the Raw of an earlier one. It checks raw as Parse does; what is wrong with it
// is reported as a *CatalogueError.
func FromRaw(raw []byte) (Record, error) {
	var b builder
	return b.fromRaw(raw)
}

func (b *builder) fromRaw(raw []byte) (Record, error) {
	if len(raw) > maxRecord {
		return Record{}, &CatalogueError{Kind: KindRecordSize}
	}
	if f := b.parse(raw, maxDepth); f != nil {
		return Record{}, &CatalogueError{Kind: f.kind, Offset: int64(f.at), Detail: f.detail}
	}
	rec, f := b.record()
	if f != nil {
		e := &CatalogueError{Kind: f.kind, Detail: f.detail}
		if rec.ID != "" {
			e.IDs = []string{rec.ID}
		}
		return Record{}, e
	}
	return rec, nil
}

// builder turns one tree after the other into Records, reusing its memory.
type builder struct {
	tree
	order []ordered
	text  []byte
	runes int    // characters in text
	skip  [2]int // the nodes of name and description, which the text begins with
	bare  bool   // no labels
}

// record makes a Record of the tree. With a flaw, the Record holds the id if there is one.
func (b *builder) record() (Record, *flaw) {
	if k := b.nodes[0].kind; k != kindObject {
		return Record{}, &flaw{kind: KindShape, detail: "a record is " + k.String()}
	}
	var rec Record
	var f *flaw
	if rec.ID, f = b.id(); f != nil {
		return rec, f
	}
	name, at, f := b.first(nameKeys[:], namePlaces[:])
	if !visible(name) {
		if f == nil {
			f = &flaw{kind: KindMissingName}
		}
		return rec, f
	}
	description, descAt, _ := b.first(descriptionKeys[:], descriptionPlaces[:]) // of another type: a field like others
	rec.Name, rec.Answer = name, name
	if description != "" {
		rec.Answer = name + "\n" + description
	}
	b.skip = [2]int{at, descAt}
	if rec.Text, f = b.embedded(name, description); f != nil {
		return rec, f
	}
	rec.Raw = append([]byte(nil), b.raw...)
	rec.Digest = sha256.Sum256(rec.Raw)
	return rec, nil
}

// id reads vendor_id, or id when that is absent.
func (b *builder) id() (string, *flaw) {
	for _, key := range [...]string{"vendor_id", "id"} {
		i, ok := b.member(0, key)
		if !ok || b.nodes[i].kind == kindNull {
			continue
		}
		var id string
		switch n := b.nodes[i]; {
		case n.kind == kindString:
			id = b.str(i)
		case n.kind == kindNumber && isInteger(b.bytesOf(i)):
			id = string(b.bytesOf(i))
		default:
			return "", &flaw{kind: KindShape, detail: fmt.Sprintf("%q is %s, not a string or an integer", key, n.kind)}
		}
		if strings.TrimSpace(id) == "" {
			continue
		}
		if why := badID(id); why != "" {
			return "", &flaw{kind: KindInvalidID, detail: why}
		}
		return id, nil
	}
	return "", &flaw{kind: KindMissingID}
}

func isInteger(number []byte) bool {
	for i, c := range number {
		if (c < '0' || c > '9') && (c != '-' || i > 0) {
			return false
		}
	}
	return true
}

func badID(id string) string {
	if len(id) > maxIDLen {
		return fmt.Sprintf("longer than %d bytes", maxIDLen)
	}
	for _, r := range id {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return "it holds a control character or half a surrogate pair"
		}
	}
	return ""
}

// Where a name and a description are looked for; "" is the record itself.
var (
	nameKeys          = [...]string{"name", "vendor_name", "company_name"}
	namePlaces        = [...]string{"", "basic_info"}
	descriptionKeys   = [...]string{"description", "description_short", "summary", "overview"}
	descriptionPlaces = [...]string{"", "basic_info", "offerings"}
)

// visible tells whether there is anything to see in s.
func visible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}

// first finds the first string that is not blank under one of keys in one of places, and its node. f says that there
// was a value of another type on the way, in case nothing is found.
func (b *builder) first(keys, places []string) (s string, at int, f *flaw) {
	for _, place := range places {
		parent := 0
		if place != "" {
			var ok bool
			if parent, ok = b.member(0, place); !ok {
				continue
			}
		}
		for _, key := range keys {
			i, ok := b.member(parent, key)
			if !ok || b.nodes[i].kind == kindNull {
				continue
			}
			if k := b.nodes[i].kind; k != kindString {
				f = &flaw{kind: KindShape, detail: fmt.Sprintf("%q is %s, not a string", key, k)}
				continue
			}
			if s := strings.TrimSpace(b.str(i)); s != "" {
				return s, i, nil
			}
		}
	}
	return "", 0, f
}
