package langchain

import (
	"errors"
	"fmt"
	"strconv"
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
		switch key := items[i].(type) {
		case string, int64:
		case *object:
			if key.class != classUUID {
				return fmt.Errorf("%w: a dict's key is a %s", ErrMalformed, key.class)
			}
		default:
			return fmt.Errorf("%w: a dict's key is a %T", ErrMalformed, items[i])
		}
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
	return nil
}

// construct makes an object without arguments, gives one its state, turns a list into a set, or reads a value that JSON
// does not have.
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
	_, isMethod := callee.(method)
	args, isTuple := arg.(tuple)
	switch {
	case !ok && !isMethod || !isTuple:
		return fmt.Errorf("%w: something that is no class is constructed", ErrMalformed)
	case op == opNewObj && len(args) == 0 && (isDocstore(c) || isDocument(c) || c == classUUID):
		return p.push(&object{class: c}, 0)
	case op == opReduce && isSet(c) && len(args) == 1:
		if l, ok := args[0].(*list); ok {
			return p.push(&set{items: l.items}, 0)
		}
	case op == opReduce:
		v, err := reduce(callee, args)
		if err != nil {
			return err
		}
		return p.push(v, nodeBytes)
	}
	return &RefusedError{Name: fmt.Sprintf("a call of %s", callee)}
}

func (p *reader) build(state any) error {
	v, err := p.top()
	if err != nil {
		return err
	}
	if d, ok := v.(*dtype); ok {
		return d.state(state)
	}
	o, ok := v.(*object)
	if !ok || o.state != nil || state == nil {
		return fmt.Errorf("%w: a state for a value that takes none", ErrMalformed)
	}
	o.state = state
	switch {
	case isDocument(o.class):
		if p.docs++; p.docs > p.lim.Documents {
			return fmt.Errorf("%w: over %d documents", ErrLimit, p.lim.Documents)
		}
		p.nodes = 0
	case isDocstore(o.class):
		p.nodes = p.lim.Nodes - 1000 - 4*p.docs // what follows: a position and an id a document, stored in the memo or not
	}
	return nil
}

// deliver takes the known shape apart.
func (p *reader) deliver(top any, each func(int, Found) error) error {
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
		d := Found{Document: Document{ID: id}}
		if v, ok := docs[id]; ok {
			d, err = p.document(id, v)
		} else {
			d.Unreadable = errors.New("it is not in the docstore")
		}
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
		id, ok := docstoreID(k)
		if !ok {
			return nil, fmt.Errorf("%w: docstore id %v is no id", ErrMalformed, k)
		}
		docs[id] = entries.values[i]
	}
	return docs, nil
}

// docstoreID reads an id of the docstore: LangChain makes strings, callers may have given integers or UUIDs.
func docstoreID(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case *object:
		return uuidText(v)
	}
	return "", false
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
		id, ok2 := docstoreID(d.values[i])
		if !ok1 || !ok2 || pos < 0 || pos >= int64(len(ids)) || seen[pos] {
			return nil, fmt.Errorf("%w: positions are not 0 to %d, each once, with a docstore id", ErrMalformed, len(ids)-1)
		}
		ids[pos], seen[pos] = id, true
	}
	return ids, nil
}

// document reads one. An error ends the reading; what is only wrong with this document is noted in it.
func (p *reader) document(id string, v any) (Found, error) {
	unreadable := func(why error) (Found, error) { return Found{Document: Document{ID: id}, Unreadable: why}, nil }
	o, ok := v.(*object)
	if !ok || !isDocument(o.class) {
		return unreadable(errors.New("it is not a Document"))
	}
	fields, _ := o.state.(*dict)
	if fields != nil {
		if inner, ok := fields.get("__dict__"); ok { // pydantic's two generations
			fields, _ = inner.(*dict)
		}
	}
	if fields == nil {
		return unreadable(errors.New("a Document without fields"))
	}
	content, _ := fields.get("page_content")
	text, ok := content.(string)
	if !ok {
		return unreadable(errors.New("its page_content is no string"))
	}
	meta, ok := fields.get("metadata")
	if _, isDict := meta.(*dict); ok && !isDict && meta != nil {
		return unreadable(errors.New("its metadata is no dict"))
	}
	if meta == nil {
		meta = &dict{}
	}
	b := jsonBuilder{limit: p.lim.Record}
	err := b.add(meta, 0)
	// A record may be shared by many documents: what they make together is bounded by the file as well, tightly, as
	// it costs time and honest metadata is about as long in JSON as in the pickle.
	if err := p.charge(int64(expansion * len(b.out))); err != nil {
		return Found{}, err
	}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return Found{}, err
	}
	if err != nil {
		return unreadable(err)
	}
	return Found{Document: Document{ID: id, PageContent: text, Metadata: b.out}, Converted: b.converted}, nil
}
