# Sourced by the scripts beside it: parameters, the account check, and AWS's answers judged by their structure.
# shellcheck shell=bash disable=SC2034

# Every return here says its status: within a trap, a bare one gives that of the command before the trap.

# A terminal that is gone must not end a script that is putting something back.
say() { printf '%s\n' "$*" >&2 || true; }
die() { say "error: $*"; exit 1; }
usage_error() { say "error: $*"; say "Try: $0 --help"; exit 2; }

need() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || die "$tool is not installed"
	done
}

# value OPTION VALUE…: the option's value, or wrong usage.
value() {
	if [ -z "${2-}" ]; then usage_error "$1 needs a value"; fi
	printf '%s\n' "$2"
}

# seconds NAME VALUE: refuses what is not a whole number of seconds above 0.
seconds() {
	case $2 in '' | *[!0-9]* | 0* | ???????*) usage_error "$1 must be a whole number from 1 to 999999, not \"$2\"" ;; esac
}

# load_params FILE: sets REGION, ACCOUNT, PARAMS, and a variable for every value of the file, which param reads.
load_params() {
	local name value
	PARAMS=$1
	[ -r "$PARAMS" ] || usage_error "cannot read the parameters file $PARAMS"
	jq -e '.Region and .AccountId and .CoreStack and .Parameters.Project' "$PARAMS" >/dev/null 2>&1 ||
		die "$PARAMS is not a parameters file: it needs Region, AccountId, CoreStack and Parameters.Project"
	while IFS=$'\t' read -r name value; do
		case $name in *[!A-Za-z0-9_]*) die "$PARAMS: \"$name\" is no name of a parameter" ;; esac
		printf -v "PARAM_$name" %s "$value"
	done < <(
		jq -r '((.Present // {} | with_entries(.key |= "Present_" + .)) + .Parameters
			+ (del(.Present, .Parameters, .Settings))) | to_entries[] | "\(.key)\t\(.value // "")"' "$PARAMS")
	REGION=$(param Region)
	ACCOUNT=$(param AccountId)
}

# param NAME [DEFAULT]: a value from the file.
param() {
	local name=PARAM_$1
	printf '%s\n' "${!name-${2-}}"
}

# look ARGS…: asks AWS. What decides is the form of the answer, never the absence of one:
#   0  ANSWER is the JSON object that AWS sent
#   1  AWS says that there is no such thing
#   2  no answer to rely on: refused, throttled, cut off, empty, or not from AWS at all
# ASKED is what was asked, CODE the service's error code, when there is one, and WHY the text of the error.
look() {
	local status=0 err form='An error occurred \(([A-Za-z0-9._-]+)\)'
	err=$(mktemp)
	ASKED="$1 $2"
	ANSWER=$(aws --region "$REGION" --output json --cli-connect-timeout 10 --cli-read-timeout 60 "$@" 2>"$err") || status=$?
	WHY=$(<"$err") CODE=''
	rm -f "$err"
	if [ "$status" -eq 0 ]; then
		# Whoever reads a field of it finds out whether it is whole.
		case $ANSWER in
		'{'*'}') return 0 ;;
		'') WHY="the answer is empty" ;;
		*) WHY="this is no answer of AWS: ${ANSWER:0:200}" ;;
		esac
		return 2
	fi
	[[ $WHY =~ $form ]] && CODE=${BASH_REMATCH[1]}
	case $CODE in
	404 | *NotFound | *NotFoundException | *NotFoundError | NoSuch*) return 1 ;;
	# CloudFormation has no code of its own for it; the AWS command line tells a new stack by the same words.
	ValidationError) case $WHY in *"Stack with id "*" does not exist"*) return 1 ;; esac ;;
	esac
	return 2
}

# must ARGS…: look for what has to be there; anything else is explained and an error.
must() {
	local status=0
	look "$@" || status=$?
	[ "$status" -eq 0 ] || explain "$1 $2"
	return "$status"
}

# explain COMMAND: what the last error means and what to do, then the original line.
explain() {
	case $CODE in
	ExpiredToken*) say "aws $1: your AWS session has expired. Sign in again (aws sso login, or new keys) and repeat." ;;
	InvalidClientTokenId | UnrecognizedClient*) say "aws $1: no valid AWS credentials. Set AWS_PROFILE or sign in, then repeat." ;;
	AccessDenied* | UnauthorizedOperation | 403)
		say "aws $1: you are signed in, but not allowed to do this. Ask for the permission that the line below names." ;;
	ClusterNotFound*) say "aws $1: there is no such ECS cluster. Compare ClusterName in $PARAMS with: aws ecs list-clusters" ;;
	ServiceNotFound* | ServiceNotActive*) say "aws $1: there is no such running ECS service. Has the core stack been deployed?" ;;
	RepositoryNotFound*) say "aws $1: there is no such ECR repository. Compare RepositoryName in $PARAMS." ;;
	ImageNotFound*) say "aws $1: the repository has no image with this tag." ;;
	Throttl* | TooManyRequests* | RequestLimitExceeded | SlowDown)
		say "aws $1: AWS asks us to slow down. Wait a minute and repeat." ;;
	*) case $WHY in
		*"Unable to locate credentials"*) say "aws $1: no valid AWS credentials. Set AWS_PROFILE or sign in, then repeat." ;;
		*"Could not connect"* | *"timed out"* | *"timeout on endpoint"*)
			say "aws $1: AWS cannot be reached from here. Check network, proxy and Region in $PARAMS." ;;
		*) say "aws $1 failed:" ;;
		esac ;;
	esac
	say "  ${WHY##$'\n'}"
}

# check_account: refuses to work in another account than the file's.
check_account() {
	local account
	must sts get-caller-identity || exit 1
	account=$(jq -r '.Account // "unknown"' <<<"$ANSWER")
	[ "$account" = "$ACCOUNT" ] || die "you are signed in to account $account, but $PARAMS is for $ACCOUNT"
}
