// Command server answers searches from the current snapshot and follows the pointer to the next one.
package main

import (
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/taksuehiro/vectorstore/internal/wire"
)

// Stamped by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

const description = `Answers searches from the current vector snapshot and hot-swaps to the next one.

Reads the pointer and snapshots that an indexer promotes, from S3 or from a directory. Keeps answering through
swaps and store outages. Every flag can be given as the environment variable shown; the flag wins.`

type cli struct {
	Log     wire.Log         `embed:""`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve  serveCmd  `cmd:"" default:"withargs" help:"Serve queries until SIGTERM (drains) or SIGINT (at once). The default."`
	Health healthCmd `cmd:"" help:"Exit 0 when the server on this machine answers /health; for a container's HEALTHCHECK."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	out := wire.NewOutput(stdout)
	return out.Exit(command(args, out, stderr), "server", stderr)
}

func command(args []string, stdout *wire.Output, stderr io.Writer) int {
	var c cli
	build := wire.Build{Version: version, Commit: commit}
	ctx, code, ok := wire.Parse(&c, args, "server", description, build, stdout, stderr)
	if !ok {
		return code
	}
	return wire.Exit(ctx.Run(c.Log.Logger(stderr), build, wire.Strangers(ctx)), "server", stderr)
}
