package langchain

import (
	"fmt"
)

// container carries out the opcodes that make and fill lists, dicts, sets and tuples; any other opcode is refused.
func (p *reader) container(op byte) error {
	switch op {
	case opEmptyDict:
		return p.push(&dict{}, 0)
	case opEmptyList:
		return p.push(&list{}, 0)
	case opEmptySet:
		return p.push(&set{}, 0)
	case opEmptyTuple:
		return p.push(tuple(nil), 0)
	case opTuple1, opTuple2, opTuple3:
		return p.smallTuple(int(op-opTuple1) + 1)
	case opSetItem:
		return p.setItem()
	case opAppend:
		return p.append()
	case opTuple, opList, opDict, opFrozenSet, opSetItems, opAppends, opAddItems:
		items, err := p.popMark()
		if err != nil {
			return err
		}
		return p.fill(op, append([]any(nil), items...))
	}
	return &RefusedError{Name: fmt.Sprintf("pickle opcode 0x%02x", op)}
}

func (p *reader) smallTuple(n int) error {
	t := make(tuple, n)
	for i := n - 1; i >= 0; i-- {
		v, err := p.pop()
		if err != nil {
			return err
		}
		t[i] = v
	}
	return p.push(t, 16*n)
}

func (p *reader) setItem() error {
	value, err := p.pop()
	if err != nil {
		return err
	}
	key, err := p.pop()
	if err != nil {
		return err
	}
	return p.fill(opSetItems, []any{key, value})
}

func (p *reader) append() error {
	v, err := p.pop()
	if err != nil {
		return err
	}
	return p.fill(opAppends, []any{v})
}

// fill makes a container of items, or adds them to the one on the stack.
func (p *reader) fill(op byte, items []any) error {
	if err := p.charge(int64(32 * len(items))); err != nil {
		return err
	}
	switch op {
	case opTuple:
		return p.push(tuple(items), 0)
	case opList:
		return p.push(&list{items: items}, 0)
	case opFrozenSet:
		return p.push(&set{items: items}, 0)
	case opDict:
		d := &dict{}
		if err := d.add(items); err != nil {
			return err
		}
		return p.push(d, 0)
	}
	target, err := p.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *dict:
		if op == opSetItems {
			return t.add(items)
		}
	case *list:
		if op == opAppends {
			t.items = append(t.items, items...)
			return nil
		}
	case *set:
		if op == opAddItems {
			t.items = append(t.items, items...)
			return nil
		}
	}
	return fmt.Errorf("%w: items are added to a value that takes none", ErrMalformed)
}

func (d *dict) add(items []any) error {
	if len(items)%2 != 0 {
		return fmt.Errorf("%w: a key without a value", ErrMalformed)
	}
	for i := 0; i < len(items); i += 2 {
		switch items[i].(type) {
		case string, int64:
		default:
			return fmt.Errorf("%w: a dict's key is a %T", ErrMalformed, items[i])
		}
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
	return nil
}

// construct makes an object without arguments, gives one its state, or turns a list into a set.
func (p *reader) construct(op byte) error {
	arg, err := p.pop()
	if err != nil {
		return err
	}
	if op == opBuild {
		return p.build(arg)
	}
	callee, err := p.pop()
	if err != nil {
		return err
	}
	c, ok := callee.(class)
	args, isTuple := arg.(tuple)
	switch {
	case !ok || !isTuple:
		return fmt.Errorf("%w: something that is no class is constructed", ErrMalformed)
	case op == opNewObj && len(args) == 0 && !isSet(c):
		return p.push(&object{class: c}, 0)
	case op == opReduce && isSet(c) && len(args) == 1:
		if l, ok := args[0].(*list); ok {
			return p.push(&set{items: l.items}, 0)
		}
	}
	return &RefusedError{Name: fmt.Sprintf("a call of %s", c)}
}

func (p *reader) build(state any) error {
	v, err := p.top()
	if err != nil {
		return err
	}
	o, ok := v.(*object)
	if !ok || o.state != nil || state == nil {
		return fmt.Errorf("%w: a state for a value that takes none", ErrMalformed)
	}
	o.state = state
	if isDocument(o.class) {
		if p.docs++; p.docs > p.lim.Documents {
			return fmt.Errorf("%w: over %d documents", ErrLimit, p.lim.Documents)
		}
		p.nodes = 0
	} else {
		p.nodes = p.lim.Nodes - 1000 - 4*p.docs // what follows: a position and an id a document, stored in the memo or not
	}
	return nil
}

// deliver takes the known shape apart.
func (p *reader) deliver(top any, each func(int, Document) error) error {
	pair, ok := top.(tuple)
	if !ok || len(pair) != 2 {
		return fmt.Errorf("%w: it holds no pair of docstore and positions", ErrMalformed)
	}
	docs, err := docstore(pair[0])
	if err != nil {
		return err
	}
	ids, err := positions(pair[1])
	if err != nil {
		return err
	}
	for pos, id := range ids {
		o, ok := docs[id]
		if !ok {
			return fmt.Errorf("%w: position %d refers to document %q, which is not there", ErrMalformed, pos, id)
		}
		d, err := p.document(id, o)
		if err != nil {
			return fmt.Errorf("document %d (%.80q): %w", pos, id, err)
		}
		if err := each(pos, d); err != nil {
			return err
		}
	}
	return nil
}

func docstore(v any) (map[string]any, error) {
	o, ok := v.(*object)
	if !ok || !isDocstore(o.class) {
		return nil, fmt.Errorf("%w: its first half is no docstore", ErrMalformed)
	}
	state, _ := o.state.(*dict)
	if state == nil {
		return nil, fmt.Errorf("%w: the docstore has no state", ErrMalformed)
	}
	inner, _ := state.get("_dict")
	entries, ok := inner.(*dict)
	if !ok {
		return nil, fmt.Errorf("%w: the docstore has no _dict", ErrMalformed)
	}
	docs := make(map[string]any, len(entries.keys))
	for i, k := range entries.keys {
		id, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("%w: docstore id %v is no string", ErrMalformed, k)
		}
		docs[id] = entries.values[i]
	}
	return docs, nil
}

// positions checks that the dict maps each of 0..n-1 to an id, once.
func positions(v any) ([]string, error) {
	d, ok := v.(*dict)
	if !ok {
		return nil, fmt.Errorf("%w: its second half is no dict", ErrMalformed)
	}
	ids := make([]string, len(d.keys))
	seen := make([]bool, len(d.keys))
	for i, k := range d.keys {
		pos, ok1 := k.(int64)
		id, ok2 := d.values[i].(string)
		if !ok1 || !ok2 || pos < 0 || pos >= int64(len(ids)) || seen[pos] {
			return nil, fmt.Errorf("%w: positions are not 0 to %d, each once, with a docstore id", ErrMalformed, len(ids)-1)
		}
		ids[pos], seen[pos] = id, true
	}
	return ids, nil
}

func (p *reader) document(id string, v any) (Document, error) {
	o, ok := v.(*object)
	if !ok || !isDocument(o.class) {
		return Document{}, fmt.Errorf("%w: not a Document", ErrMalformed)
	}
	state, _ := o.state.(*dict)
	if state == nil {
		return Document{}, fmt.Errorf("%w: a Document without state", ErrMalformed)
	}
	fields := state
	if inner, ok := state.get("__dict__"); ok { // pydantic's two generations
		if fields, ok = inner.(*dict); !ok {
			return Document{}, fmt.Errorf("%w: a Document's __dict__ is no dict", ErrMalformed)
		}
	}
	content, _ := fields.get("page_content")
	text, ok := content.(string)
	if !ok {
		return Document{}, fmt.Errorf("%w: a Document without page_content", ErrMalformed)
	}
	b := jsonBuilder{limit: p.lim.Record}
	meta, ok := fields.get("metadata")
	if _, isDict := meta.(*dict); ok && !isDict {
		return Document{}, fmt.Errorf("%w: a Document's metadata is no dict", ErrMalformed)
	}
	if !ok {
		meta = &dict{}
	}
	if err := b.add(meta, 0); err != nil {
		return Document{}, err
	}
	// A record may be shared by many documents: what they make together is bounded by the file as well, tightly, as
	// it costs time and honest metadata is about as long in JSON as in the pickle.
	if err := p.charge(int64(expansion * len(b.out))); err != nil {
		return Document{}, err
	}
	return Document{ID: id, PageContent: text, Metadata: b.out}, nil
}
