package vendors

import "github.com/taksuehiro/vectorstore/internal/jsonread"

// bytesOf is the text of value i as it is written, strings without their quotes.
func (t *tree) bytesOf(i int) []byte { return t.raw[t.nodes[i].val.lo:t.nodes[i].val.hi] }

// str is the decoded string i.
func (t *tree) str(i int) string {
	if !t.nodes[i].escaped {
		return string(t.bytesOf(i))
	}
	return jsonread.Unescape(t.bytesOf(i))
}

// key is the decoded key of object member i.
func (t *tree) key(i int) string {
	n := &t.nodes[i]
	if !n.keyEscaped {
		return string(t.raw[n.key.lo:n.key.hi])
	}
	return jsonread.Unescape(t.raw[n.key.lo:n.key.hi])
}

// keyIs tells whether member i is called name, without building a string.
func (t *tree) keyIs(i int, name string) bool {
	n := &t.nodes[i]
	if n.keyEscaped {
		return t.key(i) == name
	}
	return string(t.raw[n.key.lo:n.key.hi]) == name
}

// children calls visit with each element or member of value i, in order.
func (t *tree) children(i int, visit func(child int)) {
	if t.nodes[i].kind < kindArray {
		return
	}
	for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
		visit(c)
	}
}

// member finds the member called name of object i; ok is false when i is no object or has no such member.
func (t *tree) member(i int, name string) (child int, ok bool) {
	if t.nodes[i].kind != kindObject {
		return 0, false
	}
	for c := i + 1; c < int(t.nodes[i].next); c = int(t.nodes[c].next) {
		if t.keyIs(c, name) {
			return c, true
		}
	}
	return 0, false
}
