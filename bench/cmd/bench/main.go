// Command bench measures this project beside what people would pick instead and writes docs/BENCHMARKS.md.
// `make bench` builds the binaries first and runs all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/taksuehiro/vectorstore/bench/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	c := suite.Config{Log: stderr}
	fs.StringVar(&c.Repo, "repo", ".", "root of the repository")
	fs.StringVar(&c.Cache, "cache", filepath.Join(cache, "vectorstore-bench"), "data sets, peers and results")
	fs.StringVar(&c.Bin, "bin", "bin", "where server and indexer are")
	fs.IntVar(&c.Rounds, "rounds", 5, "interleaved rounds of every measurement")
	fs.IntVar(&c.Builds, "builds", 1, "how often every index is built")
	fs.IntVar(&c.Records, "records", 1_000_000, "of the end-to-end run; a million need 12 GB of memory and 30 GB of disk")
	fs.Float64Var(&c.Share, "share", 1, "of the rows of the data sets; below 1 the measuring times are halved")
	fs.BoolVar(&c.Quick, "quick", false, "small data and short times: checks that everything works")
	fs.StringVar(&c.Note, "note", "", "printed with the machine")
	fs.StringVar(&c.Against, "against", "", "a second folder with a server, measured beside the first in the contests")
	systems := fs.String("systems", "", "of the contests only the systems that match this regular expression; nothing is saved then")
	only := fs.String("only", "", "comma-separated steps; default all: "+strings.Join(suite.StepNames(), ","))
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, p := range []*string{&c.Repo, &c.Cache, &c.Bin} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if c.Systems, err = regexp.Compile(*systems); err != nil {
		return fmt.Errorf("-systems: %w", err)
	}
	var steps []string
	if *only != "" {
		steps = strings.Split(*only, ",")
	}
	for _, step := range steps {
		if !slices.Contains(suite.StepNames(), step) {
			return fmt.Errorf("unknown step %q", step)
		}
	}
	return suite.New(c).Run(ctx, steps)
}
