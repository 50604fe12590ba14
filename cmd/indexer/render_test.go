package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// now is when every table of this test is printed.
var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

const (
	served = "20260304T050000Z-1a2b3c4d"
	older  = "20260303T050000Z-99887766"
	heldID = "20260304T050500Z-5e6f7a8b"
)

func exampleStatus() statusReport {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	condition := func(kind, status, reason, message string, d time.Duration) store.Condition {
		return store.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: ago(d), ObservedGeneration: 12}
	}
	p := store.Pointer{Kind: store.KindPointer, Generation: 12, Epoch: 3, PromotedAt: ago(6 * time.Minute), Reason: "source changed"}
	p.ID, p.Stats.Vectors = served, 92
	return statusReport{Status: store.Status{
		FormatVersion: 1, Epoch: 3, Host: "task-7f", At: ago(4 * time.Minute), Pointer: &p, Held: heldID,
		Conditions: []store.Condition{
			condition("Ready", "True", "Serving", "", 6*time.Minute),
			condition("SourceReady", "True", "Read", "vectorstore/prod/vendors.json, 37 records", 72*time.Hour),
			condition("Held", "True", "RemovedTooMany", "removed 55 of 92 (59.8 %), limit 50 %", 67*time.Second),
			condition("Suspended", "False", "NotSuspended", "", 3*time.Hour),
			condition("Leader", "True", "LeaseHeld", "epoch 3", 3*time.Hour),
		},
		LastPass: store.Pass{ID: "ab12", Result: "held", StartedAt: ago(5 * time.Second), Seconds: 0.8},
		Replicas: []store.Replica{
			{Heartbeat: store.Heartbeat{ID: "ip-10-0-1-5", Using: served, LoadedAt: ago(5 * time.Minute)}, AgeSeconds: 3, State: "current"},
			{Heartbeat: store.Heartbeat{ID: "ip-10-0-2-9", Using: older, LoadedAt: ago(25 * time.Hour), Rejected: &store.Rejection{ID: served, Reason: "memory", Message: "needs 310 MiB beside 300 MiB of 512 MiB"}}, AgeSeconds: 8, State: "behind"},
		},
	}, Leader: reconcile.Leadership{Host: "task-7f", Epoch: 3, Alive: true, AgeSeconds: 11, PassedAt: ago(2 * time.Second)}}
}

func exampleDetail() reconcile.SnapshotDetail {
	d := reconcile.SnapshotDetail{State: "held", ManifestSHA256: strings.Repeat("ab", 32), URL: "s3://bucket/vectorstore/prod/" + heldID + "/"}
	d.Manifest = store.Manifest{
		ID: heldID, CreatedAt: now.Add(-time.Minute), Builder: "vectorstore v1.2.0 (abc)", BuiltEpoch: 3,
		Source: store.Source{Key: "vectorstore/prod/vendors.json", Records: 37, SHA256: strings.Repeat("01", 32)},
		Spec:   snapshot.Spec{Embedding: snapshot.Embedding{Provider: "local", Model: "local-ngram-v1", Dims: 512, Version: "1"}, IndexKind: "auto"},
		Index:  snapshot.IndexParams{Kind: "flat"},
		Files:  []snapshot.File{{Name: "index.faiss", Size: 75821, SHA256: strings.Repeat("cd", 32)}},
		Stats:  store.Stats{Vectors: 37, Removed: 55, Unchanged: 37, Reused: 37},
		Gate: &store.GateReport{Result: "held", Checks: []store.GateCheck{
			{Name: "recall", Result: "passed", Value: 1, Limit: 0.95},
			{Name: "removed", Result: "held", Value: 0.5978, Limit: 0.5, Message: "removed 55 of 92"},
		}},
	}
	return d
}

// TestTablesReadAsBefore compares every table with a golden file; -update writes them, to be looked at in the diff.
func TestTablesReadAsBefore(t *testing.T) {
	diff := reconcile.Diff{From: older, To: served, Added: []string{"V-093"}, Removed: []string{"V-001", "V-002"},
		Changed: []reconcile.RecordChange{{ID: "V-010", Fields: []string{"basic_info.description", "score_num"}}}}
	plan := reconcile.PlanReport{Source: store.Source{Key: "vectorstore/prod/vendors.json"}, Baseline: served, Plan: "stop: held: 1432 tokens are above MAX_EMBED_TOKENS=1000",
		Delta:  reconcile.Delta{Records: 93, Added: 1, Changed: 4, Unchanged: 88, Texts: 5, Reused: 88, Tokens: 1432, Cost: 0.00002864},
		Budget: 1000, Held: "1432 tokens are above MAX_EMBED_TOKENS=1000"}
	rows := []reconcile.SnapshotRow{
		{ID: heldID, CreatedAt: now.Add(-time.Minute), Vectors: 37, State: "held", Bytes: 180_000, Index: "flat", Kind: reconcile.KindFull, Reason: "removed 55 of 92"},
		{ID: served, CreatedAt: now.Add(-6 * time.Minute), Vectors: 92, State: "current", Bytes: 4_400, Index: "flat", Kind: reconcile.KindDelta, Base: older, Rows: 3, Reason: "source changed"},
		{ID: older, CreatedAt: now.Add(-24 * time.Hour), Vectors: 91, State: "previous", Bytes: 438_111, Index: "flat", Kind: reconcile.KindBase},
	}
	quiet := exampleStatus()
	quiet.Held, quiet.Replicas, quiet.Conditions = "", quiet.Replicas[:1], quiet.Conditions[:2]
	moved, to := exampleStatus(), *exampleStatus().Pointer
	to.ID, to.Generation, to.PromotedAt, to.Reason = older, 13, now.Add(-2*time.Second), "rollback"
	moved.moved = &to
	for name, c := range map[string]struct {
		value any
		table func(io.Writer)
	}{
		"status":       {exampleStatus(), func(w io.Writer) { printStatus(w, exampleStatus(), now) }},
		"status-quiet": {quiet, func(w io.Writer) { printStatus(w, quiet, now) }},
		"status-moved": {moved, func(w io.Writer) { printStatus(w, moved, now) }},
		"list":         {rows, func(w io.Writer) { printList(w, rows, now) }},
		"show":         {exampleDetail(), func(w io.Writer) { printSnapshot(w, exampleDetail(), now) }},
		"diff":         {diff, func(w io.Writer) { printDiff(w, diff) }},
		"plan":         {plan, func(w io.Writer) { printPlan(w, plan) }},
	} {
		for _, format := range []string{"table", "json"} {
			t.Run(name+"."+format, func(t *testing.T) {
				var got bytes.Buffer
				if err := (output{format}).print(&got, c.value, c.table); err != nil {
					t.Fatal(err)
				}
				if format == "json" && !json.Valid(got.Bytes()) {
					t.Fatalf("not JSON: %s", got.Bytes())
				}
				goldenFile(t, name+"."+format, got.Bytes())
			})
		}
	}
}

func goldenFile(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got, -update accepts):\n%s", name, d)
	}
}

func TestAHealthyStatusNeedsNoNextStep(t *testing.T) {
	s := exampleStatus()
	s.Held, s.Replicas, s.Conditions = "", nil, s.Conditions[:2]
	if steps := nextSteps(s); len(steps) != 0 {
		t.Errorf("steps %q", steps)
	}
	if steps := nextSteps(exampleStatus()); len(steps) != 2 || !strings.Contains(steps[0], "promote "+heldID+" --force") {
		t.Errorf("steps %q", steps)
	}
	s.Leader.Alive = false
	if steps := nextSteps(s); len(steps) != 1 || !strings.Contains(steps[0], "indexer run") {
		t.Errorf("nobody leads: %q", steps)
	}
}
