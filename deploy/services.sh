# Sourced by deploy.sh and stack.sh: what the two services run, and how they get another revision.
# shellcheck shell=bash disable=SC2034,SC2153
# PROJECT, CLUSTER, PARAMS, REGION and WORK (a folder of this run) are set by whoever sources this.

TIMEOUT=${DEPLOY_TIMEOUT:-900}
POLL=${DEPLOY_POLL:-10}
PATIENCE=${DEPLOY_PATIENCE:-10}
UPDATED=()

check_waits() {
	seconds DEPLOY_TIMEOUT "$TIMEOUT"
	seconds DEPLOY_POLL "$POLL"
	seconds DEPLOY_PATIENCE "$PATIENCE"
}

# The values of each service, in variables that carry its name: bash 3.2 has no tables. START_… is the number of tasks with
# which a service is started, BACK_… that which a rollback leaves it (both empty: as many as there are).
old() { local v=OLD_$1; printf '%s\n' "${!v-}"; }
start() { local v=START_$1; printf '%s\n' "${!v-}"; }
back() { local v=BACK_$1; printf '%s\n' "${!v-}"; }
new() { local v=NEW_$1; printf '%s\n' "${!v-}"; }

# service NAME: what ECS says of it, in ARN, DESIRED, RUNNING, DEPLOYMENTS (those not given up), ROLLOUT and FAILED (the
# revisions that ECS gave up, comma-separated). 0 it is active, 1 there is none, 2 not known.
service() {
	local line
	look ecs describe-services --cluster "$CLUSTER" --services "$PROJECT-$1" || return $?
	line=$(jq -r '(.services[0]? // {}) as $s
		| if $s.status == "ACTIVE" and ($s.taskDefinition | type) == "string" and ($s.desiredCount | type) == "number" then
			([$s.deployments[]? | select(.status == "PRIMARY")][0]) as $p
			| "active \($s.taskDefinition) \($s.desiredCount) \($s.runningCount // 0) \([$s.deployments[]? | select(.rolloutState != "FAILED")] | length) \($p.rolloutState // "COMPLETED") " +
			  ([$s.deployments[]? | select(.rolloutState == "FAILED") | .taskDefinition] | join(","))
		  elif $s.status == "INACTIVE" or any(.failures[]?; .reason == "MISSING") then "none"
		  else "unknown" end' <<<"$ANSWER") || line=unknown
	read -r line ARN DESIRED RUNNING DEPLOYMENTS ROLLOUT FAILED <<<"$line"
	case $line in
	active) return 0 ;;
	none) WHY="there is no such service" CODE=''; return 1 ;;
	esac
	WHY="this says nothing about the service: ${ANSWER:0:200}" CODE=''
	return 2
}

# patient NAME: as service, and tries again while there is no answer to rely on. 4: the lock is lost.
patient() {
	local tries=0 status
	while :; do
		keep_lock || return $?
		status=0
		service "$1" || status=$?
		[ "$status" -eq 2 ] || return "$status"
		tries=$((tries + 1))
		[ "$tries" -le "$PATIENCE" ] || return 2
		[ "$tries" -gt 1 ] || { explain "ecs describe-services"; say "  looking again, up to $PATIENCE times"; }
		sleep "$POLL"
	done
}

# definition ARN FILE: writes the part of a task definition that can be registered again.
definition() {
	must ecs describe-task-definition --task-definition "$1" || return $?
	jq -eS '.taskDefinition | select(.containerDefinitions | type == "array" and length > 0)
		| del(.taskDefinitionArn, .revision, .status, .requiresAttributes, .compatibilities, .registeredAt, .registeredBy, .deregisteredAt)' <<<"$ANSWER" >"$2" && return 0
	say "aws ecs describe-task-definition: no containers in ${ANSWER:0:200}"
	return 2
}

# image NAME FILE: the image of container NAME in a definition.
image() {
	jq -er --arg name "$1" '[.containerDefinitions[] | select(.name == $name) | .image][0] // empty' "$2" && return 0
	say "the task definition has no container named $1"
	return 1
}

# by_hand NAME ARN: the command that puts a service on a revision.
by_hand() { printf '%s' "aws ecs update-service --region $REGION --cluster $CLUSTER --service $PROJECT-$1 --task-definition $2"; }

# update NAME ARN [COUNT]
update() { must ecs update-service --cluster "$CLUSTER" --service "$PROJECT-$1" --task-definition "$2" ${3:+--desired-count "$3"}; }

# stable NAME ARN: waits until ARN is the only deployment of the service and complete. 0 it is, 1 it failed, 2 not known:
# PATIENCE looks in a row had no answer, 4 somebody else put another revision on the service.
stable() {
	local look line status last=''
	for ((look = 0; look <= TIMEOUT / POLL; look++)); do
		status=0
		patient "$1" || status=$?
		case $status in
		0) ;;
		1) say "$PROJECT-$1 is gone"; return 4 ;;
		*) return "$status" ;;
		esac
		line="$ROLLOUT, $RUNNING of $DESIRED running"
		[ "$line" = "$last" ] || say "  $PROJECT-$1: $line"
		last=$line
		case ",$FAILED," in *",$2,"*)
			say "$PROJECT-$1: the new tasks did not become healthy, and ECS gave the deployment up"
			return 1 ;;
		esac
		if [ "$ARN" != "$2" ]; then
			say "$PROJECT-$1: somebody else (ECS's own rollback, or another deploy) put ${ARN##*/} on the service"
			return 4
		fi
		[ "$ROLLOUT" = COMPLETED ] && [ "$DEPLOYMENTS" = 1 ] && [ "$RUNNING" = "$DESIRED" ] && return 0
		sleep "$POLL"
	done
	say "$PROJECT-$1: not stable after $TIMEOUT s"
	return 1
}

# why NAME: the last words of the service and of its last stopped task. Only tells: what cannot be read is left out.
why() {
	local task
	look ecs describe-services --cluster "$CLUSTER" --services "$PROJECT-$1" || return 0
	say "last events of $PROJECT-$1:"
	jq -r '.services[0].events[:5][]? | "  \(.message)"' <<<"$ANSWER" >&2 || true
	look ecs list-tasks --cluster "$CLUSTER" --service-name "$PROJECT-$1" --desired-status STOPPED || return 0
	task=$(jq -r '.taskArns[0]? // empty' <<<"$ANSWER") || return 0
	[ -n "$task" ] || return 0
	look ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" || return 0
	jq -r '.tasks[0] | "  stopped task: \(.stoppedReason // "?") \([.containers[]? | .reason // empty, (.exitCode // empty | "exit code \(.)")] | join("; "))"' <<<"$ANSWER" >&2 || true
	say "  its log: aws logs tail /ecs/$PROJECT/$1 --since 30m --region $REGION"
}

# release NAME: registers WORK/NAME.json, when there is one, and puts it on the service. Returns as stable does.
release() {
	local arn status=0
	[ -e "$WORK/$1.json" ] || return 0
	must ecs register-task-definition --cli-input-json "file://$WORK/$1.json" || return 1
	arn=$(jq -er .taskDefinition.taskDefinitionArn <<<"$ANSWER") || { say "no revision in ${ANSWER:0:200}"; return 1; }
	printf -v "NEW_$1" %s "$arn"
	say "$PROJECT-$1: updating to ${arn##*/}"
	UPDATED+=("$1")
	update "$1" "$arn" "$(start "$1")" || return 1
	stable "$1" "$arn" || status=$?
	[ "$status" -ne 1 ] || why "$1"
	return "$status"
}

# roll_back STATUS: puts every service that still runs the revision of this run back on what it ran before; one that runs
# something else by now belongs to somebody else. Ends the script; exit code 4 when STATUS says that it gave way.
roll_back() {
	trap '' HUP INT TERM
	local name was status undone=() left=''
	[ "${#UPDATED[@]}" -gt 0 ] || die "nothing was changed on the services"
	for name in "${UPDATED[@]}"; do
		was=$(old "$name")
		status=0
		patient "$name" || status=$?
		# Whoever has the lock by now, what is ours is ours to put back.
		[ "$status" -ne 4 ] || { status=0; patient "$name" || status=$?; }
		if [ "$status" -ne 0 ]; then
			left="$left $name"
			say "$PROJECT-$name is NOT rolled back: what it runs could not be read. By hand: $(by_hand "$name" "$was")"
		elif [ "$ARN" = "$was" ]; then
			say "$PROJECT-$name is on ${was##*/}, as before"
			undone+=("$name")
		elif [ "$ARN" != "$(new "$name")" ]; then
			left="$left $name"
			say "$PROJECT-$name is not rolled back: it runs ${ARN##*/}, which is not of this run"
		else
			say "rolling back $PROJECT-$name to ${was##*/}"
			if update "$name" "$was" "$(back "$name")"; then undone+=("$name"); else
				left="$left $name"
				say "rollback of $PROJECT-$name FAILED. By hand: $(by_hand "$name" "$was")"
			fi
		fi
	done
	for name in ${undone[@]+"${undone[@]}"}; do
		was=$(old "$name")
		stable "$name" "$was" || {
			left="$left $name"
			say "$PROJECT-$name was put back on ${was##*/} but is not stable yet: look at docs/RUNBOOK.md#task-crash-loop"
		}
	done
	[ "$1" -ne 4 ] || { say "this run gave way to another one"; exit 4; }
	[ -z "$left" ] || die "not everything was rolled back:$left. See above"
	die "rolled back; the services run what they ran before"
}

# unknown: the end of a run that could no longer see what it does. Whatever is healthy stays.
unknown() {
	local name
	explain "$ASKED"
	say "AWS did not tell what became of it, so nothing more is changed. ECS goes on by itself, and puts back what does not become healthy."
	for name in ${UPDATED[@]+"${UPDATED[@]}"}; do
		say "  $PROJECT-$name was told to run $(new "$name"); before, it ran $(old "$name")"
	done
	die "not finished: repeat the command when AWS answers again"
}
