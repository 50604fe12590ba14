package simtest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// seen adds up what all tests of this run met.
var seen = table{
	tests: map[string]int{}, faults: map[string]int{}, checks: map[string]int{}, both: map[[2]string]int{}, caught: map[string]string{},
}

// table counts runs by test, faults and checks, and for each pair the runs in which both occurred.
type table struct {
	mu     sync.Mutex
	tests  map[string]int
	faults map[string]int
	checks map[string]int
	both   map[[2]string]int
	caught map[string]string
	broken int
}

func (t *table) add(test string, r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tests[test]++
	t.broken += len(r.fails)
	for what, n := range r.tally {
		kind, name, _ := strings.Cut(what, " ")
		switch kind {
		case "fault:":
			t.faults[name] += n
			for other := range r.tally {
				if kind, check, _ := strings.Cut(other, " "); kind == "check" {
					t.both[[2]string{name, check}]++
				}
			}
		case "check":
			t.checks[name] += n
		}
	}
}

func (t *table) runs(test string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tests[test]
}

func (t *table) catch(rule, by string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.caught[rule] = by
}

// invariantText says what each check is about.
var invariantText = map[string]string{
	"pointer":            "the pointer names a complete snapshot of a valid catalogue whose bytes match; epoch and generation never fall; the id changes only with the generation; no stale leader, no promotion against an operator's intent",
	"manifest":           "a manifest is stored after everything it describes",
	"lease":              "lease epochs never fall; a new owner has a new epoch",
	"status":             "the epoch of status.json never falls",
	"gc":                 "the epoch of gc.json never falls; a deletion is never taken back",
	"announced deletion": "nothing current, pinned, held or in a live heartbeat is chosen for deletion",
	"deletion":           "only what was announced is deleted, its manifest first, never what is served or pinned",
	"intent":             "nothing is deleted by anybody who looked after an operator was told that it is suspended or pinned, and nothing without a look",
	"copies":             "a copy for old readers is of a promoted snapshot, whole, and never replaces that of a later promotion",
	"collection":         "when faults stop, everything goes that no rule keeps: snapshots, orphans, reservations, self-tests, ledger segments",
	"rest":               "when everything has converged and nothing is edited, nothing is built, promoted or bought",
	"verdict":            "a leader promotes by itself only what passed the gate",
	"releases":           "a document of a later format is not written over; unknown members survive a rewrite; a fence changes nothing else",
	"plan":               "a pass moves the pointer only as it had decided",
	"dry run":            "when all is settled, a dry run decides as a pass does",
	"purchases":          "texts bought again are at most those in flight or unflushed at interruptions",
	"swap":               "a replica takes only whole snapshots, never an older generation, and loses none under it",
	"answer":             "every answer is of one snapshot, the one in its header",
	"convergence":        "when faults stop, the last catalogue is promoted, copied and served by all",
}

func (t *table) write(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString("# What the simulation has seen\n\n")
	b.WriteString("Written by `VECTORSTORE_SOAK=1 go test -timeout 90m ./internal/reconcile/simtest -sim.report=$PWD/docs/SIMULATION.md`. The package's documentation says how it works.\n\n")
	fmt.Fprintf(&b, "Broken invariants: **%d**.\n\n| test | runs |\n|---|---:|\n", t.broken)
	for _, name := range slices.Sorted(maps.Keys(t.tests)) {
		fmt.Fprintf(&b, "| %s | %d |\n", name, t.tests[name])
	}
	checks := slices.Sorted(maps.Keys(t.checks))
	b.WriteString("\n## Invariants, checked after every write\n\n| | invariant | checks |\n|---|---|---:|\n")
	for _, c := range checks {
		fmt.Fprintf(&b, "| %s | %s | %d |\n", c, invariantText[c], t.checks[c])
	}
	b.WriteString("\n## Faults × invariants\n\nEach cell: runs in which the fault occurred and the invariant was checked.\n\n| fault | times |")
	for _, c := range checks {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString("\n|---|---:|" + strings.Repeat("---:|", len(checks)) + "\n")
	for _, f := range slices.Sorted(maps.Keys(t.faults)) {
		fmt.Fprintf(&b, "| %s | %d |", f, t.faults[f])
		for _, c := range checks {
			fmt.Fprintf(&b, " %d |", t.both[[2]string{f, c}])
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## Rules that were broken on purpose\n\n| rule | what noticed |\n|---|---|\n")
	for _, rule := range slices.Sorted(maps.Keys(t.caught)) {
		fmt.Fprintf(&b, "| %s | %s |\n", rule, t.caught[rule])
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
