package jsonread

import (
	"io"
	"math"
)

// stream is the part of a Reader that exists for a text that comes in pieces. The window Reader.in is the beginning of
// buf; it moves on when it is used up, and takes along what is held.
type stream struct {
	src  io.Reader // nil for a text in memory
	buf  []byte
	end  int   // bytes in buf; more than len(in) when a limit cuts the window short
	base int64 // offset of in[0] in the text
	held int64 // offset of the first byte that must stay in buf
	stop int64 // offset that may not be read
	err  error // what src ended with
}

// Stream reads the text that src brings, strictly, through a buffer of size bytes, which grows to what is held and to
// the longest token: bound it with Hold.
func Stream(src io.Reader, size int) *Reader { return newStream(src, size, strict) }

// LenientStream reads the answer of somebody else's program. Strings may hold control characters and bytes that are not
// UTF-8, skipped values may be any words, and nothing but StringUpTo holds more than a few hundred bytes.
func LenientStream(src io.Reader, size int) *Reader { return newStream(src, size, lenient) }

func newStream(src io.Reader, size int, m mode) *Reader {
	return &Reader{mode: m, stream: stream{src: src, buf: make([]byte, size), held: math.MaxInt64, stop: math.MaxInt64}}
}

// more reads on with in[from:] kept and tells how far that moved to the front; ok is false at the end of the text.
func (r *Reader) more(from int) (moved int, ok bool) {
	if r.src == nil {
		return 0, false
	}
	return r.fill(from)
}

const maxIdle = 100 // reads in a row that bring nothing

func (r *Reader) fill(from int) (moved int, ok bool) {
	if r.err != nil || r.stopped() {
		return 0, false
	}
	moved = min(from, r.pos)
	if r.held < math.MaxInt64 {
		moved = min(moved, int(r.held-r.base))
	}
	if moved > 0 {
		copy(r.buf, r.buf[moved:r.end])
		r.base += int64(moved)
		r.pos -= moved
		r.end -= moved
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, max(len(r.buf), 512))...)
	}
	n := 0
	for idle := 0; n == 0 && r.err == nil; idle++ {
		n, r.err = r.src.Read(r.buf[r.end:])
		if idle > maxIdle && r.err == nil {
			r.err = io.ErrNoProgress
		}
	}
	r.end += n
	r.window()
	return moved, n > 0
}

// window lets as much of buf be read as the limit allows.
func (r *Reader) window() {
	r.in = r.buf[:min(int64(r.end), r.stop-r.base)]
}

// stopped tells whether the window ends where the limit is.
func (r *Reader) stopped() bool { return r.src != nil && r.base+int64(len(r.in)) >= r.stop }

// need tries to have n bytes from i in the window, i being the next byte.
func (r *Reader) need(i, n int) {
	if len(r.in)-i < n {
		r.needFrom(i, i, n)
	}
}

// needFrom tries to have n bytes from i in the window, and keeps those from start.
func (r *Reader) needFrom(start, i, n int) (moved int) {
	for len(r.in)-i < n {
		m, ok := r.more(start)
		moved, start, i = moved+m, start-m, i-m
		if !ok {
			break
		}
	}
	return moved
}

// whole reads on until the word that begins at the next byte ends within the window, or the text does. A lenient text's
// word is not looked at beyond maxWord.
func (r *Reader) whole() {
	for i := r.pos; ; {
		i = wordEnd(r.in, i)
		if i < len(r.in) || r.mode == lenient && i-r.pos > maxWord {
			return
		}
		moved, ok := r.more(r.pos)
		if i -= moved; !ok {
			return
		}
	}
}

// Hold lets at most limit bytes be read from here on, and holds them, until Release.
func (r *Reader) Hold(limit int) {
	r.held = r.Offset()
	r.stop = r.held + int64(limit)
	r.window()
}

// Held is what was read since Hold.
func (r *Reader) Held() []byte { return r.in[r.held-r.base : r.pos] }

// Release ends Hold.
func (r *Reader) Release() {
	r.held, r.stop = math.MaxInt64, math.MaxInt64
	r.window()
}

// Window is what of the stream can be looked at without reading; it reads when that is nothing. Empty with io.EOF at
// the end.
func (r *Reader) Window() ([]byte, error) {
	for r.pos == len(r.in) {
		if _, ok := r.more(r.pos); !ok {
			if r.err == nil {
				return nil, r.Unexpected("the end")
			}
			return nil, r.err
		}
	}
	return r.in[r.pos:], nil
}

// Advance takes n bytes of the window.
func (r *Reader) Advance(n int) { r.pos += n }
