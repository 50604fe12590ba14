#!/usr/bin/env bash
# Puts one image tag on both services: new task definition revisions, rolling update, checks, rollback on failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"
. "$here/lock.sh"
. "$here/services.sh"

help() {
	cat <<'TEXT'
usage: deploy/deploy.sh --params FILE [--dry-run] [--take-lock] [--skip-health] [TAG]

TAG is an image tag (YYYYMMDDHHMM) of the repository; default: the newest one.
  1. shows what would change in both task definitions
  2. registers the revisions and updates the server service, then the indexer service, waiting until each is stable.
     The first time, with nothing to serve yet, the indexer comes first, and the servers when it has promoted a snapshot
  3. asks /health through the load balancer which snapshot is served
  4. puts both services back on their old revisions if any of that fails
--dry-run stops after 1. --skip-health leaves 3 out, for a place from which the load balancer cannot be
reached. Running it again with the same tag changes nothing.
One run at a time works on a project, the pipeline's included: the lock is deploy/<Project>/lock.json in the bucket, renewed
while it works, and free 30 minutes after a run that died. --take-lock takes it from a run that is known to be dead.
exit codes: 0 done or nothing to do, 1 failed (and rolled back, unless it says otherwise), 2 wrong usage, 4 gave way to
another deploy

DEPLOY_TIMEOUT (900) and HEALTH_TIMEOUT (180) are seconds to wait, DEPLOY_POLL (10) seconds between two looks.
FIRST_TIMEOUT (3600) are the seconds for the first snapshot. DEPLOY_PATIENCE (10) looks in a row may fail; then it stops without changing anything more.
TEXT
}

HEALTH_TIMEOUT=${HEALTH_TIMEOUT:-180}
FIRST_TIMEOUT=${FIRST_TIMEOUT:-3600}
HEALTH=yes
START_server=''

# tags: the image tags of the repository, one a line.
tags() {
	must ecr describe-images --repository-name "$REPOSITORY" --filter tagStatus=TAGGED || return $?
	jq -er 'if .imageDetails | type == "array" then [.imageDetails[].imageTags[]?] | sort | reverse | join("\n") else empty end' <<<"$ANSWER" && return 0
	say "aws ecr describe-images: no list of images in ${ANSWER:0:200}"
	return 2
}

newest_tag() {
	local all
	all=$(tags) || return $?
	grep -E '^[0-9]{12}$' <<<"$all" | head -n 1 || true
}

check_tag() {
	local status=0 known
	look ecr describe-images --repository-name "$REPOSITORY" --image-ids "imageTag=$1" || status=$?
	if [ "$status" -eq 0 ] && [ "$(jq '.imageDetails | length' <<<"$ANSWER")" -ge 1 ]; then return 0; fi
	if [ "$CODE" != ImageNotFoundException ]; then
		explain "ecr describe-images"
		exit 1
	fi
	known=$(tags | head -n 5 | paste -sd, -) || known=''
	die "tag $1 is not in repository $REPOSITORY. Newest tags there: ${known:-not known}"
}

# current NAME: sets ARN and DESIRED of a service that can be deployed to.
current() {
	local status=0
	service "$1" || status=$?
	if [ "$status" -eq 1 ]; then
		explain "ecs describe-services"
		die "no active service $PROJECT-$1 in cluster $CLUSTER. Has the core stack been deployed?"
	elif [ "$status" -ne 0 ]; then
		explain "ecs describe-services"
		exit 1
	fi
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

# find_url: sets URL, under which the load balancer answers.
find_url() {
	local domain arn
	domain=$(param DomainName)
	if [ -n "$domain" ]; then URL="https://$domain"; return 0; fi
	arn=$(param ExistingLoadBalancerArn)
	if [ -n "$arn" ]; then
		must elbv2 describe-load-balancers --load-balancer-arns "$arn" || exit 1
	else
		must elbv2 describe-load-balancers --names "$PROJECT-alb" || exit 1
	fi
	URL=http://$(jq -er '.LoadBalancers[0].DNSName' <<<"$ANSWER") || die "no load balancer in ${ANSWER:0:200}"
}

# healthy: a server behind the load balancer serves a snapshot from the store. The header reaches the new servers
# while an existing load balancer still sends everything else to the old service.
healthy() {
	local look body=''
	for ((look = 0; look <= HEALTH_TIMEOUT / POLL; look++)); do
		body=$(curl --silent --show-error --max-time 5 --header 'X-Vectorstore-Preview: 1' "$URL/health" 2>&1) || true
		if jq -e '.status == "ok" and ((.vectorstore_source // "") | test("^(rebuilt->)?S3/current$")) and ((.snapshot // "") != "")' <<<"$body" >/dev/null 2>&1; then
			say "health: $(jq -c '{vectorstore_source, snapshot, generation, vectors}' <<<"$body")"
			return 0
		fi
		sleep "$POLL"
	done
	say "$URL/health does not report a snapshot from S3 after $HEALTH_TIMEOUT s; it said: ${body:-nothing}"
	return 1
}

# prepare NAME: sets OLD_NAME, and WORK/NAME.json when the service needs a new revision; shows the difference.
prepare() {
	local arn was
	current "$1"
	arn=$ARN
	printf -v "OLD_$1" %s "$arn"
	definition "$arn" "$WORK/$1.old" || exit 1
	was=$(image "$1" "$WORK/$1.old") || exit 1
	# The stack makes the services with an image that is not there, and without a task.
	if [ "${was##*:}" = none ]; then
		printf -v "BACK_$1" %s 0
		# shellcheck disable=SC2034 # start reads it
		if [ "$1" = server ]; then START_server=$(param ServerMin 2); else START_indexer=1; fi
	elif [ "$1" = server ] && [ "$DESIRED" -eq 0 ]; then
		say "$PROJECT-$1 is told to run 0 tasks, and will be left so"
		HEALTH=''
	fi
	next "$1" <"$WORK/$1.old" >"$WORK/$1.json" || die "${arn##*/} cannot be changed, see above"
	if cmp -s "$WORK/$1.old" "$WORK/$1.json"; then
		rm "$WORK/$1.json"
		say "$PROJECT-$1: ${arn##*/} already has this image and these settings"
		return 0
	fi
	say "$PROJECT-$1: after ${arn##*/} comes a revision with"
	diff --unified=0 "$WORK/$1.old" "$WORK/$1.json" | sed -n '/^[-+][^-+]/p' >&2 || true
}

# confirm NAME: the service still runs what this run left on it.
confirm() {
	local want
	want=$(new "$1")
	want=${want:-$(old "$1")}
	patient "$1" || { [ $? -eq 2 ] && return 2; return 4; }
	[ "$ARN" != "$want" ] || return 0
	say "$PROJECT-$1 runs ${ARN##*/} by now: somebody else deployed at the same time, and this run gives way"
	return 4
}

# first_snapshot: waits until the indexer has promoted one. Returns as stable does.
first_snapshot() {
	local look status blind=0 key
	key=$(param Prefix vectorstore/prod)/current/manifest.json
	say "waiting for the first snapshot, s3://$(param BucketName)/$key"
	for ((look = 0; look <= FIRST_TIMEOUT / POLL; look++)); do
		keep_lock || return $?
		status=0
		look s3api head-object --bucket "$(param BucketName)" --key "$key" || status=$?
		case $status in
		0) return 0 ;;
		1) blind=0 ;;
		*) blind=$((blind + 1)); [ "$blind" -le "$PATIENCE" ] || return 2 ;;
		esac
		sleep "$POLL"
	done
	[ "$blind" -eq 0 ] || return 2
	say "no snapshot after $FIRST_TIMEOUT s: is $(param Prefix vectorstore/prod)/vendors.json uploaded?"
	why indexer
	return 1
}

# roll_out: one step after the other, until one does not return 0.
roll_out() {
	local name
	if [ -n "$START_server" ]; then
		release indexer || return $?
		first_snapshot || return $?
		release server || return $?
	else
		# Servers first: a new server reads old snapshots; an old server need not read what a new indexer writes.
		for name in server indexer; do release "$name" || return $?; done
	fi
	[ -z "$HEALTH" ] || healthy || return $?
	for name in server indexer; do confirm "$name" || return $?; done
}

main() {
	local file='' dry='' tag='' steal='' status=0
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=$(value "$@") || exit 2; shift ;;
		--dry-run) dry=yes ;;
		--take-lock) steal=steal ;;
		--skip-health) HEALTH='' ;;
		-h | --help) help; exit 0 ;;
		-*) usage_error "unknown option $1" ;;
		*) [ -z "$tag" ] || usage_error "more than one tag"; tag=$1 ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	check_waits
	seconds HEALTH_TIMEOUT "$HEALTH_TIMEOUT"
	seconds FIRST_TIMEOUT "$FIRST_TIMEOUT"
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
	[ -z "$HEALTH" ] || find_url
	[ -n "$dry" ] || take_lock "deploy of $tag" "$steal"
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
	trap 'say interrupted; roll_back 1' HUP INT TERM
	roll_out || status=$?
	case $status in
	0) say "done: both services run $tag" ;;
	2) unknown ;;
	*) roll_back "$status" ;;
	esac
}
main "$@"
