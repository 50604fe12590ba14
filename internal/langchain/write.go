package langchain

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
)

const (
	protocol     = 4    // Python 3.4 and later, pickleparser
	setItemsSize = 1000 // as Python's pickler: a reader's stack holds one batch
	maxNesting   = 200  // of metadata; Python's own limit is near 1,000
)

// WritePickle writes an index.pkl of n documents to w. doc is called once for each position in order. Nothing of a
// document is kept, so memory does not grow with n: the second half of the file refers back to the ids of the first,
// the way Python's own pickler does it. Ids must be unique; the caller sees to that.
func WritePickle(w io.Writer, n int, doc func(i int) (Document, error)) error {
	if n < 0 || n > math.MaxInt32-memoIDs {
		return fmt.Errorf("write pickle: %d documents", n)
	}
	p := &writer{w: bufio.NewWriterSize(w, 64<<10)}
	p.op(opProto, protocol)
	p.class(docstoreClass)
	p.op(opEmptyTuple, opNewObj)
	p.op(opEmptyDict)
	p.string("_dict")
	p.op(opEmptyDict)
	if err := p.items(n, func(i int) error {
		d, err := doc(i)
		if err != nil {
			return err
		}
		if err := p.document(d, i); err != nil {
			return fmt.Errorf("document %d (%s): %w", i, d.ID, err)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("write pickle: %w", err)
	}
	p.op(opSetItem, opBuild, opEmptyDict)
	if err := p.items(n, func(i int) error {
		p.int(int64(i))
		p.get(memoIDs + i)
		return nil
	}); err != nil {
		return fmt.Errorf("write pickle: %w", err)
	}
	p.op(opTuple2, opStop)
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write pickle: %w", err)
	}
	return nil
}

// Words that occur in every document are written once and then referred to by these numbers of the memo; the ids of
// the documents follow from memoIDs on.
const (
	memoClass = iota
	memoDict
	memoID
	memoMetadata
	memoContent
	memoType
	memoDocument
	memoExtra
	memoFieldsSet
	memoPrivate
	memoIDs
)

// writer writes opcodes. bufio keeps the first error; Flush returns it.
type writer struct {
	w   *bufio.Writer
	buf [10]byte
}

func (p *writer) op(codes ...byte) { _, _ = p.w.Write(codes) }

func (p *writer) class(name string) {
	dot := strings.LastIndexByte(name, '.')
	p.op(opGlobal)
	_, _ = p.w.WriteString(name[:dot] + "\n" + name[dot+1:] + "\n")
}

// word writes a string that all documents share: in full and memoized for the first, by reference for the others.
func (p *writer) word(s string, memo, i int) {
	if i > 0 {
		p.get(memo)
		return
	}
	p.string(s)
	p.op(opBinPut, byte(memo))
}

func (p *writer) get(memo int) {
	if memo < 256 {
		p.op(opBinGet, byte(memo))
		return
	}
	p.op(opLongBinGet)
	p.uint32(uint32(memo))
}

func (p *writer) uint32(v uint32) { _, _ = p.w.Write(binary.LittleEndian.AppendUint32(p.buf[:0], v)) }

func (p *writer) string(s string) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) < 256 {
		p.op(opShortBinUnicode, byte(len(s)))
	} else {
		p.op(opBinUnicode)
		p.uint32(uint32(len(s)))
	}
	_, _ = p.w.WriteString(s)
}

// items puts n keys and values into the dict on the stack.
func (p *writer) items(n int, item func(i int) error) error {
	for i := range n {
		if i%setItemsSize == 0 {
			p.op(opMark)
		}
		if err := item(i); err != nil {
			return err
		}
		if i == n-1 || i%setItemsSize == setItemsSize-1 {
			p.op(opSetItems)
			if err := p.err(); err != nil { // a full disk shows after a batch, not after all
				return err
			}
		}
	}
	return nil
}

// err is the first error of the underlying writer, if one has shown.
func (p *writer) err() error {
	_, err := p.w.Write(nil)
	return err
}

// document writes the docstore's entry: key and Document, fields in the order of pydantic's own state.
func (p *writer) document(d Document, i int) error {
	if len(d.PageContent) > math.MaxInt32 || len(d.ID) > math.MaxInt32 {
		return errors.New("a text of over 2 GB")
	}
	p.string(d.ID)
	p.op(opLongBinPut)
	p.uint32(uint32(memoIDs + i))
	if i == 0 {
		p.class(documentClass)
		p.op(opBinPut, memoClass)
	} else {
		p.get(memoClass)
	}
	p.op(opEmptyTuple, opNewObj, opEmptyDict, opMark)
	p.word("__dict__", memoDict, i)
	p.op(opEmptyDict, opMark)
	p.word("id", memoID, i)
	p.get(memoIDs + i)
	p.word("metadata", memoMetadata, i)
	if err := p.json(d.Metadata); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	p.word("page_content", memoContent, i)
	p.string(d.PageContent)
	p.word("type", memoType, i)
	p.word("Document", memoDocument, i)
	p.op(opSetItems)
	p.word("__pydantic_extra__", memoExtra, i)
	p.op(opNone)
	p.word("__pydantic_fields_set__", memoFieldsSet, i)
	p.op(opEmptySet, opMark)
	for _, memo := range [...]int{memoID, memoMetadata, memoContent} {
		p.get(memo)
	}
	p.op(opAddItems)
	p.word("__pydantic_private__", memoPrivate, i)
	p.op(opNone, opSetItems, opBuild)
	return nil
}

// json writes a JSON object as the Python dict that json.loads would make of it.
func (p *writer) json(object []byte) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := p.jsonValue(dec, tok, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func (p *writer) jsonValue(dec *json.Decoder, tok json.Token, depth int) error {
	switch v := tok.(type) {
	case nil:
		p.op(opNone)
	case bool:
		if v {
			p.op(opNewTrue)
		} else {
			p.op(opNewFalse)
		}
	case string:
		p.string(v)
	case json.Number:
		return p.number(string(v))
	case json.Delim:
		return p.jsonNested(dec, v, depth+1)
	}
	return nil
}

func (p *writer) jsonNested(dec *json.Decoder, open json.Delim, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("nested over %d deep", maxNesting)
	}
	fill := byte(opSetItems)
	if open == '{' {
		p.op(opEmptyDict, opMark)
	} else {
		fill = opAppends
		p.op(opEmptyList, opMark)
	}
	for i := 0; dec.More(); i++ {
		if i > 0 && i%(2*setItemsSize) == 0 { // even: a key stays with its value
			p.op(fill, opMark)
		}
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		if err := p.jsonValue(dec, tok, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	p.op(fill)
	return nil
}

// number follows Python: a literal without point and exponent is an int of any size, any other a float.
func (p *writer) number(s string) error {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // out of range: infinite, as in Python
			return fmt.Errorf("number %.40s: %w", s, err)
		}
		p.op(opBinFloat)
		_, _ = p.w.Write(binary.BigEndian.AppendUint64(p.buf[:0], math.Float64bits(f)))
		return nil
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return fmt.Errorf("number %.40s: not an integer", s)
	}
	if n.IsInt64() {
		p.int(n.Int64())
		return nil
	}
	p.long(n)
	return nil
}

func (p *writer) int(v int64) {
	switch {
	case v >= 0 && v < 1<<8:
		p.op(opBinInt1, byte(v))
	case v >= 0 && v < 1<<16:
		p.op(opBinInt2, byte(v), byte(v>>8))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		p.op(opBinInt)
		p.uint32(uint32(int32(v)))
	default:
		p.long(big.NewInt(v))
	}
}

// long writes two's complement, least byte first, in as many bytes as the sign needs.
func (p *writer) long(n *big.Int) {
	size := n.BitLen()/8 + 1
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	be := n.FillBytes(make([]byte, size))
	if size <= 8 {
		p.op(opLong1, byte(size)) // pickleparser gives up on a longer LONG1, not on a LONG4
	} else {
		p.op(opLong4)
		p.uint32(uint32(size))
	}
	for i := len(be) - 1; i >= 0; i-- {
		_ = p.w.WriteByte(be[i])
	}
}
