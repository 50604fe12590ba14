#!/usr/bin/env bash
# Creates or updates one of the two stacks from a parameters file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"
. "$here/lock.sh"
. "$here/services.sh"

help() {
	cat <<'TEXT'
usage: deploy/stack.sh --params FILE [--dry-run] [--take-lock] core|pipeline [Name=Value…]

Deploys deploy/cloudformation/<core|pipeline>.yaml with the parameters of FILE; Name=Value overrides one.
ImageTag, unless given, stays what the services run now, so that a stack update never changes the image.
--dry-run makes the change set, prints where to look at it, and executes nothing.
An update of the core stack counts as a deploy: it takes the same lock (deploy/deploy.sh --help).
exit codes: 0 done, 1 failed, 2 wrong usage, 4 gave way to a deploy
TEXT
}

# last_tag: sets LAST to the ImageTag that the core stack was last given; to nothing when there is no such stack yet.
last_tag() {
	local status=0
	LAST=''
	look cloudformation describe-stacks --stack-name "$(param CoreStack)" || status=$?
	[ "$status" -ne 1 ] || return 0
	[ "$status" -eq 0 ] || { explain "cloudformation describe-stacks"; exit 1; }
	LAST=$(jq -er '.Stacks | select(length == 1) | [.[0].Parameters[]? | select(.ParameterKey == "ImageTag") | .ParameterValue][0] // "none"' <<<"$ANSWER") ||
		die "aws cloudformation describe-stacks: no stack in ${ANSWER:0:200}"
}

# running_tag: sets TAG to the tag of the image that the server service runs. "none" only when AWS says that there is
# no such service and the stack has never been given an image: with it the stack wants no task and has no alarms.
running_tag() {
	local status=0 image
	TAG=none
	service server || status=$?
	if [ "$status" -eq 0 ]; then
		definition "$ARN" "$WORK/definition" || exit 1
		image=$(image server "$WORK/definition") || exit 1
		TAG=${image##*:}
	elif [ "$status" -ne 1 ]; then
		explain "ecs describe-services"
		exit 1
	fi
	case $TAG in
	none) [ "${LAST:-none}" = none ] || die "the stack was told to run image $LAST, but there is no service that runs one: look at stack $(param CoreStack) first, or name the image with ImageTag=…" ;;
	*[!0-9]* | '') die "service $PROJECT-server runs ${image-no image}, whose tag is no YYYYMMDDHHMM: name the image with ImageTag=…" ;;
	esac
}

# not_deployed STACK: says what failed, as far as AWS tells, and ends the script.
not_deployed() {
	if look cloudformation describe-stack-events --stack-name "$1"; then
		say "what failed, newest first:"
		jq -r '[.StackEvents[]? | select(.ResourceStatus | test("FAILED"))][:5][] | "  \(.LogicalResourceId): \(.ResourceStatusReason // "?")"' <<<"$ANSWER" >&2 || true
	fi
	die "aws cloudformation deploy failed, see above. When an update fails, CloudFormation puts back what was there; one that only lost sight of it goes on in AWS."
}

main() {
	local file='' dry='' name='' steal='' overrides=()
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=$(value "$@") || exit 2; shift ;;
		--dry-run) dry=--no-execute-changeset ;;
		--take-lock) steal=steal ;;
		-h | --help) help; exit 0 ;;
		-*) usage_error "unknown option $1" ;;
		*=*) overrides+=("$1") ;;
		core | pipeline) name=$1 ;;
		*) usage_error "unknown argument $1" ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	[ -n "$name" ] || usage_error "which stack: core or pipeline?"
	need jq
	load_params "$file"
	need aws

	# shellcheck disable=SC2034 # services.sh reads them
	PROJECT=$(param Project) CLUSTER=$(param ClusterName)
	local stack given=() placeholder
	if [ "$name" = core ]; then stack=$(param CoreStack); else stack=$(param PipelineStack); fi
	# Values that a person still has to fill in look like <this>; only those that the template takes matter.
	while IFS= read -r line; do
		grep -q "^  ${line%%=*}:" "$here/cloudformation/$name.yaml" || continue
		case " ${overrides[*]-} " in *" ${line%%=*}="*) continue ;; esac
		placeholder=${line#*=}
		case $placeholder in '<'*) die "${line%%=*} in $PARAMS is still $placeholder" ;; esac
		given+=("$line")
	done < <(jq -r '.Parameters | to_entries[] | "\(.key)=\(.value)"' "$PARAMS")
	check_account
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
	[ "$name" = pipeline ] || last_tag
	# The stack registers revisions too. One that does not exist yet has no service to be in anybody's way.
	[ "$name" = pipeline ] || [ -n "$dry" ] || [ "$LAST" = '' ] || take_lock "update of stack $stack" "$steal"
	case " ${overrides[*]-} " in
	*" ImageTag="*) ;;
	*) [ "$name" = pipeline ] || { running_tag; overrides+=("ImageTag=$TAG"); } ;;
	esac

	say "deploying stack $stack in $REGION from deploy/cloudformation/$name.yaml"
	# Empty values are passed too: CloudFormation keeps the last value of a parameter that is not mentioned, so that
	# emptying AlarmEmail or DomainName in the file would change nothing.
	local pass=("${given[@]}" ${overrides[@]+"${overrides[@]}"})
	# It prints progress, not an answer.
	# shellcheck disable=SC2086 # $dry is one word or none
	aws --region "$REGION" cloudformation deploy --stack-name "$stack" --template-file "$here/cloudformation/$name.yaml" \
		--capabilities CAPABILITY_IAM --no-fail-on-empty-changeset --tags "Project=$PROJECT" $dry \
		--parameter-overrides "${pass[@]}" >&2 || not_deployed "$stack"
	[ -z "$dry" ] || return 0
	must cloudformation describe-stacks --stack-name "$stack" || die "the stack was deployed, but its outputs could not be read"
	jq -r '.Stacks[0].Outputs[]? | "\(.OutputKey): \(.OutputValue)"' <<<"$ANSWER"
}
main "$@"
