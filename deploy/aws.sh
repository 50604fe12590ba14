# Sourced by the scripts beside it: parameters, the account check, and AWS errors in plain words.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
usage_error() { say "error: $*"; say "Try: $0 --help"; exit 2; }

need() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || die "$tool is not installed"
	done
}

# load_params FILE: sets REGION, ACCOUNT, PARAMS, and PARAM[name] for every value of the file.
declare -A PARAM
load_params() {
	local name value
	PARAMS=$1
	[ -r "$PARAMS" ] || usage_error "cannot read the parameters file $PARAMS"
	jq -e '.Region and .AccountId and .CoreStack and .Parameters.Project' "$PARAMS" >/dev/null 2>&1 ||
		die "$PARAMS is not a parameters file: it needs Region, AccountId, CoreStack and Parameters.Project"
	while IFS=$'\t' read -r name value; do PARAM[$name]=$value; done < <(
		jq -r '((.Present // {} | with_entries(.key |= "Present." + .)) + .Parameters
			+ {Region, AccountId, CoreStack, PipelineStack}) | to_entries[] | "\(.key)\t\(.value // "")"' "$PARAMS")
	REGION=${PARAM[Region]}
	ACCOUNT=${PARAM[AccountId]}
}

# param NAME [DEFAULT]: a value from the file.
param() { printf '%s\n' "${PARAM[$1]-${2-}}"; }

# run_aws ARGS…: the CLI in our region. Its stderr is kept and explained, its stdout passed on.
run_aws() {
	local err status=0
	err=$(mktemp)
	aws --region "$REGION" --output json "$@" 2>"$err" || status=$?
	if [ "$status" -ne 0 ]; then
		explain "$(cat "$err")" "$1 $2"
	fi
	rm -f "$err"
	return "$status"
}

# explain TEXT COMMAND: what the error means and what to do, then the original line.
explain() {
	local text=$1 what=$2
	case $text in
	*ExpiredToken* | *"token included in the request is expired"*)
		say "aws $what: your AWS session has expired. Sign in again (aws sso login, or new keys) and repeat." ;;
	*"Unable to locate credentials"* | *NoCredentials* | *InvalidClientTokenId* | *UnrecognizedClient*)
		say "aws $what: no valid AWS credentials. Set AWS_PROFILE or sign in, then repeat." ;;
	*AccessDenied* | *"not authorized to perform"* | *UnauthorizedOperation*)
		say "aws $what: you are signed in, but not allowed to do this. Ask for the permission that the line below names." ;;
	*ClusterNotFound*)
		say "aws $what: there is no such ECS cluster. Compare ClusterName in $PARAMS with: aws ecs list-clusters" ;;
	*ServiceNotFound* | *ServiceNotActive*)
		say "aws $what: there is no such running ECS service. Has the core stack been deployed?" ;;
	*RepositoryNotFound*)
		say "aws $what: there is no such ECR repository. Compare RepositoryName in $PARAMS." ;;
	*ImageNotFound*)
		say "aws $what: the repository has no image with this tag." ;;
	*Throttling* | *"Rate exceeded"*)
		say "aws $what: AWS asks us to slow down. Wait a minute and repeat; nothing needs to be undone." ;;
	*"Could not connect"* | *EndpointConnectionError* | *"timed out"*)
		say "aws $what: AWS cannot be reached from here. Check network, proxy and Region in $PARAMS." ;;
	*) say "aws $what failed:" ;;
	esac
	say "  ${text##$'\n'}"
}

# check_account: refuses to work in another account than the file's.
check_account() {
	local account
	account=$(run_aws sts get-caller-identity | jq -r .Account) || exit 1
	[ "$account" = "$ACCOUNT" ] || die "you are signed in to account $account, but $PARAMS is for $ACCOUNT"
}
