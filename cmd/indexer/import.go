package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/taksuehiro/vectorstore/internal/embed"
	"github.com/taksuehiro/vectorstore/internal/langchain"
	"github.com/taksuehiro/vectorstore/internal/ledger"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type importCmd struct {
	Dir        string        `arg:"" type:"existingdir" help:"Folder that LangChain's save_local wrote: index.faiss and index.pkl."`
	Provider   wire.Provider `embed:""`
	Model      string        `name:"model" env:"EMBEDDING_MODEL" placeholder:"MODEL" help:"Model that the vectors were made with; must be what the indexer will use. LangChain's own default is text-embedding-ada-002."`
	Dims       int           `name:"dims" env:"EMBEDDING_DIMENSIONS" placeholder:"N" help:"Dimensions of the vectors; must be what the indexer will use."`
	Out        string        `name:"out" default:"vendors.json" help:"Where to write the draft of the catalogue. What was there is kept beside it as .old."`
	Index      string        `name:"index-name" default:"index" placeholder:"NAME" help:"The index_name that save_local was given: NAME.faiss and NAME.pkl."`
	Duplicates string        `name:"duplicates" env:"DUPLICATE_IDS" default:"suffix" enum:"suffix,last,refuse" help:"A repeated id: suffix keeps every document (the indexer makes the second ID~2), last keeps the last one, refuse stops."`
	RecordID   string        `name:"record-id" env:"RECORD_ID" default:"vendor_id,id" placeholder:"PATHS" help:"As the indexer has it."`
	RecordName string        `name:"record-name" env:"RECORD_NAME" default:"name,company_name,title" placeholder:"PATHS" help:"As the indexer has it."`
	SkipBad    bool          `name:"skip-bad" help:"Leave out documents that cannot be read, such as those without text, and list them."`
	Verify     int           `name:"verify" default:"3" placeholder:"N" help:"Embed so many texts with the provider and compare: another model's vectors are not imported. 0 trusts --model."`
}

func (c importCmd) rules() vendors.Rules {
	return vendors.Rules{Duplicates: c.Duplicates, ID: c.RecordID, Name: c.RecordName}
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (c importCmd) Validate() error {
	if c.Verify < 0 || c.Verify > maxVerify {
		return fmt.Errorf("--verify must be 0 to %d, is %d", maxVerify, c.Verify)
	}
	if c.Index == "" || c.Index != filepath.Base(c.Index) {
		return fmt.Errorf("--index-name must be a file's name without its extension, is %q", c.Index)
	}
	return c.rules().Validate()
}

const (
	// importWindow vectors are stored at a time: 1,024 x 1,536 components are 6 MiB.
	importWindow = 1024
	maxVerify    = 100
	leastCosine  = 0.98 // servers round, batches differ: the same model gives 0.999 and more, another one less than 0.9
	verifyTime   = 30 * time.Second
	unitSlack    = 1e-3 // a vector of unit length in 32 bits is within 1e-6
)

// folder is what was read of the old index.
type folder struct {
	embedder embed.Embedder
	docs     []document // by position
	samples  []sample   // to be verified
}

type document struct {
	key ledger.Key // of the text it is embedded as
	out bool       // it is left out
}

type sample struct {
	pos    int
	text   string
	vector []float32
}

// Run reads the pickle first, which refuses whatever is not a LangChain docstore, and writes the draft of a catalogue. The
// draft stays whatever comes. Only when all of the index was looked at, and its vectors are the model's, do they go into
// the embedding ledger, under the texts they stand for.
func (c importCmd) Run(a *app) error {
	var trouble error
	embedder, err := c.Provider.Open(a.ctx, wire.Model{Model: c.Model, Dims: c.Dims}, wire.Calls{Patience: wire.Command, Observer: embed.Observer{
		Retry: func(_ string, err error) { trouble = err },
	}})
	if err != nil {
		return usage(err)
	}
	old := &folder{embedder: embedder}
	if err := c.draft(a, old); err != nil {
		return err
	}
	if err := c.take(a, old, &trouble); err != nil {
		return fmt.Errorf("%w; no vector was stored, and the draft of the catalogue is kept in %s", err, c.Out)
	}
	s, l := embedder.Embedding(), a.store.Layout()
	fmt.Fprintf(a.stdout, "imported %d documents and their vectors (%s %s, %d dimensions)\n", old.count(), s.Provider, s.Model, s.Dims)
	fmt.Fprintf(a.stdout, "wrote %s: look it over, then put it at %s\n", c.Out, l.Source)
	fmt.Fprintln(a.stdout, "while a record keeps its _text, that text is what is embedded, and nothing is bought again; without it the record moves to the standard text")
	return nil
}

// count is how many documents are not left out.
func (f *folder) count() int {
	n := 0
	for _, d := range f.docs {
		if !d.out {
			n++
		}
	}
	return n
}

// draft writes the docstore as a catalogue, in the order of the index, and says what was done to make it one.
func (c importCmd) draft(a *app, old *folder) error {
	out, err := renameio.NewPendingFile(c.Out, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer out.Cleanup()
	said := newNotes()
	if err := c.documents(out, old, said); err != nil {
		return err
	}
	said.print(a.stdout, c.SkipBad)
	report, refused := vendors.Read(out, c.rules(), vendors.DefaultLimits(), nil, func(vendors.Record) error { return nil })
	if refused == nil && c.Duplicates == vendors.DuplicatesLast && report.Dropped > 0 {
		if err := c.onlyLast(out); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if err := c.publish(a, out); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	switch {
	case old.count() == 0 && len(said.bad) == 0:
		return errors.New("the index has no documents")
	case len(said.bad) > 0 && !c.SkipBad:
		return fmt.Errorf("%d of %d documents cannot be read: %s; no vector was stored, and the draft with the others is kept in %s (--skip-bad leaves them out)",
			len(said.bad), len(old.docs), strings.Join(said.bad[:min(3, len(said.bad))], "; "), c.Out)
	case refused != nil:
		return fmt.Errorf("the documents do not make a catalogue: %w; no vector was stored, and the draft is kept in %s", refused, c.Out)
	}
	repeated(a.stdout, report)
	return nil
}

// repeated says what becomes of documents that share an id.
func repeated(w io.Writer, report vendors.Report) {
	for _, r := range report.Repairs {
		if r.Kind != vendors.RepairDuplicateID {
			continue
		}
		more, example := "", "<id>~2"
		if n := r.Count - len(r.IDs); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		for _, x := range slices.Backward(r.Examples) {
			if id, ok := strings.CutPrefix(x.Done, "kept as "); ok {
				example, _, _ = strings.Cut(id, ", the id is that of ") // a line of the draft, which nobody has seen yet
			}
		}
		fmt.Fprintf(w, "%s of several documents: %s%s\n", count(r.Count, "id"), strings.Join(r.IDs, ", "), more)
		if report.Renamed > 0 {
			fmt.Fprintf(w, "  %s kept under an id like %s by the indexer; their metadata stays as it is\n", count(report.Renamed, "document"), example)
		}
		if report.Dropped > 0 {
			fmt.Fprintf(w, "  %s left out: equal to another one in everything, or not the last with --duplicates last\n", count(report.Dropped, "document"))
		}
	}
}

// onlyLast leaves out of the draft what --duplicates last does, so that it is the same catalogue whatever the indexer's
// own setting is.
func (c importCmd) onlyLast(draft *renameio.PendingFile) error {
	all, err := os.CreateTemp("", "vectorstore-import-")
	if err != nil {
		return err
	}
	defer os.Remove(all.Name())
	defer all.Close()
	if _, err := draft.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(all, draft); err != nil {
		return err
	}
	w := bufio.NewWriterSize(draft, 1<<20)
	separator := ""
	begin := func() error {
		w.Reset(draft)
		separator = "{\"vendors\":[\n"
		_, err := draft.Seek(0, io.SeekStart)
		return errors.Join(err, draft.Truncate(0))
	}
	if _, err := vendors.Read(all, c.rules(), vendors.DefaultLimits(), begin, func(r vendors.Record) error {
		_, err := fmt.Fprintf(w, "%s%s", separator, r.Raw)
		separator = ",\n"
		return err
	}); err != nil {
		return err
	}
	fmt.Fprint(w, "\n]}\n")
	return w.Flush()
}

// publish puts the draft at --out. Another file that is there is kept beside it; the first one, if that happens again.
func (c importCmd) publish(a *app, out *renameio.PendingFile) error {
	kept := c.Out + ".old"
	before, there := store.HashFile(a.ctx, c.Out, nil)
	draft, err := store.HashFile(a.ctx, out.Name(), nil)
	if err != nil {
		return err
	}
	_, err = os.Lstat(kept)
	if there == nil && before.SHA256 != draft.SHA256 && errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(c.Out, kept); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "the %s that was there is kept as %s\n", c.Out, kept)
	}
	return out.CloseAtomicallyReplace()
}

// documents writes what the pickle holds, and notes what became of it.
func (c importCmd) documents(out io.Writer, old *folder, said *notes) error {
	f, err := os.Open(filepath.Join(c.Dir, c.Index+".pkl"))
	if err != nil {
		if others, _ := filepath.Glob(filepath.Join(c.Dir, "*.pkl")); len(others) > 0 {
			err = fmt.Errorf("%w: --index-name %s?", err, strings.TrimSuffix(filepath.Base(others[0]), ".pkl"))
		}
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	spec, endpoint := old.embedder.Embedding(), old.embedder.Endpoint()
	some := rand.New(rand.NewPCG(1, 1)) // the same samples every time
	separator := "{\"vendors\":[\n"
	err = langchain.ReadPickle(bufio.NewReaderSize(f, 1<<20), langchain.DefaultLimits(), func(pos int, d langchain.Found) error {
		record, err := langchain.ToVendor(&d, pos)
		text := ""
		if err == nil {
			text, err = vendors.TextOf(record)
		}
		if err != nil {
			said.bad = append(said.bad, fmt.Sprintf("document %d (%.80q): %v", pos, d.ID, err))
			old.docs = append(old.docs, document{out: true})
			return nil
		}
		said.add(pos, d)
		old.docs = append(old.docs, document{key: ledger.NewKey(text, spec, endpoint)})
		old.sample(c.Verify, pos, text, some)
		_, err = fmt.Fprintf(w, "%s%s", separator, record)
		separator = ",\n"
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if old.count() == 0 {
		fmt.Fprint(w, separator)
	}
	fmt.Fprint(w, "\n]}\n")
	return w.Flush()
}

// sample keeps n different texts of those that it is shown, each as likely as another.
func (f *folder) sample(n, pos int, text string, some *rand.Rand) {
	if slices.ContainsFunc(f.samples, func(s sample) bool { return s.text == text }) {
		return
	}
	s := sample{pos: pos, text: text}
	if len(f.samples) < n {
		f.samples = append(f.samples, s)
	} else if at := some.IntN(pos + 1); at < n {
		f.samples[at] = s
	}
}

// notes are what was done to documents, for people.
type notes struct {
	bad   []string // documents that cannot be read
	count map[langchain.Conversion]int
	first map[langchain.Conversion]int // the document where it was met first
}

// maxNotes bounds what a report lists: metadata may have a field of its own in each document.
const maxNotes = 1000

func newNotes() *notes {
	return &notes{count: map[langchain.Conversion]int{}, first: map[langchain.Conversion]int{}}
}

func (n *notes) add(pos int, d langchain.Found) {
	for c, count := range d.Converted {
		if _, known := n.first[c]; !known && len(n.first) == maxNotes {
			c.Field = "other fields"
		}
		if _, known := n.first[c]; !known {
			n.first[c] = pos
		}
		n.count[c] += count
	}
}

func (n *notes) print(w io.Writer, skipped bool) {
	all := slices.SortedFunc(maps.Keys(n.count), func(x, y langchain.Conversion) int {
		return cmp.Or(cmp.Compare(x.Field, y.Field), cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To))
	})
	for _, c := range all {
		fmt.Fprintf(w, "%s: %s became %s, %d times, first in document %d\n", cell(c.Field), c.From, c.To, n.count[c], n.first[c])
	}
	what := "cannot be read"
	if skipped {
		what = "left out"
	}
	for _, b := range n.bad {
		fmt.Fprintf(w, "%s: %s\n", what, cell(b))
	}
}

// take looks at all of the index and then stores its vectors.
func (c importCmd) take(a *app, old *folder, trouble *error) error {
	if err := c.inspect(a, old); err != nil {
		return err
	}
	if err := c.verify(a, old, trouble); err != nil {
		return err
	}
	return c.vectors(a, old)
}

// flat reads the vectors of the index, one for each document.
func (c importCmd) flat(old *folder, row func(i int, v []float32) error) error {
	f, err := os.Open(filepath.Join(c.Dir, c.Index+".faiss"))
	if err != nil {
		return err
	}
	defer f.Close()
	s := old.embedder.Embedding()
	err = langchain.ReadFlat(bufio.NewReaderSize(f, 1<<20), func(n, dims int) error {
		if dims == s.Dims && n == len(old.docs) {
			return nil
		}
		return fmt.Errorf("it has %d vectors of %d dimensions, the pickle %d documents, and %s %s %d dimensions (EMBEDDING_PROVIDER, --model and --dims say what made the index)",
			n, dims, len(old.docs), s.Provider, s.Model, s.Dims)
	}, row)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return err
}

// inspect reads the vectors without storing any: their shape, their length, and those of the samples.
func (c importCmd) inspect(a *app, old *folder) error {
	off := 0
	err := c.flat(old, func(i int, v []float32) error {
		if old.docs[i].out {
			return nil
		}
		length, err := normalise(v)
		if err != nil {
			if !c.SkipBad {
				return fmt.Errorf("%w (--skip-bad leaves such vectors out, and the indexer embeds their texts again)", err)
			}
			fmt.Fprintf(a.stdout, "left out: vector %d %v; the indexer will embed its text again\n", i, err)
			old.docs[i].out = true
			return nil
		}
		if math.Abs(length-1) > unitSlack {
			off++
		}
		for s := range old.samples {
			if old.samples[s].pos == i {
				old.samples[s].vector = slices.Clone(v)
			}
		}
		return nil
	})
	if err == nil && off > 0 {
		fmt.Fprintf(a.stdout, "%d of %d vectors are not of unit length: they are brought to it, as we rank by the angle (cosine), so the order of results may differ from before\n", off, len(old.docs))
	}
	return err
}

// verify embeds the samples with the stated model and compares. Another model of as many dimensions gives no error
// anywhere, only an order that means nothing.
func (c importCmd) verify(a *app, old *folder, trouble *error) error {
	samples := slices.DeleteFunc(old.samples, func(s sample) bool { return s.vector == nil })
	spec := old.embedder.Embedding()
	model := spec.Provider + " " + spec.Model
	if len(samples) == 0 {
		a.log.Logger(a.stderr).Warn("vectors not verified", "model", model)
		return nil
	}
	texts := make([]string, len(samples))
	for i, s := range samples {
		texts[i] = s.text
	}
	ctx, cancel := context.WithTimeout(a.ctx, verifyTime)
	defer cancel()
	least, worst := 1.0, 0
	err := old.embedder.Embed(ctx, texts, func(first int, vectors []float32, _ int) error {
		for i := range len(vectors) / spec.Dims {
			if cosine := dot(vectors[i*spec.Dims:][:spec.Dims], samples[first+i].vector); cosine < least {
				least, worst = cosine, first+i
			}
		}
		return nil
	})
	switch {
	case err != nil && a.ctx.Err() == nil:
		if errors.Is(err, context.DeadlineExceeded) && *trouble != nil {
			err = fmt.Errorf("no answer within %v: %w", verifyTime, *trouble)
		}
		return fmt.Errorf("the vectors could not be compared with %s: %w (use --verify 0 to import without)", model, err)
	case err != nil:
		return err
	case least < leastCosine:
		return fmt.Errorf("the vectors are not those of %s: the text of document %d has cosine %.3f to its own vector, %.2f is the least (LangChain's default model is text-embedding-ada-002; --model names the one that made the index, or use --verify 0 to import all the same)",
			model, samples[worst].pos, least, leastCosine)
	}
	fmt.Fprintf(a.stdout, "verified: %s embeds %d of the texts as they are in the index (cosine %.4f or more)\n", model, len(samples), least)
	return nil
}

func dot(x, y []float32) float64 {
	var sum float64
	for i := range x {
		sum += float64(x[i]) * float64(y[i])
	}
	return sum
}

// vectors puts the index's vectors into the ledger, as if they had just been bought.
func (c importCmd) vectors(a *app, old *folder) error {
	o, err := a.acting()
	if err != nil {
		return err
	}
	dir, release, err := a.scratch("import")
	if err != nil {
		return err
	}
	defer release()
	s := old.embedder.Embedding()
	vectors, err := ledger.Open(a.ctx, o.Objects, o.Layout, dir, s, old.embedder.Endpoint())
	if err != nil {
		return err
	}
	progress := newProgress(a.stderr, a.log.Logger(a.stderr))
	progress.Step("import", int64(len(old.docs)))
	window, keys := make([]float32, 0, importWindow*s.Dims), make([]ledger.Key, 0, importWindow)
	flush := func() error {
		err := vectors.Flush(a.ctx, keys, window, s.Dims)
		progress.Add(int64(len(keys)))
		window, keys = window[:0], keys[:0]
		return err
	}
	err = c.flat(old, func(i int, v []float32) error {
		if old.docs[i].out {
			return nil
		}
		if _, err := normalise(v); err != nil {
			return err
		}
		window, keys = append(window, v...), append(keys, old.docs[i].key)
		if len(keys) == importWindow {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	progress.Done()
	return errors.Join(err, vectors.Close())
}

// normalise makes a vector unit length: LangChain stores what the provider sent, which need not be. It returns the
// length that it had.
func normalise(row []float32) (float64, error) {
	var sum float64
	for _, v := range row {
		sum += float64(v) * float64(v)
	}
	length := math.Sqrt(sum)
	if length == 0 || math.IsNaN(length) || math.IsInf(length, 0) {
		return 0, errors.New("is zero or not finite")
	}
	for i, v := range row {
		row[i] = float32(float64(v) / length)
	}
	return length, nil
}
