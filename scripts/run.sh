#!/usr/bin/env bash
# Runs an indexer and a server on the directory store with the sample catalogue, until Ctrl-C.
# LISTEN_ADDR, ADMIN_ADDR (the server's), VECTORSTORE_STORE_DIR and EMBEDDING_* are taken from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

unset VECTORSTORE_S3_BUCKET # this is the run without a cloud
export VECTORSTORE_STORE_DIR=${VECTORSTORE_STORE_DIR:-data/store}
export VECTORSTORE_LOCAL_DIR=${VECTORSTORE_LOCAL_DIR:-data/local}
export EMBEDDING_PROVIDER=${EMBEDDING_PROVIDER:-local} # a key in the environment must not buy anything here
export POLL_INTERVAL=${POLL_INTERVAL:-1s} RESYNC_INTERVAL=${RESYNC_INTERVAL:-2s} LEASE_TTL=${LEASE_TTL:-5s}
export LOG_FORMAT=json
prefix=${VECTORSTORE_S3_PREFIX:-vectorstore/prod}
logs=${RUN_LOG_DIR:-data/logs}
catalogue=$VECTORSTORE_STORE_DIR/$prefix/vendors.json

mkdir -p "$logs" "$(dirname "$catalogue")"
if [ ! -e "$catalogue" ]; then
	cp testdata/vendors.json "$catalogue.new" && mv "$catalogue.new" "$catalogue"
fi

indexer= server=
stop() {
	trap - EXIT INT TERM
	[ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
	[ -z "$indexer" ] || kill -TERM "$indexer" 2>/dev/null || true
	wait
}
trap stop EXIT
trap 'echo; echo "stopping"; exit 0' INT TERM

# Their own sessions, so that Ctrl-C reaches this script alone and it stops them in order.
ADMIN_ADDR=${INDEXER_ADMIN_ADDR:-:9091} setsid bin/indexer run 2>"$logs/indexer.log" & indexer=$!
setsid bin/server serve 2>"$logs/server.log" & server=$!

printf 'waiting for the first snapshot ' >&2
for _ in $(seq 600); do
	line=$(grep -m1 '"msg":"server ready"' "$logs/server.log" || true)
	[ -z "$line" ] || break
	for p in indexer:$indexer server:$server; do
		kill -0 "${p#*:}" 2>/dev/null || { echo >&2; echo "${p%:*} stopped:" >&2; tail -5 "$logs/${p%:*}.log" >&2; exit 1; }
	done
	printf . >&2
	sleep 0.1
done
echo >&2
[ -n "$line" ] || { echo "no snapshot after 60 s:" >&2; tail -5 "$logs/indexer.log" "$logs/server.log" >&2; exit 1; }

port=$(sed -E 's/.*"listen_addr":"[^"]*:([0-9]+)".*/\1/' <<<"$line")
cat <<EOF

ready. In another terminal:

  curl -s localhost:$port/search -H 'content-type: application/json' -d '{"query":"冷凍倉庫の温度を監視したい","k":3}'

page       http://localhost:$port/
API docs   http://localhost:$port/docs
catalogue  $catalogue  (edit it: the server follows within seconds)
logs       $logs/indexer.log, $logs/server.log

Ctrl-C stops both.
EOF
wait -n "$indexer" "$server" || true
for p in indexer:$indexer server:$server; do
	kill -0 "${p#*:}" 2>/dev/null || { echo "${p%:*} stopped:" >&2; tail -3 "$logs/${p%:*}.log" >&2; }
done
exit 1
