package store

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// Layout names every object under one prefix P. Source is people's; everything else is ours.
type Layout struct {
	Prefix string // P, without a trailing slash
	Source string // the source object's key
}

// NewLayout returns the layout under prefix; an empty source means <P>/vendors.json.
func NewLayout(prefix, source string) Layout {
	prefix = strings.Trim(prefix, "/")
	l := Layout{Prefix: prefix, Source: source}
	if source == "" {
		l.Source = l.key("vendors.json")
	}
	return l
}

func (l Layout) key(name string) string {
	if l.Prefix == "" {
		return name
	}
	return l.Prefix + "/" + name
}

func (l Layout) Pointer() string             { return l.key("current/manifest.json") }
func (l Layout) Current(file string) string  { return l.key("current/" + file) }
func (l Layout) Lease() string               { return l.key("lease.json") }
func (l Layout) Control() string             { return l.key("control.json") }
func (l Layout) GC() string                  { return l.key("gc.json") }
func (l Layout) Status() string              { return l.key("status.json") }
func (l Layout) Golden() string              { return l.key("golden.json") }
func (l Layout) Synonyms() string            { return l.key("synonyms.json") }
func (l Layout) Replicas() string            { return l.key("replicas/") }
func (l Layout) Replica(id string) string    { return l.key("replicas/" + id + ".json") }
func (l Layout) DropIns() string             { return l.key("vendors.d/") }
func (l Layout) Ledger() string              { return l.key("embeddings/") }
func (l Layout) Probe(id string) string      { return l.key("probe/" + id) }
func (l Layout) Snapshot(id string) string   { return l.key(id + "/") }
func (l Layout) File(id, file string) string { return l.key(id + "/" + file) }
func (l Layout) Manifest(id string) string   { return l.File(id, snapshot.FileManifest) }
func (l Layout) Verdict(id string) string    { return l.File(id, snapshot.FileVerdict) }
func (l Layout) Signature(id string) string  { return l.File(id, snapshot.FileSignature) }
func (l Layout) Root() string                { return l.key("") }

// CheckKey refuses keys that could name something else in a directory, or that S3 does not take: empty, absolute,
// with empty, "." or ".." segments, control characters or backslashes, segments over 255 bytes, over 1,024 bytes in
// all, not UTF-8. A trailing slash is refused too.
func CheckKey(key string) error {
	if why := badKey(key); why != "" {
		return fmt.Errorf("%w %.80q: %s", ErrInvalidKey, key, why)
	}
	return nil
}

// badKey is what is wrong with a key, "" when it is fine.
func badKey(key string) string {
	switch {
	case key == "":
		return "is empty"
	case len(key) > 1024:
		return fmt.Sprintf("is longer than 1,024 bytes (%d)", len(key))
	case !utf8.ValidString(key):
		return "is not UTF-8"
	case strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return "holds a control character"
	case strings.Contains(key, `\`):
		return "holds a backslash"
	case strings.HasPrefix(key, "/"):
		return "begins with a slash"
	case strings.HasSuffix(key, "/"):
		return "ends in a slash"
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "":
			return "holds two slashes in a row"
		case segment == "." || segment == "..":
			return fmt.Sprintf("holds the segment %q", segment)
		case len(segment) > 255:
			return "holds a segment of more than 255 bytes"
		}
	}
	return ""
}

// maxPrefix leaves room for the longest key below a prefix.
const maxPrefix = 800

// CheckPrefix refuses what cannot stand before every key. One slash at either end is no harm, as consoles show prefixes
// with one.
func CheckPrefix(prefix string) error {
	trimmed := strings.TrimSuffix(strings.TrimPrefix(prefix, "/"), "/")
	switch why := badKey(trimmed); {
	case trimmed == "": // the root of the bucket
		return nil
	case strings.Contains(prefix, "://"), strings.HasPrefix(prefix, "arn:"):
		return fmt.Errorf("%.80q names more than a prefix within the bucket", prefix)
	case why != "":
		return fmt.Errorf("%.80q %s", prefix, why)
	case len(trimmed) > maxPrefix:
		return fmt.Errorf("%.80q… is longer than %d bytes (%d)", prefix, maxPrefix, len(trimmed))
	}
	return checkName(trimmed)
}

// CheckSource refuses what cannot be the key of the source object.
func CheckSource(key string) error {
	switch why := badKey(key); {
	case strings.Contains(key, "://"), strings.HasPrefix(key, "arn:"):
		return fmt.Errorf("%.80q is an address; want the key within the bucket, as vectorstore/prod/vendors.json", key)
	case strings.HasPrefix(key, "/"):
		return fmt.Errorf("%.80q begins with a slash, and keys do not; is it %.80q?", key, strings.TrimLeft(key, "/"))
	case strings.HasSuffix(key, "/"):
		return fmt.Errorf("%.80q names a folder; want the key of one object in it", key)
	case why != "":
		return fmt.Errorf("%.80q %s", key, why)
	}
	return checkName(key)
}

// checkName refuses what a key may be, but nobody means.
func checkName(key string) error {
	if strings.TrimSpace(key) != key {
		return fmt.Errorf("%.80q begins or ends with a space", key)
	}
	if first, _, _ := strings.Cut(key, "/"); first == dirPrivate {
		return fmt.Errorf("%.80q lies in %s, which the directory store keeps to itself", key, dirPrivate)
	}
	return nil
}

// bucketName is S3's rule without its least length: other stores have shorter ones.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// CheckBucket refuses what cannot be the name of a bucket.
func CheckBucket(name string) error {
	switch {
	case strings.Contains(name, "://"):
		return fmt.Errorf("%.80q is an address; want the bucket's name alone, and the rest in VECTORSTORE_S3_PREFIX", name)
	case strings.HasPrefix(name, "arn:"):
		return fmt.Errorf("%.80q is an ARN; want the bucket's name alone", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("%.80q holds a slash; what comes after the bucket's name belongs into VECTORSTORE_S3_PREFIX", name)
	case len(name) > 63:
		return fmt.Errorf("%.80q is longer than 63 characters", name)
	case !bucketName.MatchString(name), strings.Contains(name, ".."):
		return fmt.Errorf("%.80q is no bucket's name: lower-case letters, digits, dots and hyphens, first and last a letter or digit", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%.80q is an IP address, not a bucket's name", name)
	}
	return nil
}

// CheckEndpoint refuses what no store can be reached at. What it says never holds a password that stands in it.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err == nil && u.User != nil {
		return errors.New("holds a user name or password; credentials have variables of their own")
	}
	if strings.Contains(endpoint, "@") && (err != nil || u.Host == "") { // name:password@host is a URL of the scheme name:
		return errors.New("is not a URL; want http://host:port or https://host, and credentials have variables of their own")
	}
	switch {
	case !strings.Contains(endpoint, "://"):
		return fmt.Errorf("%.80q has no scheme; want http://host:port or https://host", endpoint)
	case err != nil:
		return fmt.Errorf("%.80q is not a URL", endpoint)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%.80q: the scheme must be http or https", endpoint)
	case u.Hostname() == "":
		return fmt.Errorf("%.80q names no host", endpoint)
	case u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(endpoint, "?"):
		return fmt.Errorf("%.80q: nothing may come after the path", u.Scheme+"://"+u.Host+u.Path) // a signature may have come
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return fmt.Errorf("%.80q: the port must be 1 to 65535", endpoint)
	}
	return nil
}

// regionName is a label of a host name, which a region becomes.
var regionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
