package langchain

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// unicode is a BINUNICODE, short or long.
func unicode(s string) string {
	return string(binary.LittleEndian.AppendUint32([]byte{opBinUnicode}, uint32(len(s)))) + s
}

const (
	proto    = "\x80\x04"
	document = "clangchain_core.documents.base\nDocument\n)\x81"
	store    = "clangchain_community.docstore.in_memory\nInMemoryDocstore\n)\x81"
)

// with wraps one metadata value, given as opcodes, into an otherwise good index.
func with(metadata string) string {
	doc := document + "}(" + unicode("page_content") + unicode("text") + unicode("metadata") + "}" + unicode("k") + metadata + "s" + "ub"
	return proto + store + "}" + unicode("_dict") + "}" + unicode("a") + doc + "ssb" + "}K\x00" + unicode("a") + "s\x86."
}

// laughs is a value of depth lists, each holding the one before ten times.
func laughs(depth int) string {
	var b strings.Builder
	b.WriteString("]q\x00")
	for i := range depth {
		b.WriteString("](" + strings.Repeat("h"+string(rune(i)), 10) + "eq" + string(rune(i+1)))
	}
	// the outermost is needed alone: put all of them into one list and recall the last
	return "](" + b.String() + "e"
}

// shared is an index of n documents that all have the same metadata of 900 kB.
func shared(n int) string {
	var b strings.Builder
	b.WriteString(proto + store + "}" + unicode("_dict") + "}" + unicode("a") + document + "}(" + unicode("page_content") + unicode("x"))
	b.WriteString(unicode("metadata") + "}q\x00" + unicode("k") + unicode(strings.Repeat("y", 900_000)) + "sub" + "s")
	for i := 1; i < n; i++ {
		b.WriteString(unicode(fmt.Sprint(i)) + document + "}(" + unicode("page_content") + unicode("x") + unicode("metadata") + "h\x00ubs")
	}
	b.WriteString("sb}(K\x00" + unicode("a"))
	for i := 1; i < n; i++ {
		b.WriteString("M" + string([]byte{byte(i), byte(i >> 8)}) + unicode(fmt.Sprint(i)))
	}
	return b.String() + "u\x86."
}

func endless(prefix, piece string) io.Reader {
	return io.MultiReader(strings.NewReader(prefix), &repeat{piece: piece})
}

type repeat struct {
	piece string
	at    int
}

func (r *repeat) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.piece[r.at]
		r.at = (r.at + 1) % len(r.piece)
	}
	return len(b), nil
}

func TestHostilePicklesAreRefusedSoonAndSmall(t *testing.T) {
	text := strings.NewReader
	for name, c := range map[string]struct {
		r       io.Reader
		refused string // the name in the error, "" for a limit or a malformed file
	}{
		"os.system":               {text(proto + "cos\nsystem\n" + unicode("rm -rf /") + "\x85R."), "os.system"},
		"os.system, stack global": {text(proto + unicode("os") + unicode("system") + "\x93" + unicode("x") + "\x85R."), "os.system"},
		"posix.system":            {text(proto + "cposix\nsystem\n."), "posix.system"},
		"eval":                    {text(proto + "cbuiltins\neval\n."), "builtins.eval"},
		"getattr chain":           {text(proto + "c__builtin__\ngetattr\nc__builtin__\n__import__\n."), "__builtin__.getattr"},
		"in the metadata":         {text(with("cos\nsystem\n" + unicode("x") + "\x85R")), "os.system"},
		"dotted name":             {text(proto + unicode("langchain_core.documents.base") + unicode("Document.__init__.__globals__") + "\x93."), "langchain_core.documents.base.Document.__init__.__globals__"},
		"copyreg":                 {text(proto + "ccopyreg\n_reconstructor\n."), "copyreg._reconstructor"},
		"a call of Document":      {text(proto + "clangchain_core.documents.base\nDocument\n)R."), "a call of langchain_core.documents.base.Document"},
		"arguments for Document":  {text(proto + "clangchain_core.documents.base\nDocument\n" + unicode("x") + "\x85\x81."), "a call of langchain_core.documents.base.Document"},
		"INST":                    {text(proto + "(ios\nsystem\n."), "opcode 0x69"},
		"OBJ":                     {text(proto + "(o."), "opcode 0x6f"},
		"persistent id":           {text(proto + "Pfoo\n."), "opcode 0x50"},
		"extension registry":      {text(proto + "\x82\x01."), "opcode 0x82"},
		"protocol 0":              {text("cos\nsystem\n."), ""},
		"nothing":                 {text(""), ""},
		"a FAISS file":            {text("IxFI" + strings.Repeat("\x00", 100)), ""},
		"4 GB string":             {text(proto + "X\xff\xff\xff\xff" + "abc"), ""},
		"exabyte string":          {text(proto + "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f" + "abc"), ""},
		"16 MB number":            {text(proto + "\x8b\x00\x00\x00\x01"), ""},
		"memo bomb, far index":    {text(proto + "]r\xff\xff\xff\xff."), ""},
		"memo bomb, endless":      {endless(proto+"]", "\x94"), ""},
		"memo bomb, put":          {endless(proto, "]r\x01\x02\x03\x04a"), ""},
		"recalls nothing":         {text(proto + "h\x07."), ""},
		"deep marks":              {endless(proto, "("), ""},
		"deep tuples":             {endless(proto+"N", "\x85"), ""},
		"endless lists":           {endless(proto, "]"), ""},
		"endless appends":         {endless(proto+"]", "Na"), ""},
		"endless documents":       {endless(proto+store+"}"+unicode("_dict")+"}", unicode("a")+document+"}"+unicode("page_content")+unicode("")+"sbs"), ""},
		"endless frames":          {endless(proto, "\x95\x00\x00\x00\x00\x00\x00\x00\x00N0"), "opcode 0x30"},
		"endless nothing":         {endless(proto, "\x95\x00\x00\x00\x00\x00\x00\x00\x00"), ""},
		"billion laughs":          {text(with(laughs(12))), ""},
		"one record for all":      {text(shared(5000)), ""},
		"a list in itself":        {text(with("]q\x00h\x00a")), ""},
		"stack underflow":         {text(proto + "u."), ""},
		"build on nothing":        {text(proto + "Nb."), ""},
		"set items of a list":     {text(proto + "](NNu."), ""},
		"unhashable key":          {text(proto + "}(]Nu."), ""},
		"only a dict":             {text(proto + "}."), ""},
		"a document in metadata":  {text(with(document + "}" + unicode("page_content") + unicode("x") + "sb")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			lim := DefaultLimits()
			lim.Bytes = 4 << 20 // endless files end here, if nothing stops them before
			heap := watchHeap(t)
			start := time.Now()
			err := ReadPickle(c.r, lim, func(_ int, d Found) error { return d.Unreadable })
			took := time.Since(start)
			peak := heap()
			var refused *RefusedError
			switch {
			case err == nil:
				t.Fatal("accepted")
			case c.refused != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Name, c.refused)):
				t.Errorf("got %v, want a refusal of %s", err, c.refused)
			case c.refused == "" && !errors.Is(err, ErrLimit) && !errors.Is(err, ErrMalformed) && !strings.Contains(err.Error(), "metadata"):
				t.Errorf("got %v", err)
			}
			if took > time.Second || peak > 50<<20 {
				t.Errorf("refused after %v and %d MB: %v", took, peak>>20, err)
			}
		})
	}
}

// watchHeap returns a function that tells the largest growth of the heap since.
func watchHeap(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, peak := m.HeapInuse, uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapInuse > base {
				peak = max(peak, m.HeapInuse-base)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { close(stop); <-done; return peak }
}

func TestTheHelperMakesGoodIndexes(t *testing.T) {
	if docs, err := read([]byte(shared(3))); err != nil || len(docs) != 3 || len(docs[2].Metadata) < 900_000 {
		t.Errorf("%d documents, %v", len(docs), err)
	}
	docs, err := read([]byte(with("(K\x01K\x02lh\x00"[:6])))
	if err != nil || len(docs) != 1 || string(docs[0].Metadata) != `{"k":[1,2]}` {
		t.Errorf("got %s, %v", docs, err)
	}
}

func TestLimitsHold(t *testing.T) {
	docs := sample()[:3]
	data := pickled(t, docs)
	for name, change := range map[string]func(*Limits){
		"bytes":     func(l *Limits) { l.Bytes = int64(len(data)) - 1 },
		"string":    func(l *Limits) { l.String = len(docs[1].PageContent) - 1 },
		"record":    func(l *Limits) { l.Record = 20 },
		"nodes":     func(l *Limits) { l.Nodes = 10 },
		"documents": func(l *Limits) { l.Documents = 2 },
	} {
		lim := DefaultLimits()
		change(&lim)
		if err := ReadPickle(bytes.NewReader(data), lim, func(_ int, d Found) error { return d.Unreadable }); err == nil {
			t.Errorf("%s: no limit", name)
		}
	}
	for cut := range len(data) {
		if _, err := read(data[:cut]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestPositionsMustBeWhole(t *testing.T) {
	head := proto + store + "}" + unicode("_dict") + "}" + unicode("a") + document + "}" + unicode("page_content") + unicode("x") + "sbssb}("
	for name, positions := range map[string]string{
		"gap":           "K\x00" + unicode("a") + "K\x02" + unicode("a"),
		"twice":         "K\x00" + unicode("a") + "K\x00" + unicode("a"),
		"negative":      "J\xff\xff\xff\xff" + unicode("a"),
		"not an id":     "K\x00N",
		"key is string": unicode("0") + unicode("a"),
	} {
		if _, err := read([]byte(head + positions + "u\x86.")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if docs, err := read([]byte(head + "K\x01" + unicode("a") + "K\x00" + unicode("a") + "u\x86.")); err != nil || len(docs) != 2 {
		t.Errorf("any order: %v, %v", docs, err)
	}
}

func FuzzReadPickle(f *testing.F) {
	f.Add(pickled(f, sample()[:3]))
	f.Add([]byte(with("N")))
	f.Add([]byte(with(laughs(3))))
	f.Add([]byte(proto + "cos\nsystem\n."))
	for _, value := range []string{
		"cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x02\x00\x00\x00\x00\x00\x00\x85R", "cuuid\nUUID\n)\x81}" + unicode("int") + "K\x01sb", "cpandas\nNA\n",
		"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n" + unicode("f8") + "\x85RC\x08abcdefgh\x86R", "cpathlib\nPosixPath\n" + unicode("/") + "\x85R",
	} {
		f.Add([]byte(with(value)))
	}
	lim := Limits{Bytes: 1 << 20, String: 1 << 16, Record: 1 << 16, Nodes: 10_000, Documents: 1000}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = ReadPickle(bytes.NewReader(data), lim, func(_ int, d Found) error {
			if d.Unreadable == nil && !json.Valid(d.Metadata) {
				t.Errorf("metadata is not JSON: %.200q", d.Metadata)
			}
			return nil
		})
	})
}

func FuzzMetadataSurvives(f *testing.F) {
	f.Add(`{"a":[1,2.5,-3e10,"x",null,true,{"b":{}}],"日本":"語"}`, "id", "text")
	f.Fuzz(func(t *testing.T, meta, id, text string) {
		var v map[string]any
		if json.Unmarshal([]byte(meta), &v) != nil || v == nil {
			t.Skip("no JSON object")
		}
		var buf bytes.Buffer
		if err := WritePickle(&buf, 1, func(int) (Document, error) { return Document{id, text, []byte(meta)}, nil }); err != nil {
			t.Skip(err)
		}
		docs, err := read(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(docs[0].Metadata, &got); err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(v), fmt.Sprint(got); a != b {
			t.Errorf("got %s, want %s", b, a)
		}
	})
}
