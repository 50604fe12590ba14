package langchain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a zone's offset must not depend on what the machine has installed
	"unicode/utf8"
)

// Python values that metadata holds in practice and JSON does not have: dates and times, decimals, UUIDs, paths, and what
// NumPy and pandas put into a row. Their pickles are a call of a known class with plain arguments; the call is read,
// never made. All become strings, numbers or null.

// scalar is such a value: what it was, and what stands for it in JSON.
type scalar struct {
	from  class
	value any // nil, string, bool, int64, *big.Int, float64 or time.Duration
}

// Values that only serve to make another one.
type (
	pyBytes []byte
	zone    struct { // of a datetime
		name   string // of the IANA database, "" for a fixed offset
		offset time.Duration
	}
	dtype struct { // of a NumPy scalar
		kind  byte
		size  int
		order binary.ByteOrder
		unit  string // of datetime64 and timedelta64
		every int64  // so many units are one
	}
	method class // a method of a class, for zoneinfo.ZoneInfo._unpickle
)

const (
	classUUID     class = "uuid.UUID"
	classZone     class = "zoneinfo.ZoneInfo"
	classGetattr  class = "builtins.getattr"
	classOrdered  class = "collections.OrderedDict"
	classDelta    class = "datetime.timedelta"
	classTimezone class = "datetime.timezone"
	classDtype    class = "numpy.dtype"
	notFinite     class = "NaN or infinite"
)

// calls reads the arguments of each known class. The result is a scalar or one of the helper types above.
var calls = map[class]func(args tuple) (any, error){
	"datetime.datetime":       readDatetime,
	"datetime.date":           readDate,
	"datetime.time":           readTime,
	classDelta:                readDelta,
	classTimezone:             readTimezone,
	"decimal.Decimal":         readString,
	"pathlib.PosixPath":       joined("/"),
	"pathlib.PurePosixPath":   joined("/"),
	"pathlib.WindowsPath":     joined(`\`),
	"pathlib.PureWindowsPath": joined(`\`),

	"pathlib._local.PosixPath":       joined("/"), // Python 3.13
	"pathlib._local.PurePosixPath":   joined("/"),
	"pathlib._local.WindowsPath":     joined(`\`),
	"pathlib._local.PureWindowsPath": joined(`\`),

	classDtype:                      readDtype,
	"numpy.core.multiarray.scalar":  readNumpy, // NumPy 1
	"numpy._core.multiarray.scalar": readNumpy,

	"pandas._libs.tslibs.timestamps._unpickle_timestamp": readTimestamp,
	"pandas._libs.tslibs.timestamps.Timestamp":           readTimestamp,
	"pandas._libs.tslibs.timedeltas._timedelta_unpickle": readTimedelta,
	"pandas._libs.tslibs.nattype._nat_unpickle":          func(tuple) (any, error) { return nil, nil },

	"pytz._UTC": func(tuple) (any, error) { return zone{}, nil },
	"pytz._p":   readPytz,
}

// missing are globals that are values themselves.
var missing = map[class]bool{"pandas.NA": true, "pandas._libs.missing.NA": true}

// knownValue tells whether a class is one whose values are read.
func knownValue(c class) bool {
	return calls[c] != nil || missing[c] || c == classUUID || c == classZone || c == classGetattr || c == classOrdered
}

// reduce reads the call of a known class. A call that none of them makes is refused.
func reduce(callee any, args tuple) (any, error) {
	switch c := callee.(type) {
	case method: // the only one there is
		if len(args) > 0 {
			if name, ok := args[0].(string); ok {
				return zone{name: name}, nil
			}
		}
	case class:
		if read := calls[c]; read != nil {
			v, err := read(args)
			if err != nil {
				return nil, fmt.Errorf("%w: a call of %s: %w", ErrMalformed, c, err)
			}
			switch v.(type) {
			case zone, *dtype:
				return v, nil
			}
			return scalar{shown(c, args), v}, nil
		}
		if c == classOrdered && len(args) == 0 {
			return &dict{}, nil
		}
		if c == classGetattr && len(args) == 2 && args[0] == any(classZone) && args[1] == any("_unpickle") {
			return method(classZone), nil
		}
	}
	return nil, &RefusedError{Name: fmt.Sprintf("a call of %s", callee)}
}

// shown is what people call the class of a value that is made by a function.
func shown(c class, args tuple) class {
	switch name := string(c); {
	case strings.HasSuffix(name, ".multiarray.scalar"):
		return class("numpy." + args[0].(*dtype).name())
	case strings.Contains(name, ".timestamps."):
		return "pandas.Timestamp"
	case strings.Contains(name, ".timedeltas."):
		return "pandas.Timedelta"
	case strings.Contains(name, ".nattype."):
		return "pandas.NaT"
	}
	return c
}

var errArguments = errors.New("arguments of another shape")

func readString(args tuple) (any, error) {
	if len(args) == 1 {
		if s, ok := args[0].(string); ok {
			return s, nil
		}
	}
	return nil, errArguments
}

func joined(separator string) func(tuple) (any, error) {
	return func(args tuple) (any, error) {
		var b strings.Builder
		for _, a := range args {
			part, ok := a.(string)
			if !ok {
				return nil, errArguments
			}
			if b.Len() > 0 && !strings.HasSuffix(b.String(), separator) {
				b.WriteString(separator)
			}
			b.WriteString(part)
		}
		return b.String(), nil
	}
}

// readDatetime takes the ten bytes of a datetime and, perhaps, its zone.
func readDatetime(args tuple) (any, error) {
	b, err := fixed(args, 10, 2)
	if err != nil {
		return nil, err
	}
	us := int(b[7])<<16 | int(b[8])<<8 | int(b[9])
	wall := time.Date(int(b[0])<<8|int(b[1]), time.Month(b[2]&0x7f), int(b[3]), int(b[4]), int(b[5]), int(b[6]), 1000*us, time.UTC)
	out := iso(wall)
	if len(args) == 2 {
		z, ok := args[1].(zone)
		if !ok {
			return nil, errArguments
		}
		out += z.suffix(func(l *time.Location) time.Time {
			return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), l)
		})
	}
	return out, nil
}

func readDate(args tuple) (any, error) {
	b, err := fixed(args, 4, 1)
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf("%04d-%02d-%02d", int(b[0])<<8|int(b[1]), b[2], b[3]), nil
}

func readTime(args tuple) (any, error) {
	b, err := fixed(args, 6, 2)
	if err != nil {
		return nil, err
	}
	us := int(b[3])<<16 | int(b[4])<<8 | int(b[5])
	return time.Date(1, 1, 1, int(b[0]&0x7f), int(b[1]), int(b[2]), 1000*us, time.UTC).Format("15:04:05.999999"), nil
}

// fixed is the first of at most most arguments: n bytes.
func fixed(args tuple, n, most int) (pyBytes, error) {
	if len(args) < 1 || len(args) > most {
		return nil, errArguments
	}
	b, ok := args[0].(pyBytes)
	if !ok || len(b) != n {
		return nil, errArguments
	}
	return b, nil
}

// iso is a time without zone as Python's isoformat writes it, with the digits that it has.
func iso(t time.Time) string {
	out := t.Format("2006-01-02T15:04:05")
	if ns := t.Nanosecond(); ns%1000 != 0 {
		out += fmt.Sprintf(".%09d", ns)
	} else if ns != 0 {
		out += fmt.Sprintf(".%06d", ns/1000)
	}
	return out
}

// suffix is the offset of the zone at a time, like +09:00; nothing for a zone that nobody knows.
func (z zone) suffix(at func(*time.Location) time.Time) string {
	loc := time.FixedZone("", int(z.offset/time.Second))
	if z.name != "" {
		var err error
		if loc, err = time.LoadLocation(z.name); err != nil {
			return ""
		}
	}
	return at(loc).Format("-07:00")
}

// readDelta takes days, seconds and microseconds.
func readDelta(args tuple) (any, error) {
	parts, err := integers(args, 3)
	if err != nil {
		return nil, err
	}
	const most = 100_000 // days, well within a Duration
	if parts[0] < -most || parts[0] > most || parts[1] < 0 || parts[1] > 86400 || parts[2] < 0 || parts[2] > 1e6 {
		return nil, errors.New("beyond 100,000 days")
	}
	return time.Duration(parts[0])*24*time.Hour + time.Duration(parts[1])*time.Second + time.Duration(parts[2])*time.Microsecond, nil
}

// duration writes ISO 8601, of which Python's timedelta has days and seconds.
func duration(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	seconds := strconv.FormatFloat(rest.Seconds(), 'f', -1, 64)
	switch {
	case rest == 0:
		return fmt.Sprintf("%sP%dD", sign, days)
	case days == 0:
		return fmt.Sprintf("%sPT%sS", sign, seconds)
	}
	return fmt.Sprintf("%sP%dDT%sS", sign, days, seconds)
}

// readTimezone takes a timedelta and perhaps a name.
func readTimezone(args tuple) (any, error) {
	if len(args) == 0 {
		return nil, errArguments
	}
	s, ok := args[0].(scalar)
	if !ok || s.from != classDelta {
		return nil, errArguments
	}
	offset, _ := s.value.(time.Duration)
	return zone{offset: offset}, nil
}

// readPytz takes a zone's name and its offset in seconds.
func readPytz(args tuple) (any, error) {
	if len(args) < 2 {
		return nil, errArguments
	}
	offset, ok := args[1].(int64)
	if !ok || offset < -86400 || offset > 86400 {
		return nil, errArguments
	}
	return zone{offset: time.Duration(offset) * time.Second}, nil
}

func integers(args tuple, n int) ([]int64, error) {
	if len(args) != n {
		return nil, errArguments
	}
	out := make([]int64, n)
	for i, a := range args {
		v, ok := a.(int64)
		if !ok {
			return nil, errArguments
		}
		out[i] = v
	}
	return out, nil
}

// pandasUnits are pandas' numbers for the unit that a value counts.
var pandasUnits = map[int64]string{7: "s", 8: "ms", 9: "us", 10: "ns"}

// readTimestamp takes a count since 1970 (of wall-clock time without a zone, else of UTC), a frequency, a zone and the
// unit, which early versions leave out.
func readTimestamp(args tuple) (any, error) {
	if len(args) < 3 {
		return nil, errArguments
	}
	count, ok := args[0].(int64)
	unit := "ns"
	if len(args) > 3 {
		n, _ := args[3].(int64)
		unit = pandasUnits[n]
	}
	if !ok || unit == "" {
		return nil, errArguments
	}
	t, err := since1970(count, 1, unit)
	if err != nil || args[2] == nil {
		return iso(t), err
	}
	z, ok := args[2].(zone)
	if !ok {
		return nil, errArguments
	}
	var there time.Time
	suffix := z.suffix(func(l *time.Location) time.Time { there = t.In(l); return there })
	if suffix == "" {
		return iso(t) + "+00:00", nil
	}
	return iso(there) + suffix, nil
}

// readTimedelta takes a count and the unit.
func readTimedelta(args tuple) (any, error) {
	parts, err := integers(args, 2)
	if err != nil || pandasUnits[parts[1]] == "" {
		return nil, errArguments
	}
	return span(parts[0], 1, pandasUnits[parts[1]])
}

// units of datetime64 that have a length.
var units = map[string]time.Duration{
	"W": 7 * 24 * time.Hour, "D": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second,
	"ms": time.Millisecond, "us": time.Microsecond, "ns": 1,
}

func since1970(count, every int64, unit string) (time.Time, error) {
	epoch := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	n := new(big.Int).Mul(big.NewInt(count), big.NewInt(every))
	if unit == "Y" || unit == "M" {
		if !n.IsInt64() || n.Int64() > 100_000 || n.Int64() < -100_000 {
			return time.Time{}, errors.New("a date out of range")
		}
		if unit == "Y" {
			return epoch.AddDate(int(n.Int64()), 0, 0), nil
		}
		return epoch.AddDate(0, int(n.Int64()), 0), nil
	}
	length, ok := units[unit]
	if !ok {
		return time.Time{}, fmt.Errorf("unit %q", unit)
	}
	seconds, ns := new(big.Int).DivMod(n.Mul(n, big.NewInt(int64(length))), big.NewInt(int64(time.Second)), new(big.Int))
	if limit := int64(1) << 38; !seconds.IsInt64() || seconds.Int64() > limit || seconds.Int64() < -limit { // some 8,700 years
		return time.Time{}, errors.New("a date out of range")
	}
	return time.Unix(seconds.Int64(), ns.Int64()).UTC(), nil
}

func span(count, every int64, unit string) (any, error) {
	n := new(big.Int).Mul(big.NewInt(count), big.NewInt(every))
	length, ok := units[unit]
	if n.Mul(n, big.NewInt(int64(length))); !ok || !n.IsInt64() {
		return nil, fmt.Errorf("a span of %d %s", count, unit)
	}
	return time.Duration(n.Int64()), nil
}

// readDtype takes a code such as f8; what else makes a dtype comes as its state.
func readDtype(args tuple) (any, error) {
	if len(args) == 0 {
		return nil, errArguments
	}
	code, _ := args[0].(string)
	if code == "" {
		return nil, errArguments
	}
	size, err := strconv.Atoi(code[1:])
	if err != nil || size < 0 {
		return nil, fmt.Errorf("dtype %.20q", code)
	}
	return &dtype{kind: code[0], size: size, order: binary.LittleEndian, every: 1}, nil
}

// state takes the byte order from a dtype's state, and the unit of times.
func (d *dtype) state(v any) error {
	s, ok := v.(tuple)
	if !ok || len(s) < 8 {
		return fmt.Errorf("%w: a dtype's state of another shape", ErrMalformed)
	}
	if s[1] == any(">") {
		d.order = binary.BigEndian
	}
	if len(s) < 9 {
		return nil
	}
	if outer, ok := s[8].(tuple); ok && len(outer) == 2 {
		if inner, ok := outer[1].(tuple); ok && len(inner) >= 2 {
			unit, _ := inner[0].(pyBytes)
			d.unit = string(unit)
			d.every, _ = inner[1].(int64)
		}
	}
	return nil
}

// name is what NumPy calls the type of such a value.
func (d *dtype) name() string {
	names := map[byte]string{'f': "float", 'i': "int", 'u': "uint", 'b': "bool_", 'U': "str_", 'S': "bytes_", 'M': "datetime64", 'm': "timedelta64"}
	if strings.IndexByte("fiu", d.kind) >= 0 {
		return names[d.kind] + strconv.Itoa(8*d.size)
	}
	return names[d.kind]
}

// readNumpy takes a dtype and the bytes of one value.
func readNumpy(args tuple) (any, error) {
	if len(args) != 2 {
		return nil, errArguments
	}
	d, ok1 := args[0].(*dtype)
	b, ok2 := args[1].(pyBytes)
	if !ok1 || !ok2 {
		return nil, errArguments
	}
	return d.value(b)
}

func (d *dtype) value(b pyBytes) (any, error) {
	switch {
	case d.kind == 'U' && len(b) == 4*d.size:
		var s strings.Builder
		for ; len(b) > 0; b = b[4:] {
			s.WriteRune(rune(d.order.Uint32(b)))
		}
		return s.String(), nil
	case d.kind == 'S' && utf8.Valid(b):
		return string(b), nil
	case len(b) != d.size:
		return nil, fmt.Errorf("%d bytes for a %c%d", len(b), d.kind, d.size)
	case d.kind == 'b' && d.size == 1:
		return b[0] != 0, nil
	case d.kind == 'f':
		return d.float(b)
	}
	n, err := d.integer(b)
	if err != nil || d.kind == 'i' {
		return n, err
	}
	switch d.kind {
	case 'u':
		if n < 0 {
			return new(big.Int).SetUint64(uint64(n)), nil
		}
		return n, nil
	case 'M', 'm':
		if n == math.MinInt64 {
			return nil, nil // NaT
		}
		if d.kind == 'm' {
			return span(n, d.every, d.unit)
		}
		t, err := since1970(n, d.every, d.unit)
		if strings.Contains("YMWD", d.unit) {
			return t.Format("2006-01-02"), err
		}
		return iso(t), err
	}
	return nil, fmt.Errorf("dtype %c%d", d.kind, d.size)
}

// integer is a value of up to eight bytes; an unsigned one of eight bytes comes as its two's complement.
func (d *dtype) integer(b pyBytes) (int64, error) {
	var v uint64
	switch len(b) {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(d.order.Uint16(b))
	case 4:
		v = uint64(d.order.Uint32(b))
	case 8:
		v = d.order.Uint64(b)
	default:
		return 0, fmt.Errorf("dtype %c%d", d.kind, d.size)
	}
	if d.kind == 'u' {
		return int64(v), nil
	}
	shift := 64 - 8*len(b)
	return int64(v<<shift) >> shift, nil
}

func (d *dtype) float(b pyBytes) (any, error) {
	switch len(b) {
	case 2:
		return half(d.order.Uint16(b)), nil
	case 4:
		f := math.Float32frombits(d.order.Uint32(b))
		v, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64) // 0.1 stays 0.1
		return v, err
	case 8:
		return math.Float64frombits(d.order.Uint64(b)), nil
	}
	return nil, fmt.Errorf("dtype f%d", d.size)
}

// half is an IEEE 754 number of 16 bits.
func half(v uint16) float64 {
	sign, exponent, fraction := 1-2*float64(v>>15), int(v>>10&31), float64(v&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// uuidText is a UUID as it is written: uuid.UUID pickles as its number.
func uuidText(o *object) (string, bool) {
	state, _ := o.state.(*dict)
	if o.class != classUUID || state == nil {
		return "", false
	}
	v, _ := state.get("int")
	n, ok := v.(*big.Int)
	if small, isInt := v.(int64); isInt {
		n, ok = big.NewInt(small), true
	}
	if !ok || n.Sign() < 0 || n.BitLen() > 128 {
		return "", false
	}
	b := n.FillBytes(make([]byte, 16))
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), true
}
