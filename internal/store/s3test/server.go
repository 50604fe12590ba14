// Package s3test runs real S3 servers for tests: versitygw and minio, on loopback, each with a directory of its own,
// stopped when the test ends. tools/build makes the programs at first use.
package s3test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/taksuehiro/vectorstore/internal/store"
)

// Server is one running S3 server. Its methods end the test when they fail.
type Server struct {
	Name      string // versitygw or minio
	Endpoint  string // http://127.0.0.1:port, the same after a restart
	Region    string
	AccessKey string // of the root user
	SecretKey string
	Dir       string // everything that it keeps

	t       testing.TB
	address string
	command func() *exec.Cmd
	log     string

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
}

// Region of all test servers.
const region = "ap-northeast-1"

// startTimeout is for a loaded machine: versitygw needs 40 ms, minio 0.5 s.
const startTimeout = 60 * time.Second

// Versitygw starts versitygw on a directory, with users, bucket policies and versioning available.
func Versitygw(t testing.TB) *Server {
	t.Helper()
	bin := binary(t, "versitygw")
	return launch(t, "versitygw", func(s *Server) *exec.Cmd {
		data, users, versions := s.subdir("data"), s.subdir("iam"), s.subdir("versions")
		args := []string{
			"--access", s.AccessKey, "--secret", s.SecretKey, "--region", s.Region,
			"--port", s.address, "--iam-dir", users, "--keep-alive", "--quiet",
			"posix", "--versioning-dir", versions,
		}
		if !keepsXattrs(data) {
			args = append(args, "--sidecar", s.subdir("sidecar"))
		}
		return exec.Command(bin, append(args, data)...)
	})
}

// Minio starts minio on a directory, with a key for SSE-S3.
func Minio(t testing.TB) *Server {
	t.Helper()
	bin := binary(t, "minio")
	kms := "test:" + base64Key()
	return launch(t, "minio", func(s *Server) *exec.Cmd {
		cmd := exec.Command(bin, "server", "--quiet", "--address", s.address, s.subdir("data"))
		cmd.Env = append(os.Environ(),
			"MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey, "MINIO_REGION="+s.Region,
			"MINIO_KMS_SECRET_KEY="+kms, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1",
			"MINIO_PROMETHEUS_AUTH_TYPE=public", "HOME="+s.Dir,
		)
		return cmd
	})
}

// launch starts a server on a free port; another program may take the port meanwhile, then on another one.
func launch(t testing.TB, name string, command func(*Server) *exec.Cmd) *Server {
	t.Helper()
	s := &Server{
		Name: name, Region: region, AccessKey: "root" + random(4), SecretKey: random(16),
		Dir: t.TempDir(), t: t,
	}
	s.log = filepath.Join(s.Dir, "server.log")
	s.command = func() *exec.Cmd { return command(s) }
	t.Cleanup(s.cleanup)
	var err error
	for range 5 {
		s.address = freeAddress(t)
		s.Endpoint = "http://" + s.address
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("start %s: %v\n%s", name, err, s.logTail())
	return nil
}

// Start starts a stopped server again on the same address and directory, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("start %s: %v\n%s", s.Name, err, s.logTail())
	}
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return errors.New("it is running")
	}
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // never outlives the test
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	if err := waitReady(s.Endpoint, exited); err != nil {
		_ = cmd.Process.Kill()
		<-exited
		return err
	}
	s.process, s.exited = cmd, exited
	return nil
}

// waitReady waits until an S3 server answers, with whatever status below 500.
func waitReady(endpoint string, exited <-chan struct{}) error {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-exited:
			return errors.New("it exited at once")
		default:
		}
		res, err := client.Get(endpoint + "/")
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode < 500 {
			return nil
		}
	}
	return fmt.Errorf("no answer within %v", startTimeout)
}

// Stop ends the server in an orderly way; Start brings it back with its data.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server as a crash does; Start brings it back with its data.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	s.process = nil
}

// Pause makes the server hang: connections are accepted by the kernel, nothing answers. Resume wakes it.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatalf("%s is not running", s.Name)
	}
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatalf("signal %s: %v", s.Name, err)
	}
}

func (s *Server) cleanup() {
	s.Kill()
	if s.t.Failed() {
		s.t.Logf("%s said last:\n%s", s.Name, s.logTail())
	}
}

func (s *Server) logTail() string {
	data, _ := os.ReadFile(s.log)
	return string(data[max(0, len(data)-4096):])
}

// Env is what a program needs to use this server as root. It shuts out the settings of the machine.
func (s *Server) Env() []string { return s.EnvOf(User{AccessKey: s.AccessKey, SecretKey: s.SecretKey}) }

// EnvOf is Env for another user.
func (s *Server) EnvOf(u User) []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + s.Endpoint,
		"AWS_REGION=" + s.Region,
		"AWS_ACCESS_KEY_ID=" + u.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + u.SecretKey,
		"AWS_SESSION_TOKEN=" + u.SessionToken,
		"AWS_PROFILE=",
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Config is a store.S3Config for a bucket here, as root, whatever the environment says.
func (s *Server) Config(bucket string) store.S3Config {
	return s.ConfigOf(bucket, User{AccessKey: s.AccessKey, SecretKey: s.SecretKey})
}

// ConfigOf is Config for another user.
func (s *Server) ConfigOf(bucket string, u User) store.S3Config {
	return store.S3Config{Bucket: bucket, Load: s.load(u)}
}

func (s *Server) load(u User) []func(*config.LoadOptions) error {
	return []func(*config.LoadOptions) error{
		config.WithRegion(s.Region),
		config.WithBaseEndpoint(s.Endpoint),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(u.AccessKey, u.SecretKey, u.SessionToken)),
		config.WithSharedConfigFiles(nil),
		config.WithSharedCredentialsFiles(nil),
	}
}

func (s *Server) rootConfig() aws.Config {
	s.t.Helper()
	cfg, err := config.LoadDefaultConfig(context.Background(), s.load(User{AccessKey: s.AccessKey, SecretKey: s.SecretKey})...)
	if err != nil {
		s.t.Fatalf("configure a client: %v", err)
	}
	return cfg
}

// Client is a plain SDK client as root, for what a person or a console would do.
func (s *Server) Client() *s3.Client {
	s.t.Helper()
	return s3.NewFromConfig(s.rootConfig(), func(o *s3.Options) { o.UsePathStyle = true })
}

// CreateBucket makes a bucket (a name of 3 characters or more).
func (s *Server) CreateBucket(name string, versioning bool) {
	s.t.Helper()
	ctx, client := s.t.Context(), s.Client()
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(s.Region),
		},
	})
	if err != nil {
		s.t.Fatalf("create bucket %s: %v", name, err)
	}
	if !versioning {
		return
	}
	_, err = client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket:                  &name,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		s.t.Fatalf("enable versioning of %s: %v", name, err)
	}
}

// PutBucketPolicy sets the policy document of a bucket.
func (s *Server) PutBucketPolicy(bucket, policy string) {
	s.t.Helper()
	_, err := s.Client().PutBucketPolicy(s.t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(policy)})
	if err != nil {
		s.t.Fatalf("put the policy of %s: %v", bucket, err)
	}
}

func (s *Server) subdir(name string) string {
	dir := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
