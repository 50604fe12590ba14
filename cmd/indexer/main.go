// Command indexer keeps the current vector snapshot equal to vendors.json, and is the operator's tool for looking at
// snapshots and for undoing a promotion.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/taksuehiro/vectorstore/internal/wire"
)

// Stamped by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

const description = `Keeps the current vector snapshot equal to vendors.json.

"indexer run" watches the catalogue, embeds what changed, builds and verifies a snapshot and promotes it with one
conditional write. The other commands look at snapshots and tell a running indexer what to do; they need the same
store settings. Every flag can be given as the environment variable shown; the flag wins.

Exit codes: 0 done, 1 failed, 2 usage, 3 held by the gate, 4 conflict.`

type cli struct {
	Log     wire.Log         `embed:""`
	Store   wire.Store       `embed:""`
	Keys    wire.Keys        `embed:""`
	Erasing wire.Erasing     `embed:""`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Run       runCmd       `cmd:"" default:"withargs" help:"Watch the catalogue and promote snapshots until SIGTERM. The default."`
	Reconcile reconcileCmd `cmd:"" help:"Ask the running indexer for a pass now, or run one here (--once)."`

	Check  checkCmd  `cmd:"" group:"look" help:"Read a catalogue as the indexer would and say what would be put right or refused; needs no store."`
	Status statusCmd `cmd:"" group:"look" help:"Conditions, fleet, and what to do next."`
	List   listCmd   `cmd:"" group:"look" help:"Snapshots and their state."`
	Show   showCmd   `cmd:"" group:"look" help:"One snapshot's manifest, gate report and files."`
	Diff   diffCmd   `cmd:"" group:"look" help:"Vendors added, removed and changed between two snapshots."`
	Verify verifyCmd `cmd:"" group:"look" help:"Hash every byte of a snapshot again and record the verdict."`

	Eval evalCmd `cmd:"" group:"look" help:"How well a snapshot answers golden queries, by mode; two snapshots side by side."`

	Promote  promoteCmd  `cmd:"" group:"act" help:"Make a snapshot current; --force overrides the gate."`
	Rollback rollbackCmd `cmd:"" group:"act" help:"Go back to the previous snapshot, or to <id>, and pin it."`
	Pin      pinCmd      `cmd:"" group:"act" help:"Keep a snapshot current whatever the catalogue says."`
	Unpin    unpinCmd    `cmd:"" group:"act" help:"Follow the catalogue again."`
	Suspend  suspendCmd  `cmd:"" group:"act" help:"Stop building, promoting and deleting until resume."`
	Resume   resumeCmd   `cmd:"" group:"act" help:"End a suspension."`
	GC       gcCmd       `cmd:"" name:"gc" group:"act" help:"Delete what nobody uses; --dry-run says what and why."`

	Compact compactCmd `cmd:"" group:"act" help:"Make a full build of what is served, beside the passes, and go on over it."`

	ImportLangchain importCmd `cmd:"" name:"import-langchain" group:"move" help:"Take over a LangChain FAISS folder (index.faiss, index.pkl) without buying a vector again."`
	Purge           purgeCmd  `cmd:"" group:"erase" help:"Erase records for good: when a person asks to be forgotten."`

	Forget forgetCmd `cmd:"" group:"move" help:"Drop a model's vectors from the embedding ledger, such as those imported under a wrong name."`

	Keygen keygenCmd `cmd:"" group:"sign" help:"Make a pair of keys for SIGNING_KEY and MANIFEST_KEYS."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// app is what every command gets: where results go, where logs go, and which store.
type app struct {
	ctx    context.Context
	stdout io.Writer
	stderr io.Writer
	log    wire.Log
	store  wire.Store
	keys   wire.Keys

	erasing wire.Erasing
	build   wire.Build

	strangers []wire.Stranger
}

func run(args []string, stdout, stderr io.Writer) int {
	out := wire.NewOutput(stdout)
	return out.Exit(command(args, out, stderr), "indexer", stderr)
}

func command(args []string, stdout *wire.Output, stderr io.Writer) int {
	var c cli
	build := wire.Build{Version: version, Commit: commit}
	cmd, code, ok := wire.Parse(&c, args, "indexer", description, build, stdout, stderr)
	if !ok {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return wire.Exit(cmd.Run(&app{ctx, stdout, stderr, c.Log, c.Store, c.Keys, c.Erasing, build, wire.Strangers(cmd)}), "indexer", stderr)
}
