package filter

import (
	"math"
	"strings"
	"time"
)

// moment is a date, or a date with a time, of ISO 8601 as records spell them: 2026-03-31, 2026-03-31T09:30,
// 2026-03-31 09:30:15.5+09:00, …Z.
//
// What has no zone is compared as it is written, with whatever zone the other side has; two that have one are compared as
// instants. A bound without a time is the whole day: lte 2026-03-31 takes its evening too, gt begins with the next day.
type moment struct {
	local   float64 // as written, in seconds since 1970-01-01T00:00 of the same zone
	offset  float64 // of the zone, in seconds east of UTC
	zoned   bool
	dayOnly bool
}

const day = 24 * 3600

// maxApart is how far apart one instant can be written: zones lie from 12 hours west to 14 hours east.
const maxApart = 26 * 3600

// parseMoment reads a folded text.
func parseMoment(s string) (m moment, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return m, false
	}
	date, err := time.Parse("2006-01-02", s[:10])
	if err != nil {
		return m, false
	}
	m.local = float64(date.Unix())
	clock := s[10:]
	if clock == "" {
		m.dayOnly = true
		return m, true
	}
	if clock[0] != 't' && clock[0] != ' ' {
		return m, false
	}
	clock = clock[1:]
	if at := strings.IndexAny(clock, "z+-"); at >= 0 {
		if m.offset, m.zoned = parseZone(clock[at:]); !m.zoned {
			return m, false
		}
		clock = clock[:at]
	}
	for _, layout := range [...]string{"15:04", "15:04:05"} { // a fraction may follow the seconds
		if t, err := time.Parse(layout, clock); err == nil {
			m.local += t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
			return m, true
		}
	}
	return m, false
}

func parseZone(s string) (offset float64, ok bool) {
	if s == "z" {
		return 0, true
	}
	for _, layout := range [...]string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, s); err == nil {
			_, seconds := t.Zone()
			return float64(seconds), seconds >= -12*3600 && seconds <= 14*3600
		}
	}
	return 0, false
}

// period is what lies within all of its limits.
type period struct{ limits []limit }

// limit is the first moment of a period, or the last.
type limit struct {
	moment
	first bool
}

func (p *period) narrow(op string, m moment) {
	l := limit{m, op == "gt" || op == "gte"}
	switch {
	case op == "gt" && m.dayOnly:
		l.local += day
	case op == "lte" && m.dayOnly:
		l.local = math.Nextafter(m.local+day, math.Inf(-1))
	case op == "gt":
		l.local = math.Nextafter(m.local, math.Inf(1))
	case op == "lt":
		l.local = math.Nextafter(m.local, math.Inf(-1))
	}
	p.limits = append(p.limits, l)
}

func (p *period) holds(m moment) bool {
	for _, l := range p.limits {
		x, y := m.local, l.local
		if m.zoned && l.zoned {
			x, y = x-m.offset, y-l.offset
		}
		if l.first && x < y || !l.first && x > y {
			return false
		}
	}
	return true
}

// reach is the range of local times of which some may lie within, when slack is maxApart, or of which all do, when it is
// -maxApart: zones are not known.
func (p *period) reach(slack float64) (lo, hi float64) {
	lo, hi = math.Inf(-1), math.Inf(1)
	for _, l := range p.limits {
		apart := slack
		if !l.zoned {
			apart = 0
		}
		if l.first {
			lo = max(lo, l.local-apart)
		} else {
			hi = min(hi, l.local+apart)
		}
	}
	return lo, hi
}
