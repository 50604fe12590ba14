package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/taksuehiro/vectorstore/internal/vendors"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type checkCmd struct {
	File      string `arg:"" help:"The catalogue; - is standard input."`
	Catalogue rules  `embed:""`
	Output    output `embed:""`
}

// checked is what `indexer check` says of a catalogue.
type checked struct {
	File     string   `json:"file"`
	Accepted bool     `json:"accepted"`
	Refused  *refusal `json:"refused"` // null when it is accepted
	vendors.Report
	Settings struct {
		DuplicateIDs string `json:"duplicate_ids"`
		RecordID     string `json:"record_id"`
		RecordName   string `json:"record_name"`
	} `json:"settings"`
}

// refusal is why a catalogue cannot be served.
type refusal struct {
	Kind    string   `json:"kind"`
	Line    int      `json:"line"`
	Offset  int64    `json:"offset"`
	IDs     []string `json:"ids,omitempty"`
	Lines   []int    `json:"lines,omitempty"` // of the ids
	Count   int      `json:"count,omitempty"`
	Detail  string   `json:"detail,omitempty"`
	Message string   `json:"message"`
}

// Run reads a catalogue and reports; a refused one is exit code 1.
func (c checkCmd) Run(a *app) error {
	f, remove, err := catalogueFile(c.File, os.Stdin)
	if err != nil {
		return err
	}
	defer remove()
	r := checked{File: c.File}
	rules := c.Catalogue.rules().Normal()
	r.Settings.DuplicateIDs, r.Settings.RecordID, r.Settings.RecordName = rules.Duplicates, rules.ID, rules.Name
	r.Report, err = vendors.Read(f, rules, vendors.DefaultLimits(), nil, func(vendors.Record) error { return nil })
	var bad *vendors.CatalogueError
	if err != nil && !errors.As(err, &bad) {
		return err
	}
	if r.Accepted = bad == nil; !r.Accepted {
		r.Records, r.Renamed, r.Dropped, r.Repairs = 0, 0, 0, []vendors.Repair{} // none of it is used
		r.Refused = &refusal{bad.Kind, bad.Line, bad.Offset, bad.IDs, bad.Lines, bad.Count, bad.Detail, bad.Error()}
	}
	if err := c.Output.print(a.stdout, r, func(w io.Writer) { printCheck(w, r) }); err != nil || r.Accepted {
		return err
	}
	return &wire.Coded{Code: wire.ExitFailed, Err: fmt.Errorf("%s would be refused", c.File)}
}

// catalogueFile opens a catalogue that can be read twice: standard input is copied first.
func catalogueFile(name string, stdin io.Reader) (f *os.File, remove func(), err error) {
	if name != "-" {
		if f, err = os.Open(name); err != nil {
			return nil, nil, err
		}
		remove = func() { _ = f.Close() }
		if st, err := f.Stat(); err != nil || st.Mode().IsRegular() {
			return f, remove, err
		} else if st.IsDir() {
			remove()
			return nil, nil, fmt.Errorf("%s is a directory, not a catalogue: name the file in it", name)
		}
		defer f.Close() // a pipe
		stdin = f
	}
	f, err = os.CreateTemp("", "vectorstore-check-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	if _, err = io.Copy(f, io.LimitReader(stdin, vendors.DefaultLimits().File+1)); err != nil {
		remove()
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return f, remove, nil
}

func printCheck(w io.Writer, r checked) {
	row(w, "file", r.File)
	format := r.Format + ", " + r.Encoding
	if r.Columns > 0 {
		format += fmt.Sprintf(", %d columns", r.Columns)
	}
	if r.Gzip {
		format += ", compressed with gzip"
	}
	if r.Format != "" {
		row(w, "format", format)
	}
	if !r.Accepted {
		printRefusal(w, r.Refused)
		return
	}
	row(w, "records", fmt.Sprintf("%d in the file", r.Read))
	for _, x := range r.Repairs {
		fmt.Fprintf(w, "\n%s\n", explainRepair(x, r))
		for _, e := range x.Examples {
			fmt.Fprintf(w, "  line %d\t%s: %s\n", e.Line, cell(e.ID), cell(e.Done))
		}
		if more := x.Lines - len(x.Examples); more > 0 {
			fmt.Fprintf(w, "  … and %d more\n", more)
		}
	}
	fmt.Fprintln(w)
	if len(r.Repairs) == 0 {
		row(w, "result", fmt.Sprintf("accepted as it is: %s", count(r.Records, "record")))
	} else {
		row(w, "result", fmt.Sprintf("accepted after repairs: %s", count(r.Records, "record")))
	}
}

func printRefusal(w io.Writer, why *refusal) {
	row(w, "result", "refused: what is served now stays until the file is repaired")
	row(w, "reason", why.Kind)
	row(w, "where", fmt.Sprintf("line %d, byte %d", why.Line, why.Offset))
	if why.Detail != "" {
		row(w, "details", why.Detail)
	}
	for i, id := range why.IDs {
		fmt.Fprintf(w, "  line %d\t%s\n", why.Lines[i], cell(id))
	}
	if more := why.Count - len(why.IDs); more > 0 {
		fmt.Fprintf(w, "  … and %d more\n", more)
	}
}

// explainRepair says in a sentence or two what was found and what becomes of it.
func explainRepair(x vendors.Repair, r checked) string {
	switch x.Kind {
	case vendors.RepairDuplicateID:
		s := count(x.Count, "id") + " used by more than one record. "
		if r.Settings.DuplicateIDs == vendors.DuplicatesLast {
			s += "The last record with an id is kept (DUPLICATE_IDS=last): "
		} else {
			s += "Every different record is kept, the second as ID~2; exact copies are left out: "
		}
		return s + fmt.Sprintf("%s renamed, %d left out.", count(r.Renamed, "record"), r.Dropped)
	case vendors.RepairNoID:
		return fmt.Sprintf("%s without an id (RECORD_ID is %s). The name serves as id: under another name it would be another record.",
			count(x.Count, "record"), r.Settings.RecordID)
	case vendors.RepairNoName:
		return fmt.Sprintf("%s without a name (RECORD_NAME is %s). The first text serves as name, else the id.", count(x.Count, "record"), r.Settings.RecordName)
	case vendors.RepairEncoding:
		return "The file is in Shift_JIS and is read as that. UTF-8 would be safer."
	case vendors.RepairFloatID:
		return count(x.Count, "id") + " written as a number with a fraction. 12.0 is read as 12."
	}
	return fmt.Sprintf("%s: %d", x.Kind, x.Count)
}
