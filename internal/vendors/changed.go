package vendors

import (
	"bytes"
	"slices"
)

// Changed lists the fields that differ between two versions of a record, as dotted paths in alphabetical order. It
// goes into objects; lists differ as a whole. Records that differ in the order of their keys only have no fields
// that differ.
func Changed(oldRaw, newRaw []byte) ([]string, error) {
	var before, after tree
	for _, v := range []struct {
		t   *tree
		raw []byte
	}{{&before, oldRaw}, {&after, newRaw}} {
		if f := v.t.parse(v.raw, maxDepth); f != nil {
			return nil, &CatalogueError{Kind: f.kind, Offset: int64(f.at), Detail: f.detail}
		}
	}
	if before.nodes[0].kind != kindObject || after.nodes[0].kind != kindObject {
		return nil, &CatalogueError{Kind: KindShape, Detail: "a record is not an object"}
	}
	changed := differences(nil, "", &before, 0, &after, 0)
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// differences appends the paths that differ between object i of a and object j of b.
func differences(out []string, prefix string, a *tree, i int, b *tree, j int) []string {
	others := make(map[string]int)
	b.children(j, func(c int) { others[b.key(c)] = c })
	a.children(i, func(c int) {
		key := a.key(c)
		other, ok := others[key]
		delete(others, key)
		switch {
		case !ok:
			out = append(out, prefix+key)
		case a.nodes[c].kind == kindObject && b.nodes[other].kind == kindObject:
			out = differences(out, prefix+key+".", a, c, b, other)
		case a.nodes[c].kind != b.nodes[other].kind || !bytes.Equal(a.bytesOf(c), b.bytesOf(other)):
			out = append(out, prefix+key)
		}
	})
	for key := range others {
		out = append(out, prefix+key)
	}
	return out
}
