# The native library under go-faiss, and the environment that lets cgo find it.
# Included by the Makefile; `make -f native.mk native` works on its own.
NATIVE_PREFIX ?= $(CURDIR)/.native
PREFIX ?= /usr/local

NATIVE_DIR := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))/native
NATIVE_FILES := $(shell find $(NATIVE_DIR)/Makefile $(NATIVE_DIR)/src $(NATIVE_DIR)/include -type f | LC_ALL=C sort)
# Go's build cache does not look into archives: the hash in the flags makes it.
NATIVE_HASH := $(shell cat $(NATIVE_FILES) | sha256sum | cut -c1-16)

export CGO_CFLAGS := -O2 -g -I$(NATIVE_PREFIX)/include -DVECTORSTORE_NATIVE=0x$(NATIVE_HASH)
export CGO_CXXFLAGS := $(CGO_CFLAGS)
export CGO_LDFLAGS := -L$(NATIVE_PREFIX)/lib

.PHONY: native install-native env bench-vecindex

## native: build the C++ library into NATIVE_PREFIX (only what changed)
native:
	@[ -e $(NATIVE_PREFIX)/lib/libfaiss_c.a ] || echo "native: compiling the C++ library; the first time takes minutes" >&2
	@$(MAKE) --no-print-directory -s -j$$(nproc) -C $(NATIVE_DIR) PREFIX=$(NATIVE_PREFIX)

## install-native: install it under PREFIX, so that plain `go build` works
install-native:
	@$(MAKE) --no-print-directory -s -j$$(nproc) -C $(NATIVE_DIR) PREFIX=$(NATIVE_PREFIX)
	install -d $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	install -m 644 $(NATIVE_PREFIX)/lib/libfaiss_c.a $(NATIVE_PREFIX)/lib/libfaiss_c_impl.a $(DESTDIR)$(PREFIX)/lib/
	cp -R $(NATIVE_DIR)/include/. $(DESTDIR)$(PREFIX)/include/

## env: print the variables, for eval "$(make -s env)"
env:
	@echo 'export CGO_CFLAGS="$(CGO_CFLAGS)"'
	@echo 'export CGO_CXXFLAGS="$(CGO_CXXFLAGS)"'
	@echo 'export CGO_LDFLAGS="$(CGO_LDFLAGS)"'

## bench-vecindex: compare with Debian's FAISS; rewrites the tables of BENCHMARKS.md
bench-vecindex: native
	cd $(NATIVE_DIR)/.. && VECINDEX_REPORT=BENCHMARKS.md go test -tags compare -count=1 -timeout 60m \
		-run '^TestCompare(WithDebiansFAISS|Kinds|Codes)$$' -v ./internal/vecindex

# Where the build that checks itself goes.
UBSAN_PREFIX ?= $(CURDIR)/.native-ubsan

.PHONY: ubsan
## ubsan: run the tests of vecindex on a native library that stops at undefined behaviour
ubsan:
	@$(MAKE) --no-print-directory -s -j$$(nproc) -C $(NATIVE_DIR) PREFIX=$(UBSAN_PREFIX) \
		CXXFLAGS='-O1 -g -fsanitize=undefined,float-cast-overflow -fno-sanitize=vptr -fno-sanitize-recover=all'
	CGO_CFLAGS='-O2 -g -I$(UBSAN_PREFIX)/include -DVECTORSTORE_NATIVE=0x1$(NATIVE_HASH)' CGO_CXXFLAGS='-I$(UBSAN_PREFIX)/include' \
		CGO_LDFLAGS='-L$(UBSAN_PREFIX)/lib -lubsan' go test -count=1 -timeout 40m -run '$(UBSAN_RUN)' ./internal/vecindex
UBSAN_RUN ?= .
