// Package deploy holds what runs the two binaries on AWS and watches them: CloudFormation templates, the scripts that
// apply them, Prometheus rules and a Grafana dashboard. It has no code of its own; its tests read every file and hold
// it to what the binaries and the documents say.
package deploy
