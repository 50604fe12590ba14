package dropins

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors"
)

func read(t *testing.T, name, data string, meta map[string]string) *File {
	t.Helper()
	f, err := Read(name, []byte(data), meta, vendors.DefaultRules(), vendors.DefaultLimits())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

// merge is what a source and files say, one "id=name" a record, and the report in words.
func merge(t *testing.T, source string, files ...*File) (records []string, report Report) {
	t.Helper()
	var m *Merge
	add := func(r vendors.Record) error { records = append(records, r.ID+"="+r.Name); return nil }
	begin := func() error { m, records = NewSet(files).Merge(), nil; return nil }
	_, err := vendors.Read(strings.NewReader(source), vendors.DefaultRules(), vendors.DefaultLimits(), begin,
		func(r vendors.Record) error { return m.Source(r, add) })
	if err == nil {
		err = m.Rest(add)
	}
	if err != nil {
		t.Fatal(err)
	}
	return records, m.Report()
}

// against is what put says of a record of the source.
func against(t *testing.T, record string) map[string]string {
	if record == "" {
		return (&File{Against: Absent, By: "me"}).Metadata()
	}
	return (&File{Against: Digest(read(t, "x.json", record, nil).Entries[0].Record), By: "me"}).Metadata()
}

const (
	v1, v2 = `{"vendor_id":"V-1","name":"a"}`, `{"vendor_id":"V-2","name":"b"}`
	source = "[" + v1 + "," + v2 + "]"
)

func TestMerge(t *testing.T) {
	put := func(id, record, was string) *File { return read(t, NameOf(id), record, against(t, was)) }
	stale := func(id string) Report { return Report{Stale: Cases{1, []Case{{id, NameOf(id)}}}} }
	for _, c := range []struct {
		name   string
		source string
		files  []*File
		want   []string
		report Report
	}{
		{name: "no drop-ins", want: []string{"V-1=a", "V-2=b"}},
		{name: "an override keeps its place, new ids come last in the order of names", files: []*File{
			read(t, "b.json", `[{"vendor_id":"V-8","name":"h"},{"vendor_id":"V-1","name":"A"}]`, nil), read(t, "a.csv", "vendor_id,name\nV-9,i\n", nil)},
			want: []string{"V-1=A", "V-2=b", "V-9=i", "V-8=h"}, report: Report{Shadowing: Cases{1, []Case{{"V-1", "b.json"}}}}},
		{name: "the last name wins, and stands where it says it", files: []*File{
			read(t, "a.json", `[{"vendor_id":"V-9","name":"x"},{"vendor_id":"V-1","name":"x"}]`, nil),
			read(t, "b.json", `[{"vendor_id":"V-3","name":"c"},{"vendor_id":"V-9","name":"y"},{"vendor_id":"V-1","name":"y"}]`, nil)},
			want: []string{"V-1=y", "V-2=b", "V-3=c", "V-9=y"}, report: Report{Shadowing: Cases{1, []Case{{"V-1", "b.json"}}}}},
		{name: "V-1 goes and V-1~2 keeps its name", source: "[" + v1 + "," + v2 + `,{"vendor_id":"V-1","name":"c"}]`, files: []*File{
			read(t, "a.jsonl", `{"vendor_id":"V-1","_deleted":true}`+"\n"+`{"vendor_id":"V-7","_deleted":true}`+"\n", nil)},
			want: []string{"V-2=b", "V-1~2=c"}, report: Report{Shadowing: Cases{1, []Case{{"V-1", "a.jsonl"}}}}},
		{name: "a table takes away", files: []*File{read(t, "a.csv", "vendor_id,_deleted\nV-1,TRUE\n", nil)},
			want: []string{"V-2=b"}, report: Report{Shadowing: Cases{1, []Case{{"V-1", "a.csv"}}}}},
		{name: "a put over the record that it was written against", files: []*File{put("V-1", `{"vendor_id":"V-1","name":"A"}`, v1)},
			want: []string{"V-1=A", "V-2=b"}},
		{name: "a put that the source has overtaken", files: []*File{put("V-1", `{"vendor_id":"V-1","name":"A"}`, `{"vendor_id":"V-1","name":"old"}`)},
			want: []string{"V-1=a", "V-2=b"}, report: stale("V-1")},
		{name: "a new record that the source has got by now, another one", files: []*File{put("V-1", `{"vendor_id":"V-1","name":"A"}`, "")},
			want: []string{"V-1=a", "V-2=b"}, report: stale("V-1")},
		{name: "a put of a record that the source has taken away", files: []*File{put("V-3", `{"vendor_id":"V-3","name":"C"}`, `{"vendor_id":"V-3","name":"c"}`)},
			want: []string{"V-1=a", "V-2=b"}, report: stale("V-3")},
		{name: "rm", files: []*File{put("V-1", `{"vendor_id":"V-1","_deleted":true}`, v1)}, want: []string{"V-2=b"}},
		{name: "the source brings another record back that rm took away", files: []*File{put("V-1", `{"vendor_id":"V-1","_deleted":true}`, `{"vendor_id":"V-1","name":"old"}`)},
			want: []string{"V-1=a", "V-2=b"}, report: stale("V-1")},
		{name: "a file by hand counts where a later put is stale", files: []*File{
			read(t, "a.json", `[{"vendor_id":"V-1","name":"hand"}]`, nil), put("V-1", `{"vendor_id":"V-1","name":"A"}`, "")},
			want: []string{"V-1=hand", "V-2=b"}, report: Report{Stale: stale("V-1").Stale, Shadowing: Cases{1, []Case{{"V-1", "a.json"}}}}},
		{name: "a file by hand after it hides a put", files: []*File{
			read(t, "z.json", `[{"vendor_id":"V-1","name":"hand"}]`, nil), put("V-1", `{"vendor_id":"V-1","name":"A"}`, v1)},
			want: []string{"V-1=hand", "V-2=b"}, report: Report{Shadowing: Cases{1, []Case{{"V-1", "z.json"}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.source == "" {
				c.source = source
			}
			got, report := merge(t, c.source, c.files...)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.report, report); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRedundantIsWhatChangesNothing(t *testing.T) {
	same := read(t, NameOf("V-1"), v1, against(t, `{"vendor_id":"V-1","name":"old"}`))
	gone := read(t, NameOf("V-5"), `{"vendor_id":"V-5","_deleted":true}`, against(t, `{"vendor_id":"V-5","name":"e"}`))
	over := read(t, NameOf("V-2"), v2, against(t, v2)) // hides the file by hand before it
	hand := read(t, "a.json", `[{"vendor_id":"V-2","name":"hand"}]`, nil)
	records, report := merge(t, source, same, gone, over, hand)
	if d := cmp.Diff([]string{"V-1=a", "V-2=b"}, records); d != "" {
		t.Error(d)
	}
	names := map[string]bool{}
	for _, f := range report.Redundant {
		names[f.Name] = true
	}
	if d := cmp.Diff(map[string]bool{NameOf("V-1"): true, NameOf("V-5"): true}, names); d != "" || report.Stale.Count > 0 {
		t.Error(d, report.Stale)
	}
}

func TestWhatIsRefused(t *testing.T) {
	ours := against(t, "")
	for name, c := range map[string]struct {
		file, data string
		meta       map[string]string
		want       string
	}{
		"no JSON":              {"a.json", `{"vendor_id":`, nil, "cut off"},
		"empty":                {"a.json", ``, nil, "empty"},
		"neither true nor not": {"a.json", `[{"vendor_id":"V-1","_deleted":1}]`, nil, "must be true or false"},
		"put's for another id": {NameOf("V-2"), v1, ours, "another record"},
		"put's of two records": {NameOf("V-1"), source, ours, "another record"},
		"too large":            {"a.json", strings.Repeat(" ", MaxSize+1), nil, "larger than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read(c.file, []byte(c.data), c.meta, vendors.DefaultRules(), vendors.DefaultLimits()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What somebody copies or edits by hand is theirs, whatever it is called.
func TestOnlyPutsMetadataMakesAFileOurs(t *testing.T) {
	for name, f := range map[string]*File{
		"no metadata":  read(t, NameOf("V-1"), v1, nil),
		"another name": read(t, "mine.json", v1, against(t, "")),
		"no digest":    read(t, NameOf("V-1"), v1, map[string]string{"against": "abc"}),
	} {
		if f.Ours() {
			t.Errorf("%s: taken for ours", name)
		}
	}
	if f := read(t, NameOf("V-1"), v1, against(t, v1)); !f.Ours() || f.By != "me" {
		t.Errorf("not ours: %+v", f)
	}
}

func TestDigestNamesEverythingThatCounts(t *testing.T) {
	rules := vendors.DefaultRules()
	if d := NewSet(nil).Digest("s", rules, "v1"); d != "" {
		t.Errorf("%s without drop-ins", d)
	}
	last, id := rules, rules
	last.Duplicates, id.ID = vendors.DuplicatesLast, "id"
	a, b := read(t, "a.json", v1, nil), read(t, "b.json", v1, nil)
	seen := map[string]string{}
	for name, d := range map[string]string{
		"as it is": NewSet([]*File{a}).Digest("s", rules, "v1"), "source": NewSet([]*File{a}).Digest("t", rules, "v1"),
		"rules": NewSet([]*File{a}).Digest("s", last, "v1"), "id": NewSet([]*File{a}).Digest("s", id, "v1"),
		"template": NewSet([]*File{a}).Digest("s", rules, "v2"), "name": NewSet([]*File{b}).Digest("s", rules, "v1"),
		"another": NewSet([]*File{read(t, "a.json", v2, nil)}).Digest("s", rules, "v1"), "two": NewSet([]*File{a, b}).Digest("s", rules, "v1"),
		"ours":    NewSet([]*File{read(t, NameOf("V-1"), v1, against(t, v1))}).Digest("s", rules, "v1"),
		"against": NewSet([]*File{read(t, NameOf("V-1"), v1, against(t, v2))}).Digest("s", rules, "v1"),
	} {
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
	}
	if NewSet([]*File{a, b}).Digest("s", rules, "v1") != NewSet([]*File{b, a}).Digest("s", rules, "v1") {
		t.Error("the order in which they were read counts")
	}
}

func TestTombstoneIsRead(t *testing.T) {
	for _, path := range []string{"vendor_id", "basic_info.id"} {
		data, err := Tombstone(`V-"1"~2`, path)
		if err != nil {
			t.Fatal(err)
		}
		rules := vendors.DefaultRules()
		rules.ID = path
		f, err := Read(NameOf(`V-"1"~2`), data, against(t, v1), rules, vendors.DefaultLimits())
		if err != nil || !f.Entries[0].Deleted || f.Entries[0].Record.ID != `V-"1"~2` {
			t.Errorf("%s: %v %+v", data, err, f)
		}
	}
}

func TestIgnoredNames(t *testing.T) {
	for name, want := range map[string]bool{"": true, "sub/": true, ".a.json.swp": true, "sub/.tmp": true, "a.json": false, "sub/a.csv": false} {
		if Ignored(name) != want {
			t.Errorf("Ignored(%q) is %v", name, !want)
		}
	}
	if s := NewSet([]*File{read(t, "z.json", v1, nil), read(t, NameOf("V-1"), v1, against(t, ""))}); s.Later(NameOf("V-1"), "V-1") != "z.json" || s.Later("z.json", "V-1") != "" || s.Later("a", "V-2") != "" {
		t.Error("Later")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("a.json", []byte(v1), "")
	f.Add("put-x.json", []byte(source), "absent")
	f.Fuzz(func(t *testing.T, name string, data []byte, against string) {
		d, err := Read(name, data, map[string]string{"against": against}, vendors.DefaultRules(), vendors.DefaultLimits())
		if err != nil {
			return
		}
		ids := map[[16]byte]bool{}
		for _, e := range d.Entries {
			if id := snapshot.IDHash(e.Record.ID); ids[id] {
				t.Fatalf("%s twice", e.Record.ID)
			} else {
				ids[id] = true
			}
		}
		n := 0
		m := NewSet([]*File{d}).Merge()
		if err := m.Rest(func(vendors.Record) error { n++; return nil }); err != nil || n > len(d.Entries) {
			t.Fatal(n, err)
		}
	})
}
