#!/usr/bin/env bash
# Compares what exists in the account with a parameters file. Reads only: every call is a describe, get, head or list.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/aws.sh"

help() {
	cat <<'TEXT'
usage: deploy/adopt.sh --params FILE [--fill]

Prints one line per thing: ok, info, missing or differs, what it is, and what was found.
--fill prints FILE instead, with the <…> values that could be looked up filled in, and the lines on stderr.
exit codes: 0 nothing in the way, 1 something is missing or differs, 2 wrong usage
TEXT
}

OUT=1
BAD=0
row() {
	case $1 in missing | differs) BAD=1 ;; esac
	printf '%-8s %-28s %s\n' "$1" "$2" "$3" >&"$OUT"
}

# ask ARGS…: look; FOUND keeps how it ended, for absent.
FOUND=0
ask() {
	FOUND=0
	look "$@" || FOUND=$?
	return "$FOUND"
}
get() { jq -r "$1" <<<"$ANSWER"; }

# absent WHAT WANTED: a row for something that ask did not find. WANTED is yes when the stack makes it itself. That AWS
# did not answer is no sign of absence.
absent() {
	local line
	line=$(grep -v '^$' <<<"$WHY" | tail -n 1) || line=''
	case $FOUND$CODE in
	2AccessDenied* | 2UnauthorizedOperation | 2403) row differs "$1" "not allowed to look: $line" ;;
	2*) row differs "$1" "could not look, so nothing is known: $line" ;;
	*) if [ "$2" = yes ]; then row info "$1" "not there; the stack makes it"; else row missing "$1" "${line:-not there}"; fi ;;
	esac
}

network() {
	local id vpc seen='' unseen=''
	vpc=$(param VpcId)
	if ask ec2 describe-vpcs --vpc-ids "$vpc" && [ "$(get '.Vpcs | length')" = 1 ]; then row ok "VPC" "$vpc $(get '.Vpcs[0].CidrBlock')"; else absent "VPC" no; fi
	TASK_CIDRS=''
	for id in $(param LoadBalancerSubnetIds | tr , '\n') $(param TaskSubnetIds | tr , '\n'); do
		case " $seen " in *" $id "*) continue ;; esac
		seen="$seen $id"
		if ! ask ec2 describe-subnets --subnet-ids "$id" || [ "$(get '.Subnets | length')" != 1 ]; then
			absent "subnet" no
			unseen=yes
		elif [ "$(get '.Subnets[0].VpcId')" = "$vpc" ]; then
			row ok "subnet" "$id $(get '.Subnets[0] | "\(.AvailabilityZone) \(.CidrBlock)"')"
			case ",$(param TaskSubnetIds)," in *",$id,"*) TASK_CIDRS="$TASK_CIDRS $(get '.Subnets[0].CidrBlock')" ;; esac
		else row differs "subnet" "$id belongs to $(get '.Subnets[0].VpcId')"; fi
	done
	[ -z "$unseen" ] || TASK_CIDRS=unknown
	if ask ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$vpc"; then
		row info "VPC endpoints" "$(get '.VpcEndpoints | length') there, shared: nothing here touches them"
		endpoints "$(get '.VpcEndpoints[] | select(.VpcEndpointType == "Interface" and .PrivateDnsEnabled)
			| "\(.ServiceName | split(".")[3:] | join(".")) \([.Groups[]?.GroupId] | join(","))"')"
	else
		absent "VPC endpoints" no
	fi
}

# endpoints "SERVICE GROUPS" a line: an interface endpoint with private DNS answers for the service's name in the whole VPC,
# so that its security groups must admit the tasks, whatever other way out these have.
endpoints() {
	local service ids task needed=,ecr.api,ecr.dkr,s3,logs,secretsmanager,kms,bedrock-runtime,
	[ -n "$1" ] || return 0
	task=$(param ExtraSecurityGroupIds)
	if ask cloudformation describe-stack-resources --stack-name "$(param CoreStack)"; then
		task="$task,$(get '[.StackResources[]? | select(.LogicalResourceId == "TaskSecurityGroup") | .PhysicalResourceId][0] // ""')"
	elif [ "$FOUND" -eq 2 ]; then
		absent "group of the tasks" no
		return 0
	fi
	while read -r service ids; do
		case $needed in *",$service,"*) ;; *) continue ;; esac
		# shellcheck disable=SC2086 # one word each
		if ! ask ec2 describe-security-groups --group-ids ${ids//,/ }; then absent "endpoint $service" no
		elif [ "$(jq --arg cidrs "${TASK_CIDRS#unknown}" --arg groups "$task" '
			def parts: capture("(?<a>\\d+)\\.(?<b>\\d+)\\.(?<c>\\d+)\\.(?<d>\\d+)/(?<n>\\d+)") | map_values(tonumber) | .ip = ((.a * 256 + .b) * 256 + .c) * 256 + .d;
			def within($net): parts as $x | ($net | parts) as $y | $x.n >= $y.n and (($x.ip / pow(2; 32 - $y.n) | floor) == ($y.ip / pow(2; 32 - $y.n) | floor));
			[.SecurityGroups[].IpPermissions[] | select(.IpProtocol == "-1" or (.IpProtocol == "tcp" and .FromPort <= 443 and .ToPort >= 443))] as $rules
			| any($rules[].UserIdGroupPairs[]?.GroupId; . as $g | $groups | split(",") | index($g))
			  or ($cidrs | split(" ") | map(select(. != "")) | length > 0 and all(.[]; . as $c | any($rules[].IpRanges[]?.CidrIp; . as $net | $c | within($net))))' <<<"$ANSWER")" = true ]; then
			row ok "endpoint $service" "$ids admits the tasks"
		elif [ "$TASK_CIDRS" != unknown ]; then # else it may admit the subnet that could not be looked at
			row differs "endpoint $service" "$ids admits neither the subnets nor a group of the tasks, and would keep them from $service: name a group that it admits in ExtraSecurityGroupIds, or have its owner admit TaskSecurityGroupId of the core stack on port 443"
		fi
	done <<<"$1"
}

# priority LISTENER: two rules of a listener cannot have the same.
priority() {
	local wanted taken free mine=''
	wanted=$(param ListenerRulePriority 10)
	case $1 in '' | '<'*) return 0 ;; esac
	if ask cloudformation describe-stack-resources --stack-name "$(param CoreStack)"; then
		mine=$(get '[.StackResources[]? | select(.LogicalResourceId == "HttpRule" or .LogicalResourceId == "HttpsRule") | .PhysicalResourceId // ""] | join(",")')
	elif [ "$FOUND" -eq 2 ]; then
		absent "rule priority" no
		return 0
	fi
	if ! ask elbv2 describe-rules --listener-arn "$1"; then absent "rule priority" no; return 0; fi
	taken=$(jq -r --arg mine "$mine" '[.Rules[] | select(.RuleArn as $r | $mine | split(",") | index($r) | not) | .Priority] | join(" ")' <<<"$ANSWER")
	free=$wanted
	while case " $taken " in *" $free "*) true ;; *) false ;; esac do free=$((free + 1)); done
	if [ "$free" = "$wanted" ]; then row ok "rule priority" "$wanted"
	else row differs "rule priority" "$wanted is taken by another rule: set ListenerRulePriority to $free, which is free"; fi
}

# kms_key WHAT FOUND WANTED: a key of somebody's own has to be known to the stack, whose roles may then use it.
kms_key() {
	local found=$2
	case $found in
	'' | alias/aws/* | *:alias/aws/*) found='' ;;
	*:key/*) ;;
	*)
		if ! ask kms describe-key --key-id "$found"; then absent "$1" no; return 0; fi
		found=$(get '.KeyMetadata | if .KeyManager == "AWS" then "" else .Arn end')
		;;
	esac
	if [ "$found" = "$3" ]; then [ -z "$found" ] || row ok "$1" "$found"
	elif [ -z "$found" ]; then row differs "$1" "there is none, parameters say $3"
	else row differs "$1" "is $found: set $4 to it, and have the key's policy admit the account's roles"; fi
}

load_balancer() {
	local name lb_arn lb_groups group https key
	name=$(param Present_LoadBalancerName)
	[ -n "$name" ] || { row info "load balancer" "the stack makes $(param Project)-alb"; return; }
	if ! ask elbv2 describe-load-balancers --names "$name"; then absent "load balancer" no; return; fi
	lb_arn=$(get '.LoadBalancers[0].LoadBalancerArn')
	# shellcheck disable=SC2034 # --fill reads them by their prefix
	FILL_ExistingLoadBalancerArn=$lb_arn
	FILL_ExistingLoadBalancerDnsName=$(get '.LoadBalancers[0].DNSName')
	# shellcheck disable=SC2034
	FILL_ExistingLoadBalancerZoneId=$(get '.LoadBalancers[0].CanonicalHostedZoneId')
	lb_groups=$(get '.LoadBalancers[0].SecurityGroups | join(",")')
	compare "load balancer" "$lb_arn" "$(param ExistingLoadBalancerArn)"
	compare "its DNS name" "$FILL_ExistingLoadBalancerDnsName" "$(param ExistingLoadBalancerDnsName)"
	compare "its VPC" "$(get '.LoadBalancers[0].VpcId')" "$(param VpcId)"
	group=$(param ExistingLoadBalancerSecurityGroupId)
	case ",$lb_groups," in *",$group,"*) row ok "its security group" "$group" ;; *) row differs "its security group" "has $lb_groups, parameters say $group" ;; esac
	ask elbv2 describe-listeners --load-balancer-arn "$lb_arn" || { absent "listener :80" no; return; }
	FILL_ExistingHttpListenerArn=$(get '[.Listeners[] | select(.Port == 80) | .ListenerArn][0] // ""')
	FILL_ExistingHttpsListenerArn=$(get '[.Listeners[] | select(.Port == 443) | .ListenerArn][0] // ""')
	https=$(param ExistingHttpsListenerArn)
	# A rule of a listener that redirects to HTTPS would take its traffic without HTTPS, and none of what is redirected.
	if [ -n "$https" ]; then
		row info "listener :80" "left alone: the rule goes to :443"
	elif [ "$(get '[.Listeners[] | select(.Port == 80) | .DefaultActions[]? | select(.Type == "redirect")] | length')" != 0 ] && [ -n "$FILL_ExistingHttpsListenerArn" ]; then
		row differs "listener :80" "it redirects to :443. Set ExistingHttpsListenerArn to $FILL_ExistingHttpsListenerArn and DomainName to the name that people use"
	elif [ -n "$FILL_ExistingHttpListenerArn" ]; then
		compare "listener :80" "$FILL_ExistingHttpListenerArn" "$(param ExistingHttpListenerArn)"
	else
		row missing "listener :80" "the load balancer has none"
	fi
	if [ -z "$FILL_ExistingHttpsListenerArn" ]; then
		if [ -z "$https" ]; then row info "listener :443" "none; the stack makes it when DomainName is set"
		else row missing "listener :443" "the load balancer has none, parameters say $https"; fi
	elif [ -n "$https" ]; then
		compare "listener :443" "$FILL_ExistingHttpsListenerArn" "$https"
		[ -n "$(param DomainName)" ] || row differs "DomainName" "is empty: set it to a name of the certificate of :443"
	elif [ -n "$(param DomainName)" ]; then
		row differs "listener :443" "there already, DomainName would make another: set ExistingHttpsListenerArn to $FILL_ExistingHttpsListenerArn"
	else
		row info "listener :443" "there already: to use it, set ExistingHttpsListenerArn to $FILL_ExistingHttpsListenerArn, and DomainName"
	fi
	for key in DomainName AllowedOrigins; do
		case $(param "$key") in '<'*) row info "$key" "for you to fill in: $(param "$key")" ;; esac
	done
	if [ -n "$https" ]; then priority "$FILL_ExistingHttpsListenerArn"; else priority "$FILL_ExistingHttpListenerArn"; fi
}

# compare WHAT FOUND WANTED: a <placeholder> in the file is not a difference, --fill replaces it.
compare() {
	case $3 in
	"$2") row ok "$1" "$2" ;;
	'<'*) row info "$1" "$2 (to be filled in)" ;;
	*) row differs "$1" "is $2, parameters say ${3:-nothing}" ;;
	esac
}

cluster() {
	local name wanted old
	name=$(param ClusterName) wanted=$(param CreateCluster yes)
	if ask ecs describe-clusters --clusters "$name" --include SETTINGS && [ "$(get '[.clusters[] | select(.status == "ACTIVE")] | length')" = 1 ]; then
		present "cluster" "$name" "$wanted"
		if [ "$(get '[.clusters[0].settings[]? | select(.name == "containerInsights" and .value != "disabled")] | length')" = 0 ]; then
			row info "container insights" "off: the disk alarms stay silent until: aws ecs update-cluster-settings --cluster $name --settings name=containerInsights,value=enabled"
		fi
	else
		# Something else than a word about the cluster is no sign of absence.
		[ "$FOUND" -ne 0 ] || [ "$(get 'any(.failures[]?; .reason == "MISSING") or any(.clusters[]?; .status == "INACTIVE")')" = true ] || FOUND=2
		absent "cluster" "$wanted"
	fi
	old=$(param Present_Service)
	[ -n "$old" ] || return 0
	if ask ecs describe-services --cluster "$name" --services "$old" && [ "$(get '[.services[]? | select(.status == "ACTIVE")] | length')" = 1 ]; then
		row info "old service" "$old runs $(get '.services[0] | "\(.runningCount) of \(.desiredCount), \(.taskDefinition | split("/") | last)"'); it is left alone"
		compare "its subnets" "$(get '[.services[0].networkConfiguration.awsvpcConfiguration.subnets[]?] | sort | join(",")')" "$(param TaskSubnetIds | tr , '\n' | sort | paste -sd,)"
		compare "its public address" "$(get '.services[0].networkConfiguration.awsvpcConfiguration.assignPublicIp // "DISABLED"')" "$(param AssignPublicIp)"
	elif [ "$FOUND" -eq 2 ]; then
		absent "old service" no
	else
		row info "old service" "$old is not active"
	fi
}

# present WHAT NAME MADE: exists; wrong when the stack is told to make it.
present() {
	if [ "$3" = yes ]; then row differs "$1" "$2 exists, but the parameters tell the stack to make it"; else row ok "$1" "$2"; fi
}

bucket() {
	local name wanted source
	name=$(param BucketName) wanted=$(param CreateBucket yes)
	if ! ask s3api get-bucket-location --bucket "$name"; then absent "bucket" "$wanted"; return; fi
	present "bucket" "$name" "$wanted"
	[ "$(get '.LocationConstraint // "us-east-1"')" = "$REGION" ] || row differs "bucket region" "$(get '.LocationConstraint // "us-east-1"')"
	# The command line prints nothing for a bucket that never had versions.
	if ask s3api get-bucket-versioning --bucket "$name" && [ "$(get '.Status // empty')" = Enabled ]; then row ok "versioning" "enabled"
	elif [ "$WHY" = "the answer is empty" ]; then row differs "versioning" "not enabled, as far as can be seen: $WHY"
	else unlike "versioning" "not enabled"; fi
	if ask s3api get-public-access-block --bucket "$name" && [ "$(get '[.PublicAccessBlockConfiguration[]] | all')" = true ]; then row ok "public access" "blocked"
	else unlike "public access" "not blocked by all four settings"; fi
	if ask s3api get-bucket-encryption --bucket "$name"; then
		row ok "encryption" "$(get '.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm')"
		kms_key "key of the bucket" "$(get '.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.KMSMasterKeyID // ""')" "$(param BucketKmsKeyArn)" BucketKmsKeyArn
	else unlike "encryption" "no default"; fi
	if [ "$(param ManageBucketPolicy yes)" = yes ]; then
		if ask s3api get-bucket-policy --bucket "$name"; then
			row differs "bucket policy" "there is one: merge it with BucketPolicy of data.yaml by hand and set ManageBucketPolicy to no, or remove it"
		elif [ "$FOUND" -eq 2 ]; then
			absent "bucket policy" no
		fi
	fi
	if ask s3api get-bucket-lifecycle-configuration --bucket "$name"; then
		row info "lifecycle" "$(get '.Rules | length') rules; none may expire $(param Prefix)/current/"
	elif [ "$FOUND" -eq 1 ]; then
		row info "lifecycle" "none; deploy/lifecycle.sh prints the rules of data.yaml for an existing bucket"
	else
		absent "lifecycle" no
	fi
	source=$(param SourceKey)
	source=${source:-$(param Prefix vectorstore/prod)/vendors.json}
	if ask s3api head-object --bucket "$name" --key "$source"; then row ok "source" "s3://$name/$source $(get .ContentLength) bytes"
	elif [ "$FOUND" -eq 1 ]; then row info "source" "s3://$name/$source is not there yet"
	else absent "source" no; fi
}

# unlike WHAT TEXT: a row for a setting that was read and is not as it must be, or could not be read.
unlike() {
	if [ "$FOUND" -eq 2 ]; then absent "$1" no; else row differs "$1" "$2"; fi
}

registry_and_secret() {
	local name
	name=$(param RepositoryName)
	if ask ecr describe-repositories --repository-names "$name"; then present "image repository" "$name" "$(param CreateRepository yes)"; else absent "image repository" "$(param CreateRepository yes)"; fi
	name=$(param SecretArn)
	[ -n "$name" ] || return 0
	if ! ask secretsmanager describe-secret --secret-id "$name"; then absent "secret" no; return 0; fi
	row ok "secret" "$(get .Name) (its value is not read)"
	kms_key "key of the secret" "$(get '.KmsKeyId // ""')" "$(param SecretKmsKeyArn)" SecretKmsKeyArn
}

delivery() {
	local name
	name=$(param Present_CodeBuildProject)
	if [ -z "$name" ]; then :
	elif ! ask codebuild batch-get-projects --names "$name"; then absent "old build project" no
	elif [ "$(get '.projects | length')" = 1 ]; then
		case "$(get '.projects[0].source.buildspec // ""')" in
		*version:*) row info "old build project" "$name still uses an inline buildspec, so it ignores buildspec.yml; the pipeline stack has its own project" ;;
		*) row info "old build project" "$name; the pipeline stack has its own" ;;
		esac
	fi
	if ask codestar-connections list-connections --provider-type-filter GitHub; then
		FILL_ConnectionArn=$(get '[.Connections[] | select(.ConnectionStatus == "AVAILABLE") | .ConnectionArn] | if length == 1 then .[0] else "" end')
		if [ -n "$FILL_ConnectionArn" ]; then compare "GitHub connection" "$FILL_ConnectionArn" "$(param ConnectionArn)"
		else row info "GitHub connection" "$(get '[.Connections[] | select(.ConnectionStatus == "AVAILABLE")] | length') available; make or choose one in the console and write its ARN into the file"; fi
	else
		absent "GitHub connection" no
	fi
	for name in "$(param DataStack "$(param Project)-data")" "$(param CoreStack)" "$(param MonitoringStack "$(param Project)-monitoring")" "$(param PipelineStack)"; do
		[ -n "$name" ] || continue
		if ask cloudformation describe-stacks --stack-name "$name"; then row info "stack $name" "$(get '.Stacks[0].StackStatus')"
		elif [ "$FOUND" -eq 1 ]; then row info "stack $name" "not there yet"
		else absent "stack $name" no; fi
	done
}

main() {
	local file='' fill='' key found
	while [ $# -gt 0 ]; do
		case $1 in
		--params) file=$(value "$@") || exit 2; shift ;;
		--fill) fill=yes OUT=2 ;;
		-h | --help) help; exit 0 ;;
		*) usage_error "unknown argument $1" ;;
		esac
		shift
	done
	[ -n "$file" ] || usage_error "--params FILE is missing"
	need jq
	load_params "$file"
	need aws
	check_account
	row ok "account" "$ACCOUNT, $REGION"
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
	network
	load_balancer
	cluster
	bucket
	registry_and_secret
	delivery
	if [ -n "$fill" ]; then
		cp "$PARAMS" "$WORK/filled"
		for found in ${!FILL_*}; do
			key=${found#FILL_}
			[ -n "${!found}" ] || continue
			jq --arg key "$key" --arg value "${!found}" 'if (.Parameters[$key] // "") | startswith("<") then .Parameters[$key] = $value else . end' "$WORK/filled" >"$WORK/next"
			mv "$WORK/next" "$WORK/filled"
		done
		cat "$WORK/filled"
	fi
	exit "$BAD"
}
main "$@"
