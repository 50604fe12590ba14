package langchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

func sample() []Document {
	docs := []Document{
		{"V-001", "冷凍倉庫の温度監視\n二行目", []byte(`{"vendor_id":"V-001","name":"株式会社氷室","n":12,"neg":-70000,"big":12345678901234567890,"f":0.5,"t":true,"x":null,"list":[1,"二",[]],"o":{"a":{}}}`)},
		{"V-002", strings.Repeat("長い文", 200), []byte(`{}`)},
		{"V-003", "emoji 😀 <&> \"quoted\" \\", []byte(`{"k":255,"l":256,"m":65535,"n":65536,"o":-1,"p":2147483647,"q":2147483648,"r":-2147483648,"s":-2147483649,"e":1e10}`)},
	}
	for i := range 2500 { // more than two batches of SETITEMS
		docs = append(docs, Document{fmt.Sprintf("id-%d", i), fmt.Sprintf("text %d", i), []byte(fmt.Sprintf(`{"i":%d}`, i))})
	}
	return docs
}

func pickled(t testing.TB, docs []Document) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := WritePickle(&buf, len(docs), func(i int) (Document, error) { return docs[i], nil }); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func read(data []byte) (docs []Document, err error) {
	err = ReadPickle(bytes.NewReader(data), DefaultLimits(), func(pos int, d Found) error {
		if pos != len(docs) {
			return fmt.Errorf("position %d came as number %d", pos, len(docs))
		}
		docs = append(docs, d.Document)
		return d.Unreadable
	})
	return docs, err
}

// line is a document as the scripts of other languages print it.
func line(pos int, d Document) string {
	var meta any
	dec := json.NewDecoder(bytes.NewReader(d.Metadata))
	dec.UseNumber()
	if err := dec.Decode(&meta); err != nil {
		return err.Error()
	}
	b, _ := json.Marshal([]any{pos, d.ID, d.PageContent, meta})
	return string(b)
}

// canonical rewrites the scripts' lines the same way; numbers become float64 where exact integers are not of interest.
func canonical(t *testing.T, out []byte, asFloat bool) []string {
	t.Helper()
	var lines []string
	dec := json.NewDecoder(bytes.NewReader(out))
	if !asFloat {
		dec.UseNumber()
	}
	for {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatalf("%v in %.2000s", err, out)
		}
		b, _ := json.Marshal(v)
		lines = append(lines, string(b))
	}
}

func want(t *testing.T, docs []Document, asFloat bool) []string {
	t.Helper()
	var all bytes.Buffer
	for i, d := range docs {
		all.WriteString(line(i, d) + "\n")
	}
	return canonical(t, all.Bytes(), asFloat)
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	docs := sample()
	got, err := read(pickled(t, docs))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Metadata, docs[i].Metadata = nil, nil
	}
	if diff := cmp.Diff(docs, got); diff != "" {
		t.Error(diff)
	}
	if got, err := read(pickled(t, nil)); err != nil || len(got) != 0 {
		t.Errorf("no documents: %v, %v", got, err)
	}
}

func TestMetadataKeepsKeysValuesAndKinds(t *testing.T) {
	docs := sample()
	got, err := read(pickled(t, docs))
	if err != nil {
		t.Fatal(err)
	}
	if string(got[0].Metadata) != string(docs[0].Metadata) {
		t.Errorf("got  %s\nwant %s", got[0].Metadata, docs[0].Metadata)
	}
	if want := strings.ReplaceAll(string(docs[2].Metadata), "1e10", "10000000000.0"); string(got[2].Metadata) != want {
		t.Errorf("got  %s\nwant %s", got[2].Metadata, want)
	}
}

func python(t *testing.T) string {
	path, err := exec.LookPath("python3")
	if err != nil {
		harness.Missing(t, "python3")
	}
	return path
}

func run(t *testing.T, stdin io.Reader, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = stdin
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return out
}

func TestPythonReadsWhatIsWritten(t *testing.T) {
	py, docs := python(t), sample()
	file := filepath.Join(t.TempDir(), "index.pkl")
	if err := os.WriteFile(file, pickled(t, docs), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, nil, py, "testdata/roundtrip.py", "read", file)
	docs[2].Metadata = bytes.ReplaceAll(docs[2].Metadata, []byte("1e10"), []byte("10000000000.0"))
	if diff := cmp.Diff(want(t, docs, false), canonical(t, out, false)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatPythonWritesIsRead(t *testing.T) {
	py, docs := python(t), sample()
	var in bytes.Buffer
	for _, d := range docs {
		b, _ := json.Marshal([]any{d.ID, d.PageContent, json.RawMessage(d.Metadata)})
		in.Write(append(b, '\n'))
	}
	for protocol := 2; protocol <= 5; protocol++ {
		file := filepath.Join(t.TempDir(), "index.pkl")
		run(t, bytes.NewReader(in.Bytes()), py, "testdata/roundtrip.py", "write", file, fmt.Sprint(protocol))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(data)
		if err != nil {
			t.Fatalf("protocol %d: %v", protocol, err)
		}
		if diff := cmp.Diff(want(t, docs, true), want(t, got, true)); diff != "" {
			t.Errorf("protocol %d: %s", protocol, diff)
		}
	}
}

func TestLangChainJSReadsWhatIsWritten(t *testing.T) {
	modules, docs := harness.Node(t), sample()
	// pickleparser reads every long integer as unsigned, from any pickle.
	docs[2].Metadata = bytes.ReplaceAll(docs[2].Metadata, []byte("-2147483649"), []byte("2147483649"))
	file := filepath.Join(t.TempDir(), "index.pkl")
	if err := os.WriteFile(file, pickled(t, docs), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, nil, "node", "testdata/read.js", modules, file)
	if diff := cmp.Diff(want(t, docs, true), canonical(t, out, true)); diff != "" {
		t.Error(diff)
	}
}

func TestMemoryIsFlatHoweverManyDocumentsAreWritten(t *testing.T) {
	n := 200_000
	if os.Getenv("VECTORSTORE_SOAK") != "" {
		n = 1_000_000
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base, peak := m.HeapInuse, uint64(0)
	meta := []byte(`{"vendor_id":"V","name":"株式会社","tags":["a","b"],"score":7}`)
	var size counterWriter
	if err := WritePickle(&size, n, func(i int) (Document, error) {
		if i%(n/10) == n/10-1 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
		return Document{fmt.Sprintf("V-%07d", i), "冷凍倉庫の温度監視", meta}, nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, heap %d kB before, at most %d kB", size, base>>10, peak>>10)
	if peak > base+4<<20 {
		t.Errorf("heap grew from %d to %d kB", base>>10, peak>>10)
	}
}

type counterWriter int64

func (c *counterWriter) Write(b []byte) (int, error) { *c += counterWriter(len(b)); return len(b), nil }

func TestWriteStopsAtTheFirstError(t *testing.T) {
	full, calls := errors.New("disk full"), 0
	err := WritePickle(failing{full}, 1_000_000, func(i int) (Document, error) {
		calls++
		return Document{ID: fmt.Sprint(i), PageContent: strings.Repeat("x", 1000), Metadata: []byte("{}")}, nil
	})
	if !errors.Is(err, full) || calls > setItemsSize {
		t.Errorf("got %v after %d documents", err, calls)
	}
	for _, meta := range []string{"", "[]", "{", `{"a":1}x`, "7", strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300)} {
		err := WritePickle(io.Discard, 1, func(int) (Document, error) { return Document{"a", "b", []byte(meta)}, nil })
		if err == nil {
			t.Errorf("metadata %.20q is written", meta)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
