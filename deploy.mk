# What belongs to deploy/ alone. Included by the Makefile.

.PHONY: deploy-check image-check

deploy-check: ## the tests of deploy/: templates, scripts, roles, alerts, Dockerfile (needs the binaries)
	BIN_DIR=$(CURDIR)/bin VECTORSTORE_SOAK=1 go test -timeout 30m ./deploy
	go -C deploy/lint vet ./... && go -C deploy/lint test -count=1 ./...

# As root, with debootstrap and Debian's mirror; a few minutes. Docker is not needed.
image-check: ## build the Dockerfile in chroots and try the result: non-root, read-only root, TLS
	@command -v debootstrap >/dev/null || { echo "image-check: apt-get install debootstrap" >&2; exit 1; }
	go -C deploy/lint run ./imagecheck $(CURDIR)
