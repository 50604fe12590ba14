# Benchmarks beside what people would pick instead. Included by the Makefile.
# `make bench` needs an hour of an otherwise idle machine, 16 GB of memory and 40 GB of disk below BENCH_CACHE.
BENCH_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vectorstore-bench
BENCH_ROUNDS ?= 5
BENCH_BUILDS ?= 1
BENCH_RECORDS ?= 1000000
BENCH_ONLY ?=
BENCH_NOTE ?=

.PHONY: bench bench-quick
bench: deps binaries tools ## measure beside the peers and write docs/BENCHMARKS.md (an hour)
	go -C bench run ./cmd/bench -repo .. -bin ../bin -cache '$(BENCH_CACHE)' -rounds $(BENCH_ROUNDS) -builds $(BENCH_BUILDS) -records $(BENCH_RECORDS) -only '$(BENCH_ONLY)' -note '$(BENCH_NOTE)'

bench-quick: deps binaries tools ## the same on small data: does it all work? Writes below BENCH_CACHE only (two minutes)
	go -C bench run ./cmd/bench -repo .. -bin ../bin -cache '$(BENCH_CACHE)' -quick -rounds 2 -only '$(BENCH_ONLY)'
