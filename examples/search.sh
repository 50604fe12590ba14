#!/usr/bin/env bash
# Ask the server a few things. usage: search.sh [question]
set -euo pipefail
url=${VECTORSTORE_URL:-http://localhost:8080}
question=${1:-冷凍倉庫の温度を監視したい}
headers=(-H 'Content-Type: application/json')
[ -z "${VECTORSTORE_KEY:-}" ] || headers+=(-H "Authorization: Bearer $VECTORSTORE_KEY")
ask() { curl -fsS --retry 3 --max-time 30 "${headers[@]}" "$@"; }

echo "# the three best for: $question"
jq -n --arg q "$question" '{query: $q, k: 3}' | ask -d @- "$url/search" |
	jq -r '.results[] | [.score, .id, .metadata.name] | @tsv'

echo "# only SaaS, at least 7 points"
ask -d '{"k": 3, "filter": {"type": ["SaaS"], "score_num": {"gte": 7}}}' "$url/search" |
	jq -r '.results[] | [.id, .metadata.name, .metadata.score_num] | @tsv'

echo "# vendors like V-001, and which words of a question a text has"
ask "$url/vendors/V-001/similar?k=2" | jq -r '.results[] | [.score, .id, .metadata.name] | @tsv'
ask -d '{"query": "請求書", "k": 1, "highlight": true}' "$url/search" | jq -r '.results[].highlight'

echo "# two questions at once, answered from one snapshot"
ask -d '{"queries": [{"query": "物流", "k": 1}, {"query": "会計", "k": 1}]}' "$url/search/batch" |
	jq -r '.snapshot, (.results[].results[] | [.id, .metadata.name] | @tsv)'

echo "# how many records there are of each type"
ask "$url/facets?field=type" | jq -r '.facets.type[] | [.count, .value] | @tsv'
