// Command cmd runs the stand-in for OpenAI's embeddings API by hand:
//
//	go run ./internal/embed/embedtest/cmd -addr 127.0.0.1:8090 -texts-per-second 1000 -faults 0.05
//	OPENAI_API_KEY=any OPENAI_BASE_URL=http://127.0.0.1:8090/v1 bin/indexer reconcile --once
//
// It prints its base URL on a line of its own when it listens. GET /stats answers its counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		slog.Error("the stand-in stopped", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	addr, opts, err := parse(args)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: embedtest.New(opts), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(out, "http://%s/v1\n", l.Addr())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return srv.Close()
	}
}

func parse(args []string) (addr string, opts embedtest.Options, err error) {
	f := flag.NewFlagSet("embedtest", flag.ContinueOnError)
	f.StringVar(&addr, "addr", "127.0.0.1:0", "address to listen on; port 0 picks a free one")
	f.StringVar(&opts.Key, "key", "", "the only accepted API key; empty accepts any")
	models := f.String("models", "", "known models, comma-separated; empty knows all")
	f.IntVar(&opts.Dims, "dims", 1536, "native length of a vector")
	f.DurationVar(&opts.Latency, "latency", 0, "of every answer")
	f.Float64Var(&opts.TextsPerSecond, "texts-per-second", 0, "throughput of the model; answers wait for those before them; 0 = unlimited")
	f.Float64Var(&opts.Limit.Texts, "limit-texts", 0, "texts a second, beyond it 429")
	f.Float64Var(&opts.Limit.Requests, "limit-requests", 0, "requests a second, beyond it 429")
	f.Float64Var(&opts.Limit.Tokens, "limit-tokens", 0, "tokens a second, beyond it 429")
	f.DurationVar(&opts.Limit.Burst, "limit-burst", time.Second, "size of the limits' buckets, as time to fill one")
	f.BoolVar(&opts.Limit.Headers, "limit-headers", false, "send x-ratelimit-* headers")
	after := f.String("retry-after", "seconds", "what a 429 says: seconds, precise or silent")
	compat := f.String("compat", "openai", "openai, vllm, ollama, tei or localai")
	f.IntVar(&opts.MaxBatch, "max-batch", 2048, "texts a request")
	faults := f.Float64("faults", 0, "probability of each of the 13 faults, at most 0.076")
	f.Uint64Var(&opts.Seed, "seed", 1, "of the faults")
	if err := f.Parse(args); err != nil {
		return "", opts, err
	}
	if *models != "" {
		opts.Models = strings.Split(*models, ",")
	}
	if *faults > 0 {
		opts.Faults = embedtest.Every(*faults)
	}
	var ok1, ok2 bool
	opts.Limit.After, ok1 = map[string]embedtest.After{"seconds": embedtest.Seconds, "precise": embedtest.Precise, "silent": embedtest.Silent}[*after]
	opts.Compat, ok2 = map[string]embedtest.Compat{
		"openai": {}, "vllm": embedtest.VLLM(), "ollama": embedtest.Ollama(), "tei": embedtest.TEI(), "localai": embedtest.LocalAI(),
	}[*compat]
	if !ok1 || !ok2 || *faults < 0 || *faults > 1.0/13 {
		return "", opts, fmt.Errorf("-retry-after %s, -compat %s, -faults %v: one of them is not a value listed by -help", *after, *compat, *faults)
	}
	return addr, opts, nil
}
