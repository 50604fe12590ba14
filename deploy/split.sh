#!/usr/bin/env bash
# Moves bucket, bucket policy and registry of a core stack from before the split into the data stack, or takes ones that a
# deleted stack left behind. Nothing is copied, emptied or made again: CloudFormation only changes its books.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"
. "$here/services.sh"

help() {
	cat <<'TEXT'
usage: deploy/split.sh --params FILE [--execute]

Makes the change set of the next step, prints what it would do, and throws it away; --execute carries it out. The whole move:
  deploy/split.sh --params FILE --execute      the core stack learns to leave the bucket policy behind
  deploy/stack.sh --params FILE core           the core stack lets go of bucket, policy and registry, which stay; alarms go
  deploy/split.sh --params FILE --execute      the data stack takes them up, by import
  deploy/stack.sh --params FILE data           its exports
  deploy/stack.sh --params FILE monitoring     the alarms again
exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage
TEXT
}

# MARK in the template of the core stack says that it leaves everything behind that is to be moved.
MARK='moving: data'

# leave_behind: reads the one-piece template and writes it with a bucket policy that is kept. A deletion policy alone is no
# change for CloudFormation; the metadata is one.
leave_behind() {
	awk -v mark="$MARK" '{ print } $0 == "    Type: AWS::S3::BucketPolicy" { print "    DeletionPolicy: Retain"; print "    Metadata: {" mark "}" }'
}

# importable: data.yaml without what cannot be part of an import: outputs, and anything that would be made.
importable() { sed '/^  # -* from here on, not in an import/,$d' "$here/cloudformation/data.yaml"; }

# change STACK TYPE ARGS…: makes a change set, prints it, and carries it out when EXECUTE is set. NEVER is a jq condition
# that no change may meet.
change() {
	local stack=$1 type=$2 state='' set look bad
	shift 2
	set="split-$(date -u +%Y%m%d%H%M%S)"
	must cloudformation create-change-set --stack-name "$stack" --change-set-name "$set" --change-set-type "$type" --capabilities CAPABILITY_IAM "$@" || exit 1
	for ((look = 0; look <= TIMEOUT / POLL; look++)); do
		if look cloudformation describe-change-set --stack-name "$stack" --change-set-name "$set"; then
			state=$(jq -r '.Status // ""' <<<"$ANSWER")
			case $state in *COMPLETE | FAILED) break ;; esac
		fi
		sleep "$POLL"
	done
	if [ -z "$state" ]; then
		explain "cloudformation describe-change-set"
		die "AWS did not tell what became of change set $set of stack $stack; nothing was executed"
	fi
	[ "$state" = CREATE_COMPLETE ] || die "change set $set of stack $stack was not made: $(jq -r '.StatusReason // "no reason given"' <<<"$ANSWER")"
	jq -r '.Changes[].ResourceChange | "  \(.Action)\(if .Replacement == "True" then " (REPLACE)" else "" end) \(.LogicalResourceId) \(.ResourceType)"' <<<"$ANSWER"
	bad=$(jq -r "[.Changes[].ResourceChange | select($NEVER) | .LogicalResourceId] | join(\" \")" <<<"$ANSWER")
	if [ -n "$bad" ] || [ -z "$EXECUTE" ]; then
		must cloudformation delete-change-set --stack-name "$stack" --change-set-name "$set" >/dev/null || true
		[ -z "$bad" ] || die "this would do more than move: $bad. Nothing was changed"
		say "nothing was changed; repeat with --execute"
		exit 0
	fi
	must cloudformation execute-change-set --stack-name "$stack" --change-set-name "$set" || exit 1
	for ((look = 0; look <= TIMEOUT / POLL; look++)); do
		sleep "$POLL"
		look cloudformation describe-stacks --stack-name "$stack" || { state=''; continue; }
		state=$(jq -r '.Stacks[0].StackStatus // ""' <<<"$ANSWER")
		case $state in
		*ROLLBACK*) die "stack $stack is $state: CloudFormation took it back. Why: aws cloudformation describe-stack-events --region $REGION --stack-name $stack" ;;
		*_COMPLETE) say "stack $stack: $state"; return 0 ;;
		esac
	done
	[ -n "$state" ] || explain "cloudformation describe-stacks"
	die "stack $stack is not done after $TIMEOUT s; it goes on in AWS"
}

# parameters STACK-TEMPLATE: the file's values for the parameters of a template, as the command line wants them.
parameters() {
	jq --rawfile template "$1" '[.Parameters | to_entries[] | select(.key as $k | $template | split("\nConditions:")[0] | contains("\n  \($k):")) | {ParameterKey: .key, ParameterValue: .value}]' "$PARAMS"
}

main() {
	local file='' status=0 has='' items
	EXECUTE=''
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=$(value "$@") || exit 2; shift ;;
		--execute) EXECUTE=yes ;;
		-h | --help) help; exit 0 ;;
		*) usage_error "unknown argument $1" ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	check_waits
	need jq
	load_params "$file"
	need aws
	check_account
	PROJECT=$(param Project)
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
	local core data
	core=$(param CoreStack) data=$(param DataStack "$PROJECT-data")

	look cloudformation describe-stacks --stack-name "$core" || status=$?
	[ "$status" -ne 2 ] || { explain "cloudformation describe-stacks"; exit 1; }
	if [ "$status" -eq 0 ]; then
		must cloudformation describe-stack-resources --stack-name "$core" || exit 1
		has=$(jq -er '.StackResources | select(type == "array") | [.[].LogicalResourceId] | "." + join(".") + "."' <<<"$ANSWER") || die "no resources in ${ANSWER:0:200}"
	fi
	case $has in
	*.BucketPolicy.*)
		must cloudformation get-template --stack-name "$core" --template-stage Original || exit 1
		jq -er '.TemplateBody | select(type == "string")' <<<"$ANSWER" >"$WORK/in-force" || die "no template in ${ANSWER:0:200}"
		if grep -q "$MARK" "$WORK/in-force"; then
			say "stack $core is prepared. Now: deploy/stack.sh --params $PARAMS core"
			exit 0
		fi
		leave_behind <"$WORK/in-force" >"$WORK/template"
		grep -q "$MARK" "$WORK/template" || die "the template of stack $core is not the one that this script knows: it has no bucket policy"
		say "stack $core: keep the bucket policy when it is let go of"
		look cloudformation describe-stacks --stack-name "$core" || { explain "cloudformation describe-stacks"; exit 1; }
		jq '[.Stacks[0].Parameters[]? | {ParameterKey, UsePreviousValue: true}]' <<<"$ANSWER" >"$WORK/parameters"
		NEVER='.Action != "Modify" or .Replacement == "True" or .LogicalResourceId != "BucketPolicy"'
		change "$core" UPDATE --template-body "file://$WORK/template" --parameters "file://$WORK/parameters"
		say "now: deploy/stack.sh --params $PARAMS core"
		exit 0 ;;
	*.Bucket.* | *.Repository.*)
		say "stack $core leaves them behind as it is. Now: deploy/stack.sh --params $PARAMS core"
		exit 0 ;;
	esac

	status=0
	look cloudformation describe-stacks --stack-name "$data" || status=$?
	[ "$status" -ne 2 ] || { explain "cloudformation describe-stacks"; exit 1; }
	if [ "$status" -eq 0 ] && [ "$(jq -r '.Stacks[0].StackStatus' <<<"$ANSWER")" != REVIEW_IN_PROGRESS ]; then
		say "stack $data is there already: nothing to move. Now: deploy/stack.sh --params $PARAMS data"
		exit 0
	fi
	importable >"$WORK/template"
	parameters "$WORK/template" >"$WORK/parameters"
	items=$(jq -n --arg bucket "$(param BucketName)" --arg repository "$(param RepositoryName vectorstore)" \
		--arg makes "$(param CreateBucket yes) $(param ManageBucketPolicy yes) $(param CreateRepository yes)" '($makes | split(" ")) as [$b, $p, $r]
		| [if $b == "yes" then {ResourceType: "AWS::S3::Bucket", LogicalResourceId: "Bucket", ResourceIdentifier: {BucketName: $bucket}} else empty end,
		   if $p == "yes" then {ResourceType: "AWS::S3::BucketPolicy", LogicalResourceId: "BucketPolicy", ResourceIdentifier: {Bucket: $bucket}} else empty end,
		   if $r == "yes" then {ResourceType: "AWS::ECR::Repository", LogicalResourceId: "Repository", ResourceIdentifier: {RepositoryName: $repository}} else empty end]')
	if [ "$items" = '[]' ]; then
		say "the parameters give the data stack nothing to take up. Now: deploy/stack.sh --params $PARAMS data"
		exit 0
	fi
	printf '%s\n' "$items" >"$WORK/items"
	say "stack $data takes up what is there"
	NEVER='.Action != "Import"'
	change "$data" IMPORT --template-body "file://$WORK/template" --parameters "file://$WORK/parameters" --resources-to-import "file://$WORK/items"
	say "now: deploy/stack.sh --params $PARAMS data"
}
main "$@"
