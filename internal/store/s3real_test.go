package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/s3test"
)

// realServers runs test against both S3 servers, each with a bucket "bucket" that keeps versions.
func realServers(t *testing.T, test func(t *testing.T, server *s3test.Server)) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{"versitygw": s3test.Versitygw, "minio": s3test.Minio} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			server.CreateBucket("bucket", true)
			test(t, server)
		})
	}
}

// TestS3RealServersRefuseDamagedUploads flips a byte of every upload on its way.
func TestS3RealServersRefuseDamagedUploads(t *testing.T) {
	realServers(t, func(t *testing.T, server *s3test.Server) {
		var damage atomic.Bool
		target, err := url.Parse(server.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{
			// Host stays what the client signed.
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
				if damage.Load() && r.In.Method == http.MethodPut {
					data, _ := io.ReadAll(r.In.Body)
					data[len(data)/2] ^= 1
					r.Out.Body = io.NopCloser(bytes.NewReader(data))
				}
			},
			Transport: &http.Transport{DisableKeepAlives: true},
			ErrorLog:  log.New(io.Discard, "", 0), // the client hangs up on what was refused
		}
		front := httptest.NewServer(proxy)
		defer front.Close()
		cfg := server.Config("bucket")
		cfg.Load = append(cfg.Load, config.WithBaseEndpoint(front.URL))
		cfg.PartSize = 5 << 20
		o, err := store.NewS3(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		path, _ := largeFile(t)
		for _, bad := range []bool{true, false} {
			damage.Store(bad)
			_, err := o.Put(t.Context(), "small", []byte("some bytes"), store.PutOptions{IfAbsent: true})
			if (err != nil) != bad {
				t.Errorf("damaged %v: put: %v", bad, err)
			}
			_, err = o.PutFile(t.Context(), "large", path, store.PutOptions{IfAbsent: true})
			if (err != nil) != bad {
				t.Errorf("damaged %v: put file: %v", bad, err)
			}
		}
	})
}

func TestS3RealServersEncryptAndLeaveNoUploads(t *testing.T) {
	realServers(t, func(t *testing.T, server *s3test.Server) {
		cfg := server.Config("bucket")
		cfg.PartSize, cfg.SSE = 5<<20, "AES256"
		o, err := store.NewS3(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		path, f := largeFile(t)
		for _, key := range []string{"p/a", "p/a", "p/b"} { // the second is refused and aborted
			if _, err := store.WriteFile(t.Context(), o, key, path, f, store.PutOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
		}
		client := server.Client()
		open, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
		if err != nil || len(open.Uploads) != 0 {
			t.Errorf("%d uploads left: %v", len(open.Uploads), err)
		}
		head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("p/a")})
		if err != nil {
			t.Fatal(err)
		}
		if server.Name == "minio" && head.ServerSideEncryption != "AES256" { // versitygw takes the header and keeps silent
			t.Errorf("encryption %q", head.ServerSideEncryption)
		}
	})
}

// TestS3CreatingWhatWasDeleted: a bucket with versions hides what was deleted under a marker. Amazon's S3 and minio create
// over it; versitygw refuses, and the key stays as it is until people remove the marker.
func TestS3CreatingWhatWasDeleted(t *testing.T) {
	want := map[string]error{"minio": nil, "versitygw": store.ErrDeleteMarker}
	realServers(t, func(t *testing.T, server *s3test.Server) {
		o := openS3(t, server, "bucket")
		if _, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		if err := o.Delete(t.Context(), "doc"); err != nil {
			t.Fatal(err)
		}
		_, err := store.WriteDoc(t.Context(), o, "doc", newDoc("b"), store.PutOptions{IfAbsent: true})
		if !errors.Is(err, want[server.Name]) {
			t.Errorf("create: %v, want %v", err, want[server.Name])
		}
	})
}

func TestS3OutlivesAKilledAHungAndARestartedServer(t *testing.T) {
	realServers(t, func(t *testing.T, server *s3test.Server) {
		cfg := server.Config("bucket")
		cfg.HeaderTimeout = 3 * time.Second
		o, err := store.NewS3(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		put(t, o, "doc", "before")

		server.Kill()
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, _, err := o.Get(short, "doc", store.GetOptions{}); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("get from a dead server: %v", err)
		}
		if _, err := o.Put(t.Context(), "doc", []byte("x"), store.PutOptions{}); err == nil {
			t.Error("put to a dead server succeeded")
		}
		server.Start()
		waitFor(t, func() bool {
			_, err := o.Head(t.Context(), "doc")
			return err == nil
		})

		server.Pause()
		_, err = o.Put(t.Context(), "doc", []byte("x"), store.PutOptions{})
		if err == nil || !strings.Contains(fmt.Sprint(err), "no answer in time") {
			t.Errorf("put to a hung server: %v", err)
		}
		server.Resume()
		waitFor(t, func() bool {
			_, err := o.Head(t.Context(), "doc")
			return err == nil
		})
	})
}

func TestS3DeniedNamesTheOperationAndTheKey(t *testing.T) {
	server := s3test.Versitygw(t)
	server.CreateBucket("bucket", false)
	user := server.CreateUser("reader")
	server.PutBucketPolicy("bucket", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["reader"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/p/*"]}]}`)
	root := openS3(t, server, "bucket")
	put(t, root, "p/doc", "x")
	o, err := store.NewS3(t.Context(), server.ConfigOf("bucket", user))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.Head(t.Context(), "p/doc"); err != nil {
		t.Errorf("head: %v", err)
	}
	_, err = o.Put(t.Context(), "p/doc", []byte("y"), store.PutOptions{})
	if text := fmt.Sprint(err); !errors.Is(err, store.ErrDenied) || !strings.HasPrefix(text, "put s3://bucket/p/doc: access denied") || strings.Contains(text, user.SecretKey) {
		t.Errorf("put: %v", err)
	}
	err = o.List(t.Context(), "p/", func(store.Info) error { return nil })
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("list: %v", err)
	}
}

func TestS3MinioAssumedRoleIsLimitedByItsPolicy(t *testing.T) {
	server := s3test.Minio(t)
	server.CreateBucket("bucket", false)
	user := server.AssumeRole(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::bucket/replicas/*"]}]}`)
	o, err := store.NewS3(t.Context(), server.ConfigOf("bucket", user))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	put(t, o, "replicas/a.json", "x")
	if _, err := o.Put(t.Context(), "lease.json", []byte("x"), store.PutOptions{}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("put elsewhere: %v", err)
	}
}

// TestS3SnapshotOnRealServers is the whole path of a snapshot's bytes.
func TestS3SnapshotOnRealServers(t *testing.T) {
	realServers(t, func(t *testing.T, server *s3test.Server) {
		o := openS3(t, server, "bucket")
		m, dir := putSnapshot(t, o)
		to := t.TempDir()
		if err := store.Fetch(t.Context(), o, layout, m, to, store.FetchOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files {
			if !sameContent(t, filepath.Join(dir, f.Name), filepath.Join(to, f.Name)) {
				t.Errorf("%s differs", f.Name)
			}
		}
		list, err := store.ListSnapshots(t.Context(), o, layout)
		if err != nil || len(list) != 1 || !list[0].HasManifest || len(list[0].Files) != 4 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
