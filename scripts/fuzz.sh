#!/usr/bin/env bash
# Fuzzes every target for a while, one after the other: scripts/fuzz.sh [time, default 5m] [package…, default all].
# A finding stays in the package's testdata/fuzz, where every later `go test` repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
lasts=${1:-5m}
shift || true
packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
  mapfile -t packages < <(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')
fi
status=0
for package in "${packages[@]}"; do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
    echo "== $package $target, $lasts" >&2
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$lasts" "$package" || status=1
  done
done
exit $status
