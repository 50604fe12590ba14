package embed

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// Secret holds a provider's key and never prints it. The value sits behind a closure, not in a string field: fmt and
// the runtime print unexported string fields of a struct without asking its methods, and of a closure only the address.
type Secret struct {
	reveal func() string
}

// NewSecret wraps s; surrounding space, which often comes along with a pasted key, is dropped.
func NewSecret(s string) Secret {
	s = strings.TrimSpace(s)
	return Secret{reveal: func() string { return s }}
}

// Empty reports whether there is no key.
func (s Secret) Empty() bool { return s.value() == "" }

// Check refuses a key that no provider can have given out: it could not be sent in a header, or not as it is.
func (s Secret) Check() error {
	for i, r := range s.value() {
		switch {
		case r == '\n' || r == '\r':
			return fmt.Errorf("holds a line break after %d characters: it was pasted over two lines", i)
		case r < ' ' || r == 0x7f:
			return fmt.Errorf("holds a control character after %d characters", i)
		case r > 0x7e:
			return fmt.Errorf("holds a character that is not ASCII after %d characters", i)
		}
	}
	return nil
}

// value is the key itself; it goes into the request header and into scrub, nowhere else.
func (s Secret) value() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format covers every verb, %x and %d included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// scrub removes the key, and whatever looks like one, from a provider's message, and bounds its length: providers
// quote the offending key or the whole request in their errors.
func (s Secret) scrub(msg string) string {
	if key := s.value(); len(key) >= 4 {
		msg = strings.ReplaceAll(msg, key, redacted)
	}
	msg = keyLike.ReplaceAllString(msg, redacted)
	msg = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, msg)
	return clipText(strings.Join(strings.Fields(msg), " "), maxMessage)
}
