// Gen writes a fictional catalogue of any size, the same one for the same flags.
//
//	go run ./testdata/gen -n 20000 -seed 1 -o vendors.json
//	go run ./testdata/gen -n 20000 -seed 1 -rev 2 -changed 0.01 -o vendors.json
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	var o vendorstest.Options
	flag.IntVar(&o.N, "n", 1000, "records")
	flag.Uint64Var(&o.Seed, "seed", 1, "another seed, another catalogue")
	flag.IntVar(&o.Rev, "rev", 1, "revision; each one after the first edits a share of the records")
	flag.Float64Var(&o.Changed, "changed", 0.01, "share of the records that a revision edits")
	flag.Float64Var(&o.Drop, "drop", 0, "share of the records left out")
	flag.BoolVar(&o.Array, "array", false, "write a bare array instead of {\"vendors\": [...]}")
	out := flag.String("o", "", "file to write (default standard output)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *out == "" {
		return vendorstest.Write(os.Stdout, o)
	}
	return writeFile(*out, o)
}

func writeFile(name string, o vendorstest.Options) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	return vendorstest.Write(f, o)
}
