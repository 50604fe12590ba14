#!/usr/bin/env bash
# Creates or updates one of the four stacks from a parameters file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"
. "$here/lock.sh"
. "$here/services.sh"

help() {
	cat <<'TEXT'
usage: deploy/stack.sh --params FILE [--dry-run] [--take-lock] data|core|monitoring|pipeline [Name=Value…]

Deploys deploy/cloudformation/<name>.yaml with the parameters of FILE; Name=Value overrides one. Order: data (bucket,
registry), core (everything that runs), pipeline, and monitoring when the services run.
Settings without a parameter stand in FILE under "Settings" (deploy/settings.txt has their names); core puts them into
the bucket, deploy/<Project>/settings/, from where the tasks have them.
--dry-run makes the change set, prints where to look at it, and executes nothing.

An update of the core stack changes neither image nor number of tasks: it registers the settings, and when CloudFormation
is done, well or not, this script puts them on each service with the image that ran before, waits, and rolls back what does
not become healthy. It counts as a deploy and takes the same lock (deploy/deploy.sh --help).
exit codes: 0 done, 1 failed, 2 wrong usage, 4 gave way to a deploy
TEXT
}

# settings: checks "Settings" of the parameters file and sets SETTINGS to the key of the bucket under which the tasks find
# them, empty without any. The key is made of the content, so that a revision that is put back finds what it had.
settings() {
	local name sum
	SETTINGS=''
	jq -e '.Settings // {} | type == "object" and all(.[]; type == "string" and (test("[\\n\\r]") | not))' "$PARAMS" >/dev/null ||
		die "Settings in $PARAMS must be names with one line of text each"
	while IFS= read -r name; do
		case $name in
		OPENAI_API_KEY | SIGNING_KEY | ERASE_KEY | NOTIFY_SECRET) die "Settings in $PARAMS: $name is a secret: SecretArn, see docs/DEPLOY.md" ;;
		*[!A-Z0-9_]* | '') die "Settings in $PARAMS: \"$name\" is no name of a variable" ;;
		esac
		# What stands in the task definition wins over the file, an empty value too.
		if grep -q "{Name: $name," "$here/cloudformation/core.yaml"; then die "Settings in $PARAMS: $name is set by deploy/cloudformation/core.yaml; where it may be changed, that has a parameter"; fi
		case $name in
		OTEL_* | AWS_*) ;;
		*) grep -qx -- "$name" "$here/settings.txt" || die "Settings in $PARAMS: no program has a setting $name; deploy/settings.txt lists them" ;;
		esac
	done < <(jq -r '.Settings // {} | keys[]' "$PARAMS")
	jq -r '.Settings // {} | to_entries | sort_by(.key)[] | "\(.key)=\(.value)"' "$PARAMS" >"$WORK/settings"
	[ -s "$WORK/settings" ] || return 0
	sum=$(if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi <"$WORK/settings") || die "neither sha256sum nor shasum is installed"
	SETTINGS=deploy/$PROJECT/settings/${sum:0:16}.env
}

# upload_settings: what is there under that name already is the same.
upload_settings() {
	[ -n "$SETTINGS" ] || return 0
	look s3api put-object --bucket "$(param BucketName)" --key "$SETTINGS" --body "$WORK/settings" --content-type text/plain --if-none-match '*' && return 0
	[ "$CODE" != PreconditionFailed ] || return 0
	explain "s3api put-object"
	die "the settings could not be written to s3://$(param BucketName)/$SETTINGS, so nothing was changed"
}

# stack_state STACK: sets STATUS (empty: there is no such stack) and LAST, the ImageTag that it was last given. Ends the
# script when the stack is in a state from which no update starts.
stack_state() {
	local status=0
	STATUS='' LAST=''
	look cloudformation describe-stacks --stack-name "$1" || status=$?
	[ "$status" -ne 1 ] || return 0
	[ "$status" -eq 0 ] || { explain "cloudformation describe-stacks"; exit 1; }
	STATUS=$(jq -er '.Stacks | select(length == 1) | .[0].StackStatus' <<<"$ANSWER") || die "aws cloudformation describe-stacks: no stack in ${ANSWER:0:200}"
	LAST=$(jq -r '[.Stacks[0].Parameters[]? | select(.ParameterKey == "ImageTag") | .ParameterValue][0] // "none"' <<<"$ANSWER")
	case $STATUS in
	CREATE_COMPLETE | UPDATE_COMPLETE | UPDATE_ROLLBACK_COMPLETE | IMPORT_COMPLETE | IMPORT_ROLLBACK_COMPLETE) ;;
	REVIEW_IN_PROGRESS) STATUS='' LAST='' ;; # a change set, and nothing made of it yet
	ROLLBACK_COMPLETE | ROLLBACK_FAILED | DELETE_FAILED)
		die "stack $1 is $STATUS: it could not be made, and CloudFormation can only delete it before the next try. Nothing that was there before is deleted with it: aws cloudformation delete-stack --region $REGION --stack-name $1" ;;
	UPDATE_ROLLBACK_FAILED)
		die "stack $1 is $STATUS: say what it may skip, then repeat: aws cloudformation continue-update-rollback --region $REGION --stack-name $1" ;;
	*) die "stack $1 is $STATUS: somebody is at work on it. Repeat when that is done" ;;
	esac
}

# resources STACK: sets HAS to the logical and physical ids of its resources, one pair a line.
resources() {
	must cloudformation describe-stack-resources --stack-name "$1" || exit 1
	HAS=$(jq -er '.StackResources | select(type == "array") | .[] | "\(.LogicalResourceId) \(.PhysicalResourceId // "")"' <<<"$ANSWER") ||
		die "aws cloudformation describe-stack-resources: no resources in ${ANSWER:0:200}"
}

# physical NAME: the physical id of a resource of HAS.
physical() { awk -v name="$1" '$1 == name { print $2 }' <<<"$HAS"; }

# observe NAME: sets OLD_NAME, TASKS_NAME and IMAGE_NAME to what a service runs before the stack is touched; the image is
# "none" when AWS says that there is no such service, or that it has never run.
observe() {
	local status=0 image=none
	printf -v "OLD_$1" %s ''
	printf -v "TASKS_$1" %s 0
	service "$1" || status=$?
	[ "$status" -ne 2 ] || { explain "ecs describe-services"; exit 1; }
	if [ "$status" -eq 0 ]; then
		printf -v "OLD_$1" %s "$ARN"
		printf -v "TASKS_$1" %s "$DESIRED"
		definition "$ARN" "$WORK/$1.old" || exit 1
		image=$(image "$1" "$WORK/$1.old") || exit 1
	fi
	printf -v "IMAGE_$1" %s "$image"
}

# let_go: a stack from before the split has bucket, policy and registry, and leaves them behind when it gets the new template;
# the policy only if deploy/split.sh has seen to it, whose mark is then in the template.
let_go() {
	must cloudformation get-template --stack-name "$STACK" --template-stage Original || exit 1
	case $(jq -r '.TemplateBody' <<<"$ANSWER") in
	*'moving: data'*) say "stack $STACK lets go of bucket, policy and registry: they stay, and deploy/split.sh gives them to the data stack" ;;
	*) die "stack $STACK is from before its bucket and registry had a stack of their own. Move them first: deploy/split.sh --params $PARAMS" ;;
	esac
}

# core_before: what must be known, and not be in the way, before the core stack is touched. Sets TAG, which the stack is told.
core_before() {
	local steal=$1 dry=$2 name
	LOCK_SECONDS=7200 # CloudFormation takes its time, and nothing renews the lock meanwhile
	[ -n "$dry" ] || take_lock "update of stack $STACK" "$steal"
	if [ -n "$STATUS" ]; then
		resources "$STACK"
		if [ -n "$(physical BucketPolicy)" ]; then let_go; fi
	fi
	for name in server indexer; do observe "$name"; done
	# shellcheck disable=SC2154 # observe sets it
	TAG=${IMAGE_server##*:}
	case $TAG in
	none) [ "${LAST:-none}" = none ] || die "the stack was told to run image $LAST, but there is no service that runs one: look at stack $STACK first, or name the image with ImageTag=…" ;;
	*[!0-9]* | '') die "service $PROJECT-server runs $IMAGE_server, whose tag is no YYYYMMDDHHMM: name the image with ImageTag=…" ;;
	esac
	# shellcheck disable=SC2154
	[ "$IMAGE_server" = "$IMAGE_indexer" ] || say "server and indexer run different images, and keep them: ${IMAGE_server##*:} and ${IMAGE_indexer##*:}"
}

# settle NAME: WORK/NAME.json is what the service shall run: the settings of the stack with the image that ran before. There
# is none when it runs that already.
settle() {
	local image=IMAGE_$1 tasks=TASKS_$1 arn family
	[ "${!image}" != none ] || return 0
	family=$([ "$1" = server ] && echo ServerTask || echo IndexerTask)
	arn=$(physical "$family")
	[ -n "$arn" ] || { say "stack $STACK has no $family"; return 1; }
	definition "$arn" "$WORK/$1.stack" || return 2
	jq -S --arg name "$1" --arg image "${!image}" '.containerDefinitions |= map(if .name == $name then .image = $image else . end)' "$WORK/$1.stack" >"$WORK/$1.json"
	patient "$1" || return 2
	definition "$ARN" "$WORK/$1.now" || return 2
	if [ "$DESIRED" -eq 0 ] && [ "${!tasks}" -gt 0 ]; then
		say "$PROJECT-$1 was told to run no task, and is told to run ${!tasks} again"
		printf -v "START_$1" %s "${!tasks}"
	elif cmp -s "$WORK/$1.json" "$WORK/$1.now"; then
		rm "$WORK/$1.json"
		return 0
	fi
	say "$PROJECT-$1: after ${ARN##*/} comes a revision with"
	diff --unified=0 "$WORK/$1.now" "$WORK/$1.json" | sed -n '/^[-+][^-+]/p' >&2 || true
}

# core_after: puts the settings of the stack on the services, whatever CloudFormation did to them.
core_after() {
	local name status=0
	resources "$STACK"
	trap 'say interrupted; roll_back 1' HUP INT TERM
	# Servers first, as in deploy.sh.
	for name in server indexer; do
		settle "$name" || status=$?
		[ "$status" -ne 0 ] || release "$name" || status=$?
		[ "$status" -eq 0 ] || break
	done
	case $status in
	0) ;;
	2) unknown ;;
	*) roll_back "$status" ;;
	esac
}

# not_deployed STACK: says what failed, as far as AWS tells.
not_deployed() {
	if look cloudformation describe-stack-events --stack-name "$1"; then
		say "what failed, newest first:"
		jq -r '[.StackEvents[]? | select(.ResourceStatus | test("FAILED"))][:5][] | "  \(.LogicalResourceId): \(.ResourceStatusReason // "?")"' <<<"$ANSWER" >&2 || true
	fi
	say "aws cloudformation deploy failed, see above. When an update fails, CloudFormation puts back what was there; one that only lost sight of it goes on in AWS."
}

# cloudformation NAME DRY Name=Value…: empty values are passed too: CloudFormation keeps the last value of a parameter that
# is not mentioned, so that emptying AlarmEmail or DomainName in the file would change nothing.
cloudformation() {
	local name=$1 dry=$2
	shift 2
	# It prints progress, not an answer.
	# shellcheck disable=SC2086 # $dry is one word or none
	aws --region "$REGION" cloudformation deploy --stack-name "$STACK" --template-file "$here/cloudformation/$name.yaml" \
		--capabilities CAPABILITY_IAM --no-fail-on-empty-changeset --tags "Project=$PROJECT" $dry --parameter-overrides "$@" >&2
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
		data | core | monitoring | pipeline) name=$1 ;;
		*) usage_error "unknown argument $1" ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	[ -n "$name" ] || usage_error "which stack: data, core, monitoring or pipeline?"
	check_waits
	need jq
	load_params "$file"
	need aws diff
	PROJECT=$(param Project) CLUSTER=$(param ClusterName)
	case $name in
	data) STACK=$(param DataStack "$PROJECT-data") ;;
	core) STACK=$(param CoreStack) ;;
	monitoring) STACK=$(param MonitoringStack "$PROJECT-monitoring") ;;
	pipeline) STACK=$(param PipelineStack) ;;
	esac

	local given=() placeholder line failed=''
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
	if [ "$name" = core ]; then settings; fi
	stack_state "$STACK"
	if [ "$name" = core ]; then
		overrides+=("SettingsFile=$SETTINGS")
		case " ${overrides[*]-} " in
		*" ImageTag="*) LAST=none ;; # somebody knows better
		esac
		core_before "$steal" "$dry"
		[ -n "$dry" ] || upload_settings
		case " ${overrides[*]-} " in *" ImageTag="*) ;; *) overrides+=("ImageTag=$TAG") ;; esac
	fi
	given+=(${overrides[@]+"${overrides[@]}"})

	say "deploying stack $STACK in $REGION from deploy/cloudformation/$name.yaml"
	if [ "$name" != core ] || [ -n "$dry" ]; then
		cloudformation "$name" "$dry" "${given[@]}" || failed=yes
	else
		trap 'say "interrupted: the stack update goes on in AWS. Repeat this command when it is done; the lock stays until then"; ETAG=""; exit 1' HUP INT TERM
		if [ -z "$STATUS" ]; then
			# Twice: were the number of tasks still in the template at the next update, a failure of that one would put it back.
			cloudformation core "" "${given[@]}" Creating=yes || failed=yes
		fi
		[ -n "$failed" ] || cloudformation core "" "${given[@]}" Creating=no || failed=yes
	fi
	[ -z "$failed" ] || not_deployed "$STACK"
	[ "$name" != core ] || [ -n "$dry" ] || [ "$TAG" = none ] || core_after
	[ -z "$failed" ] || die "stack $STACK was not deployed"
	[ -z "$dry" ] || return 0
	must cloudformation describe-stacks --stack-name "$STACK" || die "the stack was deployed, but its outputs could not be read"
	jq -r '.Stacks[0].Outputs[]? | "\(.OutputKey): \(.OutputValue)"' <<<"$ANSWER"
}
main "$@"
