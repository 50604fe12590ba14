package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractMem(t *testing.T) {
	for name, mem := range map[string]*storetest.Mem{"plain": storetest.NewMem(nil), "versioned": storetest.NewVersionedMem(nil)} {
		t.Run(name, func(t *testing.T) {
			storetest.Contract(t, func(*testing.T) store.Objects { return mem })
		})
	}
}

func TestContractDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	storetest.Contract(t, func(t *testing.T) store.Objects { return openDir(t, root) })
}

func TestContractVersitygw(t *testing.T) {
	t.Parallel()
	contractS3(t, s3test.Versitygw(t))
}

func TestContractMinio(t *testing.T) {
	t.Parallel()
	contractS3(t, s3test.Minio(t))
}

func contractS3(t *testing.T, server *s3test.Server) {
	server.CreateBucket("plain", false)
	server.CreateBucket("versioned", true)
	for _, bucket := range []string{"plain", "versioned"} {
		t.Run(bucket, func(t *testing.T) {
			storetest.Contract(t, func(t *testing.T) store.Objects { return openS3(t, server, bucket) })
		})
	}
}

func openDir(t *testing.T, root string) *store.Dir {
	t.Helper()
	d, err := store.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openS3 uses the smallest parts, so that the contract's large file takes five.
func openS3(t *testing.T, server *s3test.Server, bucket string) *store.S3 {
	t.Helper()
	cfg := server.Config(bucket)
	cfg.PartSize = 1
	s, err := store.NewS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
