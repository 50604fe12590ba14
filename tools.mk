# The real S3 servers that the tests start: versitygw and minio, pinned by tools/go.mod, built once into a cache.
# Included by the Makefile.

.PHONY: tools
tools: ## build versitygw and minio into the cache and print where they are
	@GO="$(or $(GO),go)" tools/build
