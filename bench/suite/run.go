package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/taksuehiro/vectorstore/bench/report"
)

// step is a part of the suite that can run alone.
type step struct {
	name string
	run  func(*Suite, context.Context) error
}

// profileStep runs only when it is named.
const profileStep = "profile"

// allSteps in the order of the report.
func allSteps() []step {
	return []step{
		{"prepare", (*Suite).Prepare},
		{"tall", func(s *Suite, ctx context.Context) error { return s.Contest(ctx, s.tall()) }},
		{"wide", func(s *Suite, ctx context.Context) error { return s.Contest(ctx, s.wide()) }},
		{"limits", func(s *Suite, ctx context.Context) error {
			return errors.Join(s.Limits(ctx, s.tall()), s.Limits(ctx, s.wide()))
		}},
		{"codes", func(s *Suite, ctx context.Context) error {
			return errors.Join(s.Codes(ctx, s.tall()), s.Codes(ctx, s.wide()))
		}},
		{"rebuild", func(s *Suite, ctx context.Context) error { return s.Rebuild(ctx, s.tall()) }},
		{"kinds", (*Suite).Kinds},
		{"replica", func(s *Suite, ctx context.Context) error { return s.Replica(ctx, s.tall()) }},
		{"million", (*Suite).Million},
		{"report", (*Suite).Report},
		{profileStep, (*Suite).Profile},
	}
}

// StepNames lists the steps in order.
func StepNames() []string {
	var names []string
	for _, st := range allSteps() {
		names = append(names, st.name)
	}
	return names
}

// New returns a suite.
func New(c Config) *Suite { return &Suite{Config: c} }

// Run runs the named steps, or all.
func (s *Suite) Run(ctx context.Context, names []string) error {
	for _, st := range allSteps() {
		if !slices.Contains(names, st.name) && (len(names) > 0 || st.name == profileStep) {
			continue
		}
		s.logf("== %s", st.name)
		start := time.Now()
		if err := st.run(s, ctx); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
		s.logf("== %s took %s", st.name, time.Since(start).Round(time.Second))
	}
	return nil
}

// Report writes what all runs so far have measured. A quick run's report stays in the cache.
func (s *Suite) Report(context.Context) error {
	found, err := report.Read(s.results())
	if err != nil {
		return err
	}
	docs := filepath.Join(s.Repo, "docs")
	if s.Quick {
		docs = filepath.Join(s.Cache, "quick-docs")
	}
	return report.Write(found, docs)
}
