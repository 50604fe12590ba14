#!/usr/bin/env bash
# Creates or updates one of the two stacks from a parameters file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"

help() {
	cat <<'TEXT'
usage: deploy/stack.sh --params FILE [--dry-run] core|pipeline [Name=Value…]

Deploys deploy/cloudformation/<core|pipeline>.yaml with the parameters of FILE; Name=Value overrides one.
ImageTag, unless given, stays what the services run now, so that a stack update never changes the image.
--dry-run makes the change set, prints where to look at it, and executes nothing.
TEXT
}

# running_tag: the tag of the image that the server service runs, or "none".
running_tag() {
	local stack definition image
	stack=$(aws --region "$REGION" cloudformation describe-stacks --stack-name "$(param CoreStack)" --output json 2>/dev/null) || { echo none; return; }
	[ -n "$stack" ] || { echo none; return; }
	definition=$(run_aws ecs describe-services --cluster "$(param ClusterName)" --services "$(param Project)-server" |
		jq -r '.services[0] | select(.status == "ACTIVE") | .taskDefinition // empty')
	[ -n "$definition" ] || { echo none; return; }
	image=$(run_aws ecs describe-task-definition --task-definition "$definition" |
		jq -r '.taskDefinition.containerDefinitions[] | select(.name == "server") | .image')
	echo "${image##*:}"
}

main() {
	local file='' dry='' name='' overrides=()
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=${2:-}; shift ;;
		--dry-run) dry=--no-execute-changeset ;;
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
	case " ${overrides[*]-} " in
	*" ImageTag="*) ;;
	*) [ "$name" = pipeline ] || overrides+=("ImageTag=$(running_tag)") ;;
	esac

	say "deploying stack $stack in $REGION from deploy/cloudformation/$name.yaml"
	# Empty values are passed too: CloudFormation keeps the last value of a parameter that is not mentioned, so that
	# emptying AlarmEmail or DomainName in the file would change nothing.
	local pass=("${given[@]}" ${overrides[@]+"${overrides[@]}"})
	run_aws cloudformation deploy --stack-name "$stack" --template-file "$here/cloudformation/$name.yaml" \
		--capabilities CAPABILITY_IAM --no-fail-on-empty-changeset --tags "Project=$(param Project)" $dry \
		--parameter-overrides "${pass[@]}" >&2 || {
		say "what failed, newest first:"
		aws --region "$REGION" --output json cloudformation describe-stack-events --stack-name "$stack" 2>/dev/null |
			jq -r '[.StackEvents[] | select(.ResourceStatus | test("FAILED"))][:5][] | "  \(.LogicalResourceId): \(.ResourceStatusReason // "?")"' >&2 || true
		die "the stack was not deployed. If it already existed, CloudFormation has put back what was there."
	}
	[ -n "$dry" ] || run_aws cloudformation describe-stacks --stack-name "$stack" |
		jq -r '.Stacks[0].Outputs[]? | "\(.OutputKey): \(.OutputValue)"'
}
main "$@"
