package vendors

import (
	"errors"
	"fmt"
	"io"

	"github.com/taksuehiro/vectorstore/internal/jsonread"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// What was put right in a catalogue: the values of Repair.Kind.
const (
	RepairDuplicateID = "duplicate_id" // an id of several records
	RepairNoID        = "no_id"        // a record without an id
	RepairNoName      = "no_name"      // a record without a name where names are looked for
	RepairEncoding    = "encoding"     // a CSV in Shift_JIS
	RepairFloatID     = "float_id"     // an id written as 12.0
)

// RepairKinds are all of them, as they are listed.
var RepairKinds = [...]string{RepairDuplicateID, RepairNoID, RepairNoName, RepairEncoding, RepairFloatID}

// Bounds of what a Repair spells out.
const (
	maxRepairIDs = 10
	maxExamples  = 10
)

// Repair is one kind of thing that was put right, with the lines. Its Renamed and Dropped are the Report's.
type Repair struct {
	snapshot.Repair
	Lines    int       `json:"lines"` // records about which something was done
	Examples []Example `json:"examples,omitempty"`
}

// Example is what was done about one record.
type Example struct {
	Line int    `json:"line"`
	ID   string `json:"id"` // as the file has it, or as it was made
	Done string `json:"done"`
}

// Report is what Read found.
type Report struct {
	Format   string   `json:"format"` // "" when it was not found out
	Encoding string   `json:"encoding"`
	Gzip     bool     `json:"gzip"`
	Columns  int      `json:"columns,omitempty"` // of a CSV
	Read     int      `json:"read"`              // records in the file
	Records  int      `json:"records"`           // records of the catalogue
	Renamed  int      `json:"renamed"`           // records with a repeated id that got one of their own
	Dropped  int      `json:"dropped"`           // records with a repeated id that were left out
	Repairs  []Repair `json:"repairs"`
}

// Read reads a catalogue from f, from its start, and calls each with its records in catalogue order. A Record may be
// kept. The format is found by content; see the package comment.
//
// begin, if there is one, is called before the first record, and again when what each has seen is void: only after the
// first repeated id is it known that the file must be read twice. An error of f, begin or each is returned as it is
// (those of f wrapped) and says nothing about the catalogue.
//
// Whatever is wrong with the catalogue is reported as one *CatalogueError about the first thing wrong in the file; when
// that is an offence of single records, Read reads on to name the first ten of the same kind. each has then already
// seen some records, and the caller discards them: there is no partial catalogue. The Report is then of what was seen.
func Read(f io.ReadSeeker, rules Rules, lim Limits, begin func() error, each func(Record) error) (Report, error) {
	lim.Record = min(lim.Record, jsonread.MaxTree)
	lim.Depth = min(lim.Depth, jsonread.MaxDepth)
	c := &catalogue{
		file: f, lim: lim, each: each, ids: newIDs(rules.Normal()),
		where: where{pathsOf(rules.ID), pathsOf(rules.Name)}, repairs: make(map[string]*Repair),
	}
	err := c.sniff()
	if err == nil {
		c.report.Format = c.form.String()
		err = c.pass(begin)
	}
	if err == nil && len(c.ids.groups) > 0 {
		c.second = true
		err = c.pass(begin)
	}
	if bad, is := errors.AsType[*CatalogueError](err); is {
		if bad.Line == 0 { // of the bytes, before they were read as text
			bad.Line = 1
			if c.src != nil {
				bad.Line, bad.Offset = c.src.line, c.src.Offset()
			}
		}
		err = c.misread(c.explained(bad))
	}
	return c.reported(), err
}

// anything is a condition that every value meets.
func anything(string) bool { return true }

// catalogue is a file that is being read.
type catalogue struct {
	file     io.ReadSeeker
	gzip     bool
	form     form
	shiftJIS bool
	where    where
	lim      Limits
	each     func(Record) error

	// Of this pass over the file:
	src   *source         // nil for a CSV
	count int             // records
	bad   *CatalogueError // the first offence of a single record

	ids     *ids
	second  bool // ids are known and are being assigned
	report  Report
	repairs map[string]*Repair

	build builder
	frame []byte
}

// pass reads the file once, from its start.
func (c *catalogue) pass(begin func() error) (err error) {
	if begin != nil {
		if err := begin(); err != nil {
			return err
		}
	}
	c.count, c.report.Records, c.report.Renamed, c.report.Dropped = 0, 0, 0, 0
	clear(c.repairs)
	if c.shiftJIS {
		c.repairs[RepairEncoding] = &Repair{Repair: snapshot.Repair{Kind: RepairEncoding, Count: 1, IDs: []string{}}}
	}
	if c.form == formCSV {
		err = c.csv()
	} else if err = c.openJSON(); err == nil {
		err = [...]func() error{formJSON: c.json, formOne: c.one, formLines: c.lines}[c.form]()
	}
	if c.bad != nil && (err == nil || isCatalogueError(err)) {
		return c.bad
	}
	return err
}

// take makes a record of what was parsed and hands it on, unless something in the file was wrong already.
func (c *catalogue) take(at place) error {
	c.count++
	rec, why := c.build.record(c.where)
	rec.Line, rec.Offset = at.line, at.offset
	if why != nil {
		name := rec.ID
		if name == "" {
			name = fmt.Sprintf("record %d", c.count)
		}
		c.offence(why.kind, name, why.detail, rec.Line, rec.Offset)
		return nil
	}
	if !c.second {
		if first := c.ids.count(&rec, c.count); first > 0 {
			c.repeated(&rec, first)
		}
	}
	if c.bad != nil || !c.second && len(c.ids.groups) > 0 {
		return nil
	}
	return c.hand(&rec)
}

// repeated takes note of a record whose id another one had before.
func (c *catalogue) repeated(rec *found, first int) {
	if c.ids.rules.Duplicates != DuplicatesRefuse {
		return
	}
	if g := c.ids.groups[keyOf(rec.ID)]; !g.said {
		g.said = true
		c.offence(KindDuplicateID, rec.ID, fmt.Sprintf("records %d and %d", first, c.count), rec.Line, rec.Offset)
	}
}

// hand gives a record its final id and hands it on, and says what was put right.
func (c *catalogue) hand(rec *found) error {
	f, g := c.ids.assign(rec, &c.build.Tree)
	if g != nil {
		c.repaired(RepairDuplicateID, Example{rec.Line, g.id, f.said})
	}
	if f.id == "" {
		c.report.Dropped++
		return nil
	}
	if f.id != rec.ID {
		c.report.Renamed++
	}
	if !rec.own {
		from := "from its name"
		if rec.nameless {
			from = "from its content"
		}
		c.repaired(RepairNoID, Example{rec.Line, f.id, from})
	}
	if !rec.named {
		c.repaired(RepairNoName, Example{rec.Line, f.id, "named " + cutRunes(rec.Name, maxFoundName)})
	}
	if rec.number != "" {
		c.repaired(RepairFloatID, Example{rec.Line, f.id, "written " + rec.number})
	}
	rec.ID = f.id
	c.report.Records++
	return c.each(rec.Record)
}

// repaired takes note of something that was put right. Of a kind, each id counts once.
func (c *catalogue) repaired(kind string, e Example) {
	r := c.repairs[kind]
	if r == nil {
		r = &Repair{Repair: snapshot.Repair{Kind: kind, IDs: []string{}}}
		c.repairs[kind] = r
	}
	if e.Done != "" {
		if r.Lines++; len(r.Examples) < maxExamples {
			r.Examples = append(r.Examples, e)
		}
	}
	if kind == RepairDuplicateID {
		g := c.ids.groups[keyOf(e.ID)]
		if g.said {
			return
		}
		g.said = true
	}
	if r.Count++; len(r.IDs) < maxRepairIDs {
		r.IDs = append(r.IDs, e.ID)
	}
}

func (c *catalogue) reported() Report {
	r := c.report
	r.Read, r.Repairs = c.count, []Repair{}
	for _, kind := range RepairKinds {
		if one := c.repairs[kind]; one != nil {
			r.Repairs = append(r.Repairs, *one)
		}
	}
	return r
}
