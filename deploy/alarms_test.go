package deploy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The alarms and rules of monitoring.yaml, evaluated as CloudWatch and EventBridge document it, on series and events of
// ordinary life (swaps, deploys, compactions, a push) and of what each is for.

var none = math.NaN() // no data point

// times is a value n times.
func times(n int, v float64) (out []float64) {
	for range n {
		out = append(out, v)
	}
	return out
}

func then(parts ...[]float64) (out []float64) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// edits is how many servers n passes find behind that are promoting every twelfth time.
func edits(n int) (out []float64) {
	for i := range n {
		behind := 0.0
		if i%12 == 1 {
			behind = 2
		}
		out = append(out, behind)
	}
	return out
}

// passes makes the alarm's data points of what each pass found, one every five seconds.
func passes(t *testing.T, a map[string]any, found []float64) (out []float64) {
	t.Helper()
	for period := range slices.Chunk(found, int(number(t, a["Period"]))/5) {
		switch a["Statistic"] {
		case "Minimum":
			out = append(out, slices.Min(period))
		case "Maximum":
			out = append(out, slices.Max(period))
		case "Sum":
			sum := 0.0
			for _, v := range period {
				sum += v
			}
			out = append(out, sum)
		default:
			t.Fatalf("statistic %v", a["Statistic"])
		}
	}
	return out
}

func number(t *testing.T, v any) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fires tells whether an alarm goes off on a series of one data point a period.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
func fires(t *testing.T, a map[string]any, series []float64) bool {
	t.Helper()
	n := int(number(t, a["EvaluationPeriods"]))
	m := n
	if a["DatapointsToAlarm"] != nil {
		m = int(number(t, a["DatapointsToAlarm"]))
	}
	breaches := func(v float64) bool {
		if math.IsNaN(v) {
			return a["TreatMissingData"] == "breaching"
		}
		switch threshold := number(t, a["Threshold"]); a["ComparisonOperator"] {
		case "GreaterThanOrEqualToThreshold":
			return v >= threshold
		case "GreaterThanThreshold":
			return v > threshold
		case "LessThanThreshold":
			return v < threshold
		}
		t.Fatalf("comparison %v", a["ComparisonOperator"])
		return false
	}
	for end := n; end <= len(series); end++ {
		bad := 0
		for _, v := range series[end-n : end] {
			if breaches(v) {
				bad++
			}
		}
		if bad >= m {
			return true
		}
	}
	return false
}

func TestEachAlarmFiresAndIsQuietInOrdinaryLife(t *testing.T) {
	tp := load(t, monitoringPath, nil)
	alarms := tp.ofType("AWS::CloudWatch::Alarm")
	type lives struct{ bad, ordinary []float64 }
	for name, l := range map[string]lives{
		// Three tasks died; one died, and one more an hour later.
		"TaskCrashLoopAlarm": {[]float64{0, 3}, []float64{0, 1, 0, 0, 0, 0, 0, 1, none}},
		// Nobody ready; a connection that was cut here and there while servers changed.
		"LoadBalancer5xxAlarm": {[]float64{0, 0, 0, 20, 0, 30, 0}, []float64{0, 1, 0, 6, 0, 0, 0, 0, 4, none, none}},
		"Target5xxAlarm":       {[]float64{0, 0, 0, 20, 0, 30, 0}, []float64{0, 1, 0, 6, 0, 0, 0, 0, 4, none, none}},
		// A server of a rolling deployment is unhealthy for a minute.
		"UnhealthyHostsAlarm": {times(6, 1), []float64{0, 1, 0, 1, 1, 0, 0, 1, 0, 0}},
		"NoHealthyHostAlarm":  {[]float64{2, 0, 0}, []float64{2, 1, 3, 4, 2, 2, 0, 2}},
		// The indexer is replaced, and a long build passes for ten minutes; then silence.
		"ReconcileStalledAlarm": {then(times(3, 12), times(15, none)), then(times(20, 12), times(10, 0), times(20, 11))},
		"IndexAgeAlarm":         {then(times(3, 50), times(12, 0)), then(times(12, 50), times(4, 0), times(12, 50))},
		// A swap has two indexes in memory for a minute or two.
		"ServerMemoryAlarm":  {times(5, 93), []float64{50, 50, 92, 95, 50, 50, 50, 91, 50}},
		"IndexerMemoryAlarm": {times(5, 93), []float64{50, 50, 92, 95, 95, 50, 50, 91, 50}},
		"ServerDiskAlarm":    {times(2, 85), []float64{30, 60, 85, 60, 30, none}},
		"IndexerDiskAlarm":   {times(2, 85), []float64{30, 60, 85, 60, 30, none}},
		// What could not be told.
		"EventsNotDeliveredAlarm": {[]float64{0, 1}, []float64{0, none, 0}},
		"NotificationsLostAlarm":  {[]float64{0, 1}, []float64{0, 0, none}},
		// An operator forces a candidate after five minutes.
		"CandidateHeldAlarm": {times(3, 60), []float64{0, 0, 60, 3, 0, 0}},
		// A catalogue that is edited every minute, each time followed a poll later than a pass looked; one server is deployed
		// meanwhile, and a long build passes without a pass.
		"ReplicaBehindAlarm": {
			passes(t, alarms["ReplicaBehindAlarm"], then(times(2*60, 1), times(60, 2))),
			then(passes(t, alarms["ReplicaBehindAlarm"], then(edits(5*30), times(30, 1), edits(5*30))), times(4, none)),
		},
		// The first requests after a deployment.
		"SearchSlowAlarm": {times(10, 2.5), then(times(5, .2), times(4, 3), times(20, .2), times(5, none))},
		"AtMaximumAlarm":  {times(3, 6), []float64{2, 4, 6, 6, 5, 3, 2}},
	} {
		a := alarms[name]
		if a == nil {
			t.Errorf("no %s", name)
			continue
		}
		delete(alarms, name)
		if !fires(t, a, l.bad) {
			t.Errorf("%s is quiet on %v", name, l.bad)
		}
		if fires(t, a, l.ordinary) {
			t.Errorf("%s fires on %v", name, l.ordinary)
		}
	}
	for name := range alarms {
		t.Errorf("%s has no test", name)
	}
	if scales := load(t, monitoringPath, map[string]string{"ServerMin": "3", "ServerMax": "3"}); scales.ofType("AWS::CloudWatch::Alarm")["AtMaximumAlarm"] != nil {
		t.Error("a fixed number of servers would be an alarm")
	}
}

// The failures of every rule are counted by the alarm that tells of them.
func TestTheAlarmOfLostEventsKnowsEveryRule(t *testing.T) {
	tp := load(t, monitoringPath, nil)
	counted := fmt.Sprint(tp.ofType("AWS::CloudWatch::Alarm")["EventsNotDeliveredAlarm"]["Metrics"])
	for name := range tp.ofType("AWS::Events::Rule") {
		if !strings.Contains(counted, "<"+name+">") {
			t.Errorf("%s is not in it", name)
		}
	}
}

// hits tells whether an event matches a pattern, of which this knows lists, prefixes and $or.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
func hits(t *testing.T, pattern map[string]any, event map[string]any) bool {
	t.Helper()
	for key, want := range pattern {
		if key == "$or" {
			one := false
			for _, p := range want.([]any) {
				one = one || hits(t, p.(map[string]any), event)
			}
			if !one {
				return false
			}
			continue
		}
		if nested, ok := want.(map[string]any); ok {
			inner, _ := event[key].(map[string]any)
			if !hits(t, nested, inner) {
				return false
			}
			continue
		}
		found := false
		for _, got := range list(event[key]) {
			for _, w := range want.([]any) {
				if p, ok := w.(map[string]any); ok {
					if len(p) != 1 || p["prefix"] == nil {
						t.Fatalf("%v is not known to this test", p)
					}
					found = found || strings.HasPrefix(fmt.Sprint(got), p["prefix"].(string))
				} else {
					found = found || got == w
				}
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func TestEachRuleHearsItsEventAndNoOther(t *testing.T) {
	task := func(service, code, reason string) string {
		return fmt.Sprintf(`{"source":"aws.ecs","detail-type":"ECS Task State Change","detail":{"group":"service:%s","lastStatus":"STOPPED","stopCode":%q,"stoppedReason":%q}}`, service, code, reason)
	}
	deployment := func(service, name string) string {
		return fmt.Sprintf(`{"source":"aws.ecs","detail-type":"ECS Deployment State Change","resources":["arn:aws:ecs:ap-northeast-1:111122223333:service/vectorstore/%s"],"detail":{"eventName":%q}}`, service, name)
	}
	pipeline := func(name, state string) string {
		return fmt.Sprintf(`{"source":"aws.codepipeline","detail-type":"CodePipeline Pipeline Execution State Change","detail":{"pipeline":%q,"execution-id":"1","state":%q}}`, name, state)
	}
	build := func(name, status string) string {
		return fmt.Sprintf(`{"source":"aws.codebuild","detail-type":"CodeBuild Build State Change","detail":{"project-name":%q,"build-status":%q}}`, name, status)
	}
	rules := load(t, monitoringPath, nil).ofType("AWS::Events::Rule")
	heard := map[string]bool{}
	for event, want := range map[string]string{
		task("vectorstore-server", "EssentialContainerExited", "Essential container in task exited"):                     "TaskStopped",
		task("vectorstore-indexer", "TaskFailedToStart", "CannotPullContainerError"):                                     "TaskStopped",
		task("vectorstore-server", "ServiceSchedulerInitiated", "Task failed container health checks"):                   "TaskStopped",
		task("vectorstore-server", "ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group arn:x)"): "TaskStopped",
		task("vectorstore-server", "ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)"):  "", // a deploy
		task("vectorstore-server", "ServiceSchedulerInitiated", "Scaling activity initiated by deployment ecs-svc/1"):    "",
		task("vectorstore-server", "UserInitiated", "Task stopped by the user"):                                          "",
		task("somebody-else", "EssentialContainerExited", "Essential container in task exited"):                          "",
		deployment("vectorstore-server", "SERVICE_DEPLOYMENT_FAILED"):                                                    "DeploymentFailed",
		deployment("vectorstore-indexer", "SERVICE_DEPLOYMENT_FAILED"):                                                   "DeploymentFailed",
		deployment("vectorstore-server", "SERVICE_DEPLOYMENT_COMPLETED"):                                                 "",
		deployment("vectorstore-server", "SERVICE_DEPLOYMENT_IN_PROGRESS"):                                               "",
		pipeline("vectorstore-pipeline", "FAILED"):                                                                       "PipelineFailed",
		pipeline("vectorstore-pipeline", "STARTED"):                                                                      "",
		pipeline("vectorstore-pipeline", "SUCCEEDED"):                                                                    "",
		pipeline("vectorstore-pipeline", "SUPERSEDED"):                                                                   "", // a push after a push
		pipeline("another", "FAILED"):                                                                                    "",
		build("vectorstore-build", "FAILED"):                                                                             "BuildFailed",
		build("vectorstore-deploy", "TIMED_OUT"):                                                                         "BuildFailed",
		build("vectorstore-build", "SUCCEEDED"):                                                                          "",
		build("vectorstore-build", "IN_PROGRESS"):                                                                        "",
		build("vectorstore-build", "STOPPED"):                                                                            "", // by a person
	} {
		var e map[string]any
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		for name, rule := range rules {
			got := hits(t, rule["EventPattern"].(map[string]any), e)
			if got != (name == want) {
				t.Errorf("%s: %v on %s", name, got, event)
			}
			heard[name] = heard[name] || got
			// Without a path in the event the message is not sent.
			if got {
				for _, path := range dig(t, rule, "Targets", 0, "InputTransformer", "InputPathsMap").(map[string]any) {
					if !strings.HasPrefix(path.(string), "$.detail.") && path != "$.resources[0]" {
						t.Errorf("%s shows %v", name, path)
					}
				}
			}
		}
	}
	for name := range rules {
		if !heard[name] {
			t.Errorf("nothing makes %s speak", name)
		}
	}
	// The names are those of the pipeline's template.
	text := readFile(t, pipelinePath)
	for _, name := range []string{"-pipeline", "-build", "-deploy"} {
		if !strings.Contains(text, "Name: !Sub '${Project}"+name+"'") {
			t.Errorf("the pipeline has no %s", name)
		}
	}
	// EventBridge can always publish: the topic's statement for it has no condition.
	for _, s := range list(dig(t, load(t, corePath, scenarios["from nothing"]).ofType("AWS::SNS::TopicPolicy")["AlarmTopicPolicy"], "PolicyDocument", "Statement")) {
		if s := s.(map[string]any); fmt.Sprint(s["Principal"]) == "map[Service:events.amazonaws.com]" && s["Condition"] == nil {
			return
		}
	}
	t.Error("EventBridge may not be able to publish")
}
