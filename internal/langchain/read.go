package langchain

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// ReadPickle reads an index.pkl and calls each for positions 0, 1, … in order. Nothing is imported or called, whatever
// the pickle says. Errors are *RefusedError, ErrMalformed or ErrLimit, or those of r and each. The opcodes of
// the whole file are read before each is called, so whatever is refused is refused before. A single document that cannot
// be a record is handed on as Unreadable, and the others are read.
func ReadPickle(r io.Reader, lim Limits, each func(pos int, d Found) error) error {
	p := &reader{lim: lim}
	p.r = bufio.NewReaderSize(&counter{r: r, p: p}, 64<<10)
	top, err := p.run()
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: it ends in the middle", ErrMalformed)
		}
		return fmt.Errorf("read pickle at byte %d: %w", p.read-int64(p.r.Buffered()), err)
	}
	p.memo = nil
	return p.deliver(top, each)
}

// reader is the machine: a stack, marks into it, a memo.
type reader struct {
	r    *bufio.Reader
	lim  Limits
	read int64 // bytes taken from the source

	stack []any
	marks []int
	memo  []any // by number; picklers number from 0 on, with few gaps if any

	nodes   int   // since the last document
	docs    int   // documents built
	charged int64 // memory, roughly
}

type counter struct {
	r io.Reader
	p *reader
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.p.read += int64(n); c.p.read > c.p.lim.Bytes {
		return 0, fmt.Errorf("%w: over %d bytes", ErrLimit, c.p.lim.Bytes)
	}
	return n, err
}

func (p *reader) run() (any, error) {
	for first := true; ; first = false {
		op, err := p.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if first && op != opProto {
			return nil, fmt.Errorf("%w: it does not start like a pickle of protocol 2 or later", ErrMalformed)
		}
		if op == opStop {
			return p.stop()
		}
		if err := p.step(op); err != nil {
			return nil, err
		}
	}
}

func (p *reader) stop() (any, error) {
	if len(p.stack) != 1 || len(p.marks) != 0 {
		return nil, fmt.Errorf("%w: it ends with %d values", ErrMalformed, len(p.stack))
	}
	return p.stack[0], nil
}

// step carries out one opcode.
func (p *reader) step(op byte) error {
	switch op {
	case opProto:
		v, err := p.r.ReadByte()
		if err == nil && (v < 2 || v > 5) {
			err = fmt.Errorf("%w: protocol %d", ErrMalformed, v)
		}
		return err
	case opFrame: // a hint for readers that buffer; we do anyway
		_, err := p.r.Discard(8)
		return err
	case opGlobal, opStackGlobal:
		return p.global(op)
	case opMark:
		if len(p.marks) >= maxMarks {
			return fmt.Errorf("%w: nested over %d deep", ErrLimit, maxMarks)
		}
		p.marks = append(p.marks, len(p.stack))
		return nil
	case opBinPut, opLongBinPut, opMemoize:
		return p.put(op)
	case opBinGet, opLongBinGet:
		return p.get(op)
	case opNewObj, opReduce, opBuild:
		return p.construct(op)
	case opNone:
		return p.push(nil, 0)
	case opNewTrue, opNewFalse:
		return p.push(op == opNewTrue, 0)
	case opBinInt, opBinInt1, opBinInt2, opLong1, opLong4, opBinFloat:
		return p.number(op)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		return p.unicode(op)
	case opBinBytes, opShortBinBytes, opBinBytes8:
		b, err := p.bytes(op == opShortBinBytes, op == opBinBytes8)
		if err != nil {
			return err
		}
		return p.push(pyBytes(b), len(b))
	}
	return p.container(op)
}

// push puts a new value on the stack and charges for it.
func (p *reader) push(v any, bytes int) error {
	if err := p.count(nodeBytes + int64(bytes)); err != nil {
		return err
	}
	return p.pushShared(v)
}

// count counts a value, stored value or recalled value, and charges for its memory.
func (p *reader) count(bytes int64) error {
	if p.nodes++; p.nodes > p.lim.Nodes {
		return fmt.Errorf("%w: over %d values in one document", ErrLimit, p.lim.Nodes)
	}
	return p.charge(bytes)
}

func (p *reader) pushShared(v any) error {
	if len(p.stack) >= maxStack {
		return fmt.Errorf("%w: over %d values wait on the stack", ErrLimit, maxStack)
	}
	p.stack = append(p.stack, v)
	return nil
}

func (p *reader) charge(n int64) error {
	if p.charged += n; p.charged > slackBytes+perByte*p.read {
		return fmt.Errorf("%w: it would take over %d MB of memory", ErrLimit, p.charged>>20)
	}
	return nil
}

var errStack = fmt.Errorf("%w: an operation without its operands", ErrMalformed)

// pop takes the top value, which must lie above the last mark.
func (p *reader) pop() (any, error) {
	floor := 0
	if n := len(p.marks); n > 0 {
		floor = p.marks[n-1]
	}
	if len(p.stack) <= floor {
		return nil, errStack
	}
	v := p.stack[len(p.stack)-1]
	p.stack[len(p.stack)-1] = nil
	p.stack = p.stack[:len(p.stack)-1]
	return v, nil
}

// popMark takes everything above the last mark. The slice is valid until the next push.
func (p *reader) popMark() ([]any, error) {
	n := len(p.marks)
	if n == 0 {
		return nil, errStack
	}
	at := p.marks[n-1]
	p.marks = p.marks[:n-1]
	items := p.stack[at:]
	p.stack = p.stack[:at]
	return items, nil
}

func (p *reader) top() (any, error) {
	if len(p.stack) == 0 {
		return nil, errStack
	}
	return p.stack[len(p.stack)-1], nil
}

func (p *reader) global(op byte) error {
	var module, name string
	if op == opGlobal {
		var err error
		if module, err = p.line(); err != nil {
			return err
		}
		if name, err = p.line(); err != nil {
			return err
		}
	} else {
		n, err1 := p.pop()
		m, err2 := p.pop()
		if err := errors.Join(err1, err2); err != nil {
			return errStack
		}
		var ok1, ok2 bool
		module, ok1 = m.(string)
		name, ok2 = n.(string)
		if !ok1 || !ok2 || len(module)+len(name) > maxClass {
			return fmt.Errorf("%w: a class whose name is not a short string", ErrMalformed)
		}
	}
	full := module + "." + name
	if !allowed(full) {
		return &RefusedError{Name: full}
	}
	if c := class(full); missing[c] {
		return p.push(scalar{c, nil}, 0)
	}
	return p.push(class(full), len(full))
}

func (p *reader) line() (string, error) {
	var b strings.Builder
	for b.Len() <= maxClass {
		c, err := p.r.ReadByte()
		if err != nil || c == '\n' {
			return b.String(), err
		}
		b.WriteByte(c)
	}
	return "", fmt.Errorf("%w: a class name of over %d bytes", ErrMalformed, maxClass)
}

func (p *reader) put(op byte) error {
	key := uint32(len(p.memo))
	if op != opMemoize {
		var err error
		if key, err = p.index(op == opBinPut); err != nil {
			return err
		}
	}
	v, err := p.top()
	if err != nil {
		return err
	}
	if int(key) > len(p.memo)+maxGap {
		return fmt.Errorf("%w: value %d is stored after %d", ErrMalformed, key, len(p.memo))
	}
	grown := 0
	for ; int(key) >= len(p.memo); grown++ {
		p.memo = append(p.memo, unset{})
	}
	p.memo[key] = v
	return p.count(int64(32 * grown))
}

func (p *reader) get(op byte) error {
	key, err := p.index(op == opBinGet)
	if err != nil {
		return err
	}
	v := any(unset{})
	if int(key) < len(p.memo) {
		v = p.memo[key]
	}
	if v == (unset{}) {
		return fmt.Errorf("%w: it recalls value %d, which it never stored", ErrMalformed, key)
	}
	if err := p.count(0); err != nil {
		return err
	}
	return p.pushShared(v)
}

func (p *reader) index(short bool) (uint32, error) {
	if short {
		b, err := p.r.ReadByte()
		return uint32(b), err
	}
	return p.uint32()
}

func (p *reader) uint32() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(p.r, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (p *reader) number(op byte) error {
	size, err := p.numberSize(op)
	if err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return err
	}
	switch op {
	case opBinFloat:
		return p.push(math.Float64frombits(binary.BigEndian.Uint64(b)), 0)
	case opBinInt:
		return p.push(int64(int32(binary.LittleEndian.Uint32(b))), 0)
	case opBinInt1:
		return p.push(int64(b[0]), 0)
	case opBinInt2:
		return p.push(int64(binary.LittleEndian.Uint16(b)), 0)
	}
	return p.push(long(b), len(b))
}

func (p *reader) numberSize(op byte) (int, error) {
	switch op {
	case opBinInt1:
		return 1, nil
	case opBinInt2:
		return 2, nil
	case opBinInt:
		return 4, nil
	case opBinFloat:
		return 8, nil
	case opLong1:
		b, err := p.r.ReadByte()
		return int(b), err
	}
	n, err := p.uint32()
	if err == nil && n > maxLong {
		err = fmt.Errorf("%w: a number of %d bytes", ErrLimit, n)
	}
	return int(n), err
}

// long is two's complement, least byte first; what fits is an int64.
func long(b []byte) any {
	negative := len(b) > 0 && b[len(b)-1] >= 0x80
	slices.Reverse(b)
	n := new(big.Int).SetBytes(b)
	if negative {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func (p *reader) unicode(op byte) error {
	b, err := p.bytes(op == opShortBinUnicode, op == opBinUnicode8)
	if err != nil {
		return err
	}
	s := string(b)
	if !utf8.Valid(b) { // Python writes lone surrogates with its own encoding
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return p.push(s, len(s))
}

// bytes reads a length of one, four or eight bytes and as many bytes as it says.
func (p *reader) bytes(short, long bool) ([]byte, error) {
	var size uint64
	switch {
	case short:
		b, err := p.r.ReadByte()
		if err != nil {
			return nil, err
		}
		size = uint64(b)
	case long:
		var b [8]byte
		if _, err := io.ReadFull(p.r, b[:]); err != nil {
			return nil, err
		}
		size = binary.LittleEndian.Uint64(b[:])
	default:
		n, err := p.uint32()
		if err != nil {
			return nil, err
		}
		size = uint64(n)
	}
	if size > uint64(p.lim.String) {
		return nil, fmt.Errorf("%w: a string of %d bytes, %d are allowed", ErrLimit, size, p.lim.String)
	}
	b := make([]byte, size) // ≤ Limits.String, before it is known to be there
	_, err := io.ReadFull(p.r, b)
	return b, err
}
