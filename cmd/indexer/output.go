package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// output is how a reading command prints.
type output struct {
	Output string `name:"output" short:"o" enum:"table,json" default:"table" help:"table for people, json for programs."`
}

// print writes v as JSON, or calls table with a writer that aligns tab-separated columns.
func (o output) print(w io.Writer, v any, table func(io.Writer)) error {
	if o.Output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	var page bytes.Buffer
	t := tabwriter.NewWriter(&page, 0, 8, 2, ' ', 0)
	table(t)
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(page.Bytes()) { // an empty cell at the end of a row was padded, too
		if _, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// row writes cells separated by tabs; a cell cannot break the table.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell(c))
	}
	fmt.Fprintln(w)
}

func cell(c any) string { return strings.Join(strings.Fields(fmt.Sprint(c)), " ") }

// count is a number of things in words: 1 record, 2 records.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// age is the time since at, in one unit that a person reads at a glance.
func age(now, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	d := max(now.Sub(at), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// size in the unit a person reads at a glance.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	v, i := float64(bytes)/unit, 0
	for v >= unit && i < 3 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGT"[i])
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
