#!/usr/bin/env bash
# Prints the lifecycle rules of data.yaml for a bucket that the stack did not make. Changes nothing.
# usage: deploy/lifecycle.sh --params FILE >rules.json
#        aws s3api put-bucket-lifecycle-configuration --bucket NAME --lifecycle-configuration file://rules.json
# The second line replaces all rules of the bucket: merge by hand when it has others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"

if [ "${1-}" != --params ] || [ $# -ne 2 ]; then usage_error "usage: $0 --params FILE"; fi
need jq
load_params "$2"
jq -n --arg prefix "$(param Prefix vectorstore/prod)" --argjson days "$(param NoncurrentDays 30)" '
	def rule($id; $below; $days): {ID: $id, Status: "Enabled", Filter: {Prefix: "\($prefix)/\($below)"},
		NoncurrentVersionExpiration: {NoncurrentDays: $days}};
	def markers: .Expiration = {ExpiredObjectDeleteMarker: true};
	def uploads: .AbortIncompleteMultipartUpload = {DaysAfterInitiation: 1};
	{Rules: [
		(rule("snapshots"; "2"; $days) | markers | uploads),
		(rule("embeddings"; "embeddings/"; $days) | markers | uploads),
		rule("copies"; "current/index."; $days),
		rule("lease"; "lease.json"; 1),
		rule("status"; "status.json"; 1),
		(rule("heartbeats"; "replicas/"; 1) | markers),
		(rule("probes"; "probe/"; 1) | markers)
	]}'
