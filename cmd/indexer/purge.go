package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type purgeCmd struct {
	IDs         []string `arg:"" optional:"" name:"id" help:"Ids of the records, as the catalogue had them."`
	PeopleFiles bool     `help:"Delete what people wrote and that holds a purged record, too: older versions of the catalogue, golden.json in every version. The catalogue of today stays. Without ids: of everything that was purged."`
	Lift        bool     `help:"Let these records come back."`
	Yes         bool     `help:"Even when no snapshot and no version of the catalogue holds such an id."`
	Output      output   `embed:""`
}

// Help is shown by --help.
func (purgeCmd) Help() string {
	return `When a person asks to be forgotten: take the record out of the catalogue, then purge its id. From then on it is not
served, not built and not promoted, whatever is put back, until --lift. The running indexer makes a snapshot without it,
removes every older one that holds it, its vectors and every older version of what it wrote itself, and waits for the
servers to drop their copies. "indexer status" says erasing, then "waiting for people" or "erased" with the date and
what was looked at. The store keeps no id for this, only an HMAC under ERASE_KEY.

What people wrote is listed with key and version and deleted only with --people-files. It needs the rights to list,
read and delete versions of these objects, which the indexer's role does not have. To keep the other questions of
golden.json, take out those that expect the record first.

  indexer purge V-017                   # what waits for people is listed
  indexer purge --people-files          # and deleted
  indexer status                        # until it says erased
  indexer purge --lift V-017            # the record may come back`
}

// Run purges, or lifts.
func (c purgeCmd) Run(a *app) error {
	if err := c.check(a); err != nil {
		return usage(err)
	}
	o, err := a.acting()
	if err != nil {
		return err
	}
	if c.Lift {
		return c.lift(a, o)
	}
	for _, name := range []string{"indexer", commandScratch} { // what processes that were killed here left goes
		_, release, err := a.store.Scratch(name)
		if err != nil {
			return err
		}
		defer release()
	}
	report, err := o.Purge(a.ctx, c.IDs, reconcile.PurgeOptions{PeopleFiles: c.PeopleFiles, Unknown: c.Yes})
	if err != nil {
		return coded(err)
	}
	return c.Output.print(a.stdout, report, func(w io.Writer) { printPurge(w, report) })
}

func (c purgeCmd) check(a *app) error {
	if a.erasing.Key == "" {
		return wire.SettingError("ERASE_KEY", "is not set: purged records are known by it; `indexer keygen` makes one, and the running indexer needs the same")
	}
	switch {
	case c.Lift && len(c.IDs) == 0:
		return errors.New("--lift needs the ids that may come back")
	case c.Lift && (c.PeopleFiles || c.Yes):
		return errors.New("--lift goes with ids alone")
	case len(c.IDs) == 0 && !c.PeopleFiles:
		return errors.New("purge needs the ids of the records that are to be gone")
	}
	for _, id := range c.IDs {
		if strings.TrimSpace(id) == "" {
			return errors.New("an id is empty")
		}
	}
	return nil
}

func (c purgeCmd) lift(a *app, o *reconcile.Operator) error {
	left, err := o.Lift(a.ctx, c.IDs)
	if err != nil {
		return coded(err)
	}
	report := struct {
		Lifted  int `json:"lifted"`
		Records int `json:"records"`
	}{len(c.IDs), left}
	return c.Output.print(a.stdout, report, func(w io.Writer) {
		fmt.Fprintf(w, "lifted %s; %s stay purged\n", count(report.Lifted, "record"), count(report.Records, "record"))
	})
}

func printPurge(w io.Writer, r reconcile.PurgeReport) {
	fmt.Fprintf(w, "purged %s, %s in all; `indexer status` says erasing until nothing is left\n", count(r.Purged, "record"), count(r.Records, "record"))
	if r.Suspended != "" {
		fmt.Fprintf(w, "suspended by %s: nothing goes before `indexer resume`\n", r.Suspended)
	}
	for _, f := range r.Deleted {
		row(w, "deleted", f.Key, versionOf(f), f.Why)
	}
	for _, f := range r.Waiting {
		row(w, "waiting for people", f.Key, versionOf(f), f.Why)
	}
	if len(r.Waiting) > 0 {
		fmt.Fprintln(w, "`indexer purge --people-files` deletes these, but for the catalogue of today, which is yours to change")
	}
}

func versionOf(f store.PeopleFile) string {
	switch {
	case f.Current:
		return "as it is now"
	case f.Version == "":
		return "-"
	}
	return "version " + f.Version
}
