package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Store says where objects live.
type Store struct {
	Bucket    string `name:"s3-bucket" env:"VECTORSTORE_S3_BUCKET" placeholder:"BUCKET" help:"S3 bucket. Unset: the directory store. Region, endpoint and credentials come from the AWS SDK's own settings (AWS_REGION, AWS_ENDPOINT_URL_S3, …)."`
	Prefix    string `name:"s3-prefix" env:"VECTORSTORE_S3_PREFIX" default:"vectorstore/prod" help:"Prefix of every key."`
	SSE       string `name:"s3-sse" env:"VECTORSTORE_S3_SSE" placeholder:"AES256|aws:kms|aws:kms:dsse" help:"Server-side encryption to ask for with every object. Unset: the bucket's own."`
	Dir       string `name:"store-dir" env:"VECTORSTORE_STORE_DIR" default:"./data/store" help:"Root of the directory store, same key layout as S3."`
	SourceKey string `name:"source-key" env:"VECTORSTORE_SOURCE_KEY" placeholder:"KEY" help:"Key of the catalogue; default <prefix>/vendors.json."`
	LocalDir  string `name:"local-dir" env:"VECTORSTORE_LOCAL_DIR" default:"./vectorstore" help:"Local disk: the server's last-good cache, the indexer's scratch space."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (s Store) Validate() error {
	if err := store.CheckPrefix(s.Prefix); err != nil {
		return SettingError("VECTORSTORE_S3_PREFIX", "%w", err)
	}
	if s.SourceKey != "" {
		if err := store.CheckSource(s.SourceKey); err != nil {
			return SettingError("VECTORSTORE_SOURCE_KEY", "%w", err)
		}
	}
	if s.Bucket == "" {
		if strings.Contains(s.Dir, "://") {
			return SettingError("VECTORSTORE_STORE_DIR", "%.80q is an address; VECTORSTORE_S3_BUCKET names a bucket", s.Dir)
		}
		return nil
	}
	if err := store.CheckBucket(s.Bucket); err != nil {
		return SettingError("VECTORSTORE_S3_BUCKET", "%w", err)
	}
	if err := store.CheckSSE(s.SSE); err != nil {
		return SettingError("VECTORSTORE_S3_SSE", "%w", err)
	}
	for _, variable := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} { // as the SDK looks for it
		if endpoint := os.Getenv(variable); endpoint != "" {
			if err := store.CheckEndpoint(endpoint); err != nil {
				return SettingError(variable, "%w", err)
			}
			break
		}
	}
	return nil
}

// Layout of the keys under the prefix.
func (s Store) Layout() store.Layout { return store.NewLayout(s.Prefix, s.SourceKey) }

// Patience with a store that answers nothing, or an embedding provider that cannot be reached.
const (
	Daemon  = time.Duration(0) // waits for as long as it takes
	Command = 30 * time.Second // must end
)

// Open connects to the store, observed by reg. Nothing is sent yet.
func (s Store) Open(ctx context.Context, reg prometheus.Registerer, patience time.Duration) (store.Objects, error) {
	m := store.NewMetrics(reg)
	if s.Bucket == "" {
		d, err := store.NewDir(s.Dir)
		if err != nil {
			return nil, SettingError("VECTORSTORE_STORE_DIR", "%w", err)
		}
		return store.Observe(d, m), nil
	}
	return store.NewS3(ctx, store.S3Config{Bucket: s.Bucket, SSE: s.SSE, Metrics: m, Patience: patience})
}

// CheckAddr reports an address that no listener could have.
func CheckAddr(variable, addr string) error {
	if _, err := net.ResolveTCPAddr("tcp", addr); err != nil {
		return SettingError(variable, "%q is not host:port", addr)
	}
	return nil
}

// Kind is how /health names the store: S3 or dir.
func (s Store) Kind() string {
	if s.Bucket == "" {
		return "dir"
	}
	return "S3"
}

// Scratch returns <LocalDir>/<name>, made when missing and locked for this process. When another process has it, the
// scratch space is a private folder below it instead, removed by release. Catalogues are read into it: what processes
// that were killed left there goes.
func (s Store) Scratch(name string) (dir string, release func(), err error) {
	fail := func(err error) (string, func(), error) {
		return "", nil, SettingError("VECTORSTORE_LOCAL_DIR", "%w", err)
	}
	dir = filepath.Join(s.LocalDir, name)
	lock, err := lockDir(dir)
	owned := err == nil
	if !owned && !errors.Is(err, unix.EWOULDBLOCK) {
		return fail(err)
	}
	if err := dropAbandoned(dir, owned); err != nil {
		return fail(err)
	}
	if owned {
		return dir, func() { _ = lock.Close() }, nil // closing unlocks
	}
	fresh, err := os.MkdirTemp(dir, "fresh-")
	if err == nil {
		lock, err = lockDir(fresh)
	}
	private := filepath.Join(dir, "private-"+strings.TrimPrefix(filepath.Base(fresh), "fresh-"))
	if err == nil {
		err = os.Rename(fresh, private) // only now is it one that is dropped unless it is locked
	}
	if err != nil {
		return fail(err)
	}
	return private, func() { _ = os.RemoveAll(private); _ = lock.Close() }, nil
}

// lockDir makes a folder and locks it, without waiting.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// dropAbandoned removes the private folders of processes that were killed and, for the owner of dir, what its predecessor
// was about.
func dropAbandoned(dir string, owned bool) error {
	private, err := filepath.Glob(filepath.Join(dir, "private-*"))
	for _, d := range private {
		if lock, lerr := lockDir(d); lerr == nil {
			err = errors.Join(err, os.RemoveAll(d), lock.Close())
		}
	}
	if !owned {
		return err
	}
	for _, pattern := range []string{"scratch", "plan-*", "diff-*", "eval-*", "import-*", "fresh-*"} {
		found, gerr := filepath.Glob(filepath.Join(dir, pattern))
		err = errors.Join(err, gerr)
		for _, d := range found {
			err = errors.Join(err, os.RemoveAll(d))
		}
	}
	return err
}
