package main

import (
	"testing"
	"time"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"2026-03-04T04:06:07Z": time.Hour, "2026-03-04T13:06:07+09:00": time.Hour, "1h": time.Hour, "1h ago": time.Hour,
		"90m": 90 * time.Minute, "3d": 72 * time.Hour, "3d ago": 72 * time.Hour, "0s": 0,
	} {
		if got, err := moment(s, now); err != nil || !got.Equal(now.Add(-want)) {
			t.Errorf("%q is %s, %v; want %s ago", s, got, err, want)
		}
	}
	for _, s := range []string{"", "ago", "yesterday", "-1h", "-1d", "1x", "99999d", "2026-03-04"} {
		if got, err := moment(s, now); err == nil {
			t.Errorf("%q is taken for %s", s, got)
		}
	}
}
