package vendors

import (
	"bytes"
	"slices"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
)

// Changed lists the fields that differ between two versions of a record, as dotted paths in alphabetical order. It
// goes into objects; lists differ as a whole. Records that differ in the order of their keys only have no fields
// that differ.
func Changed(oldRaw, newRaw []byte) ([]string, error) {
	var before, after jsonread.Tree
	for _, v := range []struct {
		t   *jsonread.Tree
		raw []byte
	}{{&before, oldRaw}, {&after, newRaw}} {
		if f := faultOf(v.t.Parse(v.raw, jsonread.MaxDepth), 0); f != nil {
			return nil, &CatalogueError{Kind: f.kind, Offset: int64(f.at), Detail: f.detail}
		}
	}
	if before.Kind(0) != jsonread.Object || after.Kind(0) != jsonread.Object {
		return nil, &CatalogueError{Kind: KindShape, Detail: "a record is not an object"}
	}
	changed := differences(nil, "", &before, 0, &after, 0)
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// differences appends the paths that differ between object i of a and object j of b.
func differences(out []string, prefix string, a *jsonread.Tree, i int, b *jsonread.Tree, j int) []string {
	others := make(map[string]int)
	for c := range b.Children(j) {
		others[b.Key(c)] = c
	}
	for c := range a.Children(i) {
		key := a.Key(c)
		other, ok := others[key]
		delete(others, key)
		switch {
		case !ok:
			out = append(out, prefix+key)
		case a.Kind(c) == jsonread.Object && b.Kind(other) == jsonread.Object:
			out = differences(out, prefix+key+".", a, c, b, other)
		case a.Kind(c) != b.Kind(other) || !bytes.Equal(a.Bytes(c), b.Bytes(other)):
			out = append(out, prefix+key)
		}
	}
	for key := range others {
		out = append(out, prefix+key)
	}
	return out
}
