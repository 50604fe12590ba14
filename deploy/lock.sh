# Sourced by deploy.sh and stack.sh: one of them at a time works on a project, wherever it was started.
# shellcheck shell=bash disable=SC2034
# The lock is one object of the bucket, beside the prefix and not below it: deploy/<Project>/lock.json. It is written by
# conditional writes only, so that of two that start together one gets it. Free is {"until": 0}: nobody needs to delete.
# Its holder renews it; 1800 s after the last sign of life it may be taken over. Signed requests of a clock that is off by
# more than 15 minutes are refused by AWS, so that two clocks never differ by those 30 minutes.

LOCK_SECONDS=1800
LOCK_RENEW=300
ETAG=''
WAITED=0
RENEWED=0

# take_lock WHAT [steal]: holds the lock from here on, or ends the script with exit code 4.
take_lock() {
	local skeleton name now held until code why
	skeleton=$(aws s3api put-object --generate-cli-skeleton 2>/dev/null) || skeleton=''
	case $skeleton in *'"IfMatch"'*) ;; *)
		die "this AWS CLI ($(aws --version 2>&1 | head -n 1)) cannot write conditionally, which the lock needs: install 2.22, 1.36 or newer" ;;
	esac
	LOCK_KEY=deploy/$PROJECT/lock.json
	LOCK_ID="$(date -u +%Y%m%dT%H%M%SZ)-$$-$RANDOM$RANDOM"
	LOCK_WHAT=$1
	name=s3://$(param BucketName)/$LOCK_KEY
	trap 'free_lock; rm -rf "$WORK"' EXIT
	write_lock "$LOCK_SECONDS" --if-none-match '*' && return 0
	[ "$CODE" != NoSuchBucket ] || die "there is no bucket $(param BucketName), in which the lock lies: make the data stack first (deploy/stack.sh --params $PARAMS data)"
	# Whoever got no answer may hold it all the same.
	code=$CODE why=$WHY
	if ! read_lock; then
		if [ -n "$ETAG" ] && [ "${2-}" = steal ]; then echo '{"id":"","what":"something","who":"somebody","until":0}' >"$WORK/held"
		elif [ "$code" = PreconditionFailed ]; then
			ETAG=''
			explain "s3api get-object"
			die "the lock $name cannot be read, so nothing was changed. If it is damaged, --take-lock overwrites it"
		else
			ETAG='' CODE=$code WHY=$why
			explain "s3api put-object"
			die "the lock $name cannot be written, so nothing was changed"
		fi
	fi
	[ "$(jq -r .id "$WORK/held")" != "$LOCK_ID" ] || return 0
	now=$(date +%s)
	held=$(jq -r '"\(.what) by \(.who)"' "$WORK/held")
	until=$(jq -r '.until | floor' "$WORK/held")
	if [ "$until" -gt "$now" ] && [ "${2-}" != steal ]; then
		ETAG=''
		gave_way "$held is under way, and has the lock until $(clock "$until")" "If you know that it is dead, repeat with --take-lock"
	fi
	[ "$until" -le "$now" ] || say "taking the lock from: $held"
	write_lock "$LOCK_SECONDS" --if-match "$ETAG" && return 0
	ETAG=''
	if taken; then gave_way "another run was quicker"; fi
	explain "s3api put-object"
	die "the lock $name cannot be written, so nothing was changed"
}

# gave_way WHY [HINT]: ends a run that has changed nothing.
gave_way() {
	local line
	for line in "$@"; do say "$line."; done
	say "This run gives way; nothing was changed."
	exit 4
}

clock() { date -u -r "$1" +%H:%M:%SZ 2>/dev/null || date -u -d "@$1" +%H:%M:%SZ; }

# taken: the last write failed because the lock is not as expected.
taken() { case $CODE in PreconditionFailed | ConditionalRequestConflict | 412 | 409) return 0 ;; *) return 1 ;; esac; }

# write_lock SECONDS CONDITION VALUE
write_lock() {
	jq -n --arg id "$LOCK_ID" --arg what "$LOCK_WHAT" --arg who "$(id -un 2>/dev/null || echo somebody)@$(hostname 2>/dev/null || echo somewhere)" --argjson seconds "$1" \
		'{id: $id, what: $what, who: $who, until: (if $seconds == 0 then 0 else (now | floor) + $seconds end)}' >"$WORK/lock"
	look s3api put-object --bucket "$(param BucketName)" --key "$LOCK_KEY" --body "$WORK/lock" --content-type application/json "$2" "$3" || return $?
	jq -e '.ETag | type == "string"' <<<"$ANSWER" >/dev/null 2>&1 || { WHY="no ETag in ${ANSWER:0:200}"; return 2; }
	ETAG=$(jq -r .ETag <<<"$ANSWER")
}

# read_lock: WORK/held and ETAG are what is there.
read_lock() {
	look s3api get-object --bucket "$(param BucketName)" --key "$LOCK_KEY" "$WORK/held" || return $?
	ETAG=$(jq -er .ETag <<<"$ANSWER") || { ETAG='' WHY="no ETag in ${ANSWER:0:200}"; return 2; }
	jq -e '(.until | type) == "number" and (.id | type) == "string"' "$WORK/held" >/dev/null 2>&1 && return 0
	WHY="this is no lock: $(head -c 200 "$WORK/held")" CODE=''
	return 2
}

# keep_lock: called at every look of a wait; renews the lock when it is time. 4: it belongs to somebody else by now.
keep_lock() {
	[ -n "$ETAG" ] || return 0
	WAITED=$((WAITED + POLL))
	[ $((WAITED - RENEWED)) -ge "$LOCK_RENEW" ] || return 0
	if ! write_lock "$LOCK_SECONDS" --if-match "$ETAG"; then
		# read_lock finds the ETag of a renewal of which only the answer was lost.
		if taken && read_lock && [ "$(jq -r .id "$WORK/held")" != "$LOCK_ID" ]; then
			ETAG=''
			say "the lock was taken over: $(jq -r '"\(.what) by \(.who)"' "$WORK/held")"
			return 4
		fi
		# Not now; there is time for five more tries before it runs out.
		[ $((WAITED - RENEWED)) -lt $((LOCK_SECONDS - LOCK_RENEW)) ] || { say "the lock could not be renewed"; return 2; }
		return 0
	fi
	RENEWED=$WAITED
}

free_lock() {
	[ -n "$ETAG" ] || return 0
	write_lock 0 --if-match "$ETAG" || say "the lock s3://$(param BucketName)/$LOCK_KEY was not given back; it ends by itself within $((LOCK_SECONDS / 60)) minutes"
	ETAG=''
}
