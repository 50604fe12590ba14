#!/usr/bin/env bash
# Puts one image tag on both services: new task definition revisions, rolling update, checks, rollback on failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"

help() {
	cat <<'TEXT'
usage: deploy/deploy.sh --params FILE [--dry-run] [TAG]

TAG is an image tag (YYYYMMDDHHMM) of the repository; default: the newest one.
  1. shows what would change in both task definitions
  2. registers the revisions and updates the server service, then the indexer service, waiting until each is stable
  3. asks /health through the load balancer which snapshot is served
  4. puts both services back on their old revisions if any of that fails
--dry-run stops after 1. Running it again with the same tag changes nothing.
exit codes: 0 done or nothing to do, 1 failed (and rolled back, unless it says otherwise), 2 wrong usage

DEPLOY_TIMEOUT (900) and HEALTH_TIMEOUT (180) are seconds to wait, DEPLOY_POLL (10) seconds between two looks.
TEXT
}

TIMEOUT=${DEPLOY_TIMEOUT:-900}
HEALTH_TIMEOUT=${HEALTH_TIMEOUT:-180}
POLL=${DEPLOY_POLL:-10}

newest_tag() {
	run_aws ecr describe-images --repository-name "$REPOSITORY" --filter tagStatus=TAGGED |
		jq -r '[.imageDetails[] | .imageTags[]? | select(test("^[0-9]{12}$"))] | max // empty'
}

check_tag() {
	run_aws ecr describe-images --repository-name "$REPOSITORY" --image-ids "imageTag=$1" >/dev/null && return
	local known
	known=$(run_aws ecr describe-images --repository-name "$REPOSITORY" --filter tagStatus=TAGGED |
		jq -r '[.imageDetails[] | .imageTags[]?] | sort | reverse | .[:5] | join(", ")') || known=''
	die "tag $1 is not in repository $REPOSITORY. Newest tags there: ${known:-none}"
}

# current NAME: the ARN of the task definition that service NAME is told to run.
current() {
	local arn tasks
	read -r arn tasks < <(run_aws ecs describe-services --cluster "$CLUSTER" --services "$PROJECT-$1" |
		jq -r '.services[0] | select(.status == "ACTIVE") | "\(.taskDefinition) \(.desiredCount)"') || true
	[ -n "$arn" ] || { say "no active service $PROJECT-$1 in cluster $CLUSTER. Has the core stack been deployed?"; return 1; }
	# Nothing would start, and the check of /health would blame the image.
	[ "$1" != server ] || [ "$tasks" -gt 0 ] ||
		{ say "service $PROJECT-$1 is told to run 0 tasks. For the first image: deploy/stack.sh --params $PARAMS core ImageTag=TAG"; return 1; }
	echo "$arn"
}

# definition ARN: the part of a task definition that can be registered again.
definition() {
	run_aws ecs describe-task-definition --task-definition "$1" | jq -S '.taskDefinition
		| del(.taskDefinitionArn, .revision, .status, .requiresAttributes, .compatibilities, .registeredAt, .registeredBy, .deregisteredAt)'
}

# next NAME: reads a definition, writes it with the image, the awslogs and the VECTORSTORE_ variables that it must have.
# What is already there and right stays byte for byte, so that "nothing to do" can be told from a comparison.
next() {
	jq -S --arg image "$IMAGE" --arg name "$1" --arg region "$REGION" --arg project "$PROJECT" \
		--arg bucket "$(param BucketName)" --arg prefix "$(param Prefix vectorstore/prod)" '
	def setenv($key; $value):
		if any(.environment[]?; .name == $key)
		then .environment |= map(if .name == $key then .value = $value else . end)
		else .environment += [{name: $key, value: $value}] end;
	if any(.containerDefinitions[]; .name == $name) | not
	then error("the task definition has no container named \($name)") else . end
	| .containerDefinitions |= map(if .name != $name then . else
		.image = $image
		| if .logConfiguration.logDriver == "awslogs" then . else .logConfiguration = {logDriver: "awslogs", options: {
			"awslogs-group": "/ecs/\($project)/\($name)", "awslogs-region": $region, "awslogs-stream-prefix": "ecs"}} end
		| setenv("VECTORSTORE_S3_BUCKET"; $bucket)
		| setenv("VECTORSTORE_S3_PREFIX"; $prefix)
		| setenv("VECTORSTORE_LOCAL_DIR"; "/app/vectorstore")
		end)'
}

update() { run_aws ecs update-service --cluster "$CLUSTER" --service "$PROJECT-$1" --task-definition "$2" >/dev/null; }

# stable NAME ARN: waits until ARN is the only deployment of the service and complete.
stable() {
	local look state line last=''
	for ((look = 0; look <= TIMEOUT / POLL; look++)); do
		state=$(run_aws ecs describe-services --cluster "$CLUSTER" --services "$PROJECT-$1" | jq -c --arg arn "$2" '.services[0]
			| (.deployments[] | select(.status == "PRIMARY")) as $p
			| {running: .runningCount, desired: .desiredCount, arn: .taskDefinition, rollout: ($p.rolloutState // "COMPLETED"),
			   deployments: (.deployments | length), failed: (any(.deployments[]; .taskDefinition == $arn and .rolloutState == "FAILED"))}') || return 1
		line=$(jq -r '"\(.rollout), \(.running) of \(.desired) running"' <<<"$state")
		[ "$line" = "$last" ] || say "  $PROJECT-$1: $line"
		last=$line
		if jq -e '.failed' <<<"$state" >/dev/null; then
			say "$PROJECT-$1: the new tasks did not become healthy, and ECS gave the deployment up"
			return 1
		fi
		if [ "$(jq -r .arn <<<"$state")" != "$2" ]; then
			say "$PROJECT-$1: somebody else (ECS's own rollback, or another deploy) put another revision on the service"
			return 1
		fi
		if jq -e '.rollout == "COMPLETED" and .deployments == 1 and .running == .desired' <<<"$state" >/dev/null; then return 0; fi
		sleep "$POLL"
	done
	say "$PROJECT-$1: not stable after $TIMEOUT s"
	return 1
}

# why NAME: the last words of the service and of its last stopped task.
why() {
	say "last events of $PROJECT-$1:"
	run_aws ecs describe-services --cluster "$CLUSTER" --services "$PROJECT-$1" | jq -r '.services[0].events[:5][]? | "  \(.message)"' >&2 || true
	local task
	task=$(run_aws ecs list-tasks --cluster "$CLUSTER" --service-name "$PROJECT-$1" --desired-status STOPPED | jq -r '.taskArns[0] // empty') || return 0
	[ -n "$task" ] || return 0
	run_aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" |
		jq -r '.tasks[0] | "  stopped task: \(.stoppedReason // "?") \([.containers[]? | .reason // empty, (.exitCode // empty | "exit code \(.)")] | join("; "))"' >&2 || true
	say "  its log: aws logs tail /ecs/$PROJECT/$1 --since 30m --region $REGION"
}

url() {
	local domain arn
	domain=$(param DomainName)
	if [ -n "$domain" ]; then echo "https://$domain"; return; fi
	arn=$(param ExistingLoadBalancerArn)
	if [ -n "$arn" ]; then
		run_aws elbv2 describe-load-balancers --load-balancer-arns "$arn"
	else
		run_aws elbv2 describe-load-balancers --names "$PROJECT-alb"
	fi | jq -r '"http://\(.LoadBalancers[0].DNSName)"'
}

# healthy URL: a server behind the load balancer serves a snapshot from the store. The header reaches the new servers
# while an existing load balancer still sends everything else to the old service.
healthy() {
	local look body=''
	for ((look = 0; look <= HEALTH_TIMEOUT / POLL; look++)); do
		body=$(curl --silent --show-error --max-time 5 --header 'X-Vectorstore-Preview: 1' "$1/health" 2>&1) || true
		if jq -e '.status == "ok" and ((.vectorstore_source // "") | test("^(rebuilt->)?S3/current$")) and ((.snapshot // "") != "")' <<<"$body" >/dev/null 2>&1; then
			say "health: $(jq -c '{vectorstore_source, snapshot, generation, vectors}' <<<"$body")"
			return 0
		fi
		sleep "$POLL"
	done
	say "$1/health does not report a snapshot from S3 after $HEALTH_TIMEOUT s; it said: ${body:-nothing}"
	return 1
}

declare -A OLD NEW
UPDATED=()

roll_back() {
	trap - INT TERM
	local name back=()
	[ "${#UPDATED[@]}" -gt 0 ] || die "nothing was changed on the services"
	for name in "${UPDATED[@]}"; do
		say "rolling back $PROJECT-$name to ${OLD[$name]##*/}"
		update "$name" "${OLD[$name]}" || die "rollback of $PROJECT-$name FAILED. By hand: aws ecs update-service --region $REGION --cluster $CLUSTER --service $PROJECT-$name --task-definition ${OLD[$name]}"
		back+=("$name")
	done
	for name in "${back[@]}"; do
		stable "$name" "${OLD[$name]}" || die "$PROJECT-$name was put back on ${OLD[$name]##*/} but is not stable yet: look at docs/RUNBOOK.md#task-crash-loop"
	done
	die "rolled back; the services run what they ran before"
}

# prepare NAME: fills OLD, and WORK/NAME.json when the service needs a new revision; shows the difference.
prepare() {
	OLD[$1]=$(current "$1") || exit 1
	definition "${OLD[$1]}" >"$WORK/$1.old" || exit 1
	next "$1" <"$WORK/$1.old" >"$WORK/$1.json" || die "${OLD[$1]##*/} cannot be changed, see above"
	if cmp -s "$WORK/$1.old" "$WORK/$1.json"; then
		rm "$WORK/$1.json"
		say "$PROJECT-$1: ${OLD[$1]##*/} already has this image and these settings"
		return
	fi
	say "$PROJECT-$1: after ${OLD[$1]##*/} comes a revision with"
	diff --unified=0 "$WORK/$1.old" "$WORK/$1.json" | sed -n '/^[-+][^-+]/p' >&2 || true
}

release() {
	local name=$1
	[ -e "$WORK/$name.json" ] || return 0
	NEW[$name]=$(run_aws ecs register-task-definition --cli-input-json "file://$WORK/$name.json" | jq -r .taskDefinition.taskDefinitionArn) || return 1
	say "$PROJECT-$name: updating to ${NEW[$name]##*/}"
	UPDATED+=("$name")
	update "$name" "${NEW[$name]}" || return 1
	stable "$name" "${NEW[$name]}" || { why "$name"; return 1; }
}

main() {
	local file='' dry='' tag=''
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=${2:-}; shift ;;
		--dry-run) dry=yes ;;
		-h | --help) help; exit 0 ;;
		-*) usage_error "unknown option $1" ;;
		*) [ -z "$tag" ] || usage_error "more than one tag"; tag=$1 ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	need jq
	load_params "$file"
	need aws curl diff
	check_account
	PROJECT=$(param Project) CLUSTER=$(param ClusterName) REPOSITORY=$(param RepositoryName)
	if [ -z "$tag" ]; then
		tag=$(newest_tag) || exit 1
		[ -n "$tag" ] || die "repository $REPOSITORY has no image with a tag like 202601020304 yet"
	fi
	check_tag "$tag"
	IMAGE="$ACCOUNT.dkr.ecr.$REGION.amazonaws.com/$REPOSITORY:$tag"
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT

	say "image: $REPOSITORY:$tag"
	prepare server
	prepare indexer
	if [ ! -e "$WORK/server.json" ] && [ ! -e "$WORK/indexer.json" ]; then
		say "nothing to do"
		exit 0
	fi
	if [ -n "$dry" ]; then
		say "dry run: nothing was changed"
		exit 0
	fi
	trap 'say "interrupted"; roll_back' INT TERM
	# Servers first: a new server reads old snapshots; an old server need not read what a new indexer writes.
	local base
	release server && release indexer && base=$(url) && healthy "$base" || roll_back
	say "done: both services run $tag"
}
main "$@"
