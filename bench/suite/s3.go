package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Credentials and names of the S3 server on the loopback.
const (
	s3Region = "ap-northeast-1"
	s3Key    = "benchmark"
	s3Secret = "benchmark-secret"
	s3Bucket = "bench"
)

// gateway is versitygw on a directory of this machine: the network of these measurements is the loopback.
type gateway struct {
	proc     *proc.Proc
	endpoint string
}

func (s *Suite) gateway(ctx context.Context, dir string) (*gateway, error) {
	tools, err := exec.CommandContext(ctx, filepath.Join(s.Repo, "tools/build")).Output()
	if err != nil {
		return nil, fmt.Errorf("build the S3 server: %w", err)
	}
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "s3")
	if err := os.MkdirAll(filepath.Join(data, s3Bucket), 0o755); err != nil { // a directory is a bucket
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := proc.Start(proc.Command{
		Path: filepath.Join(strings.TrimSpace(string(tools)), "versitygw"), Log: filepath.Join(dir, "s3.log"),
		Args: []string{"--access", s3Key, "--secret", s3Secret, "--region", s3Region, "--port", address, "--health", "/health",
			"--keep-alive", "--quiet", "posix", data},
	})
	if err != nil {
		return nil, err
	}
	g := &gateway{proc: p, endpoint: "http://" + address}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := p.Ready(ctx, g.endpoint+"/health"); err != nil {
		p.Stop()
		return nil, err
	}
	return g, nil
}

// env is what a program needs to use the gateway.
func (g *gateway) env() []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + g.endpoint, "AWS_REGION=" + s3Region, "AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// objects is the gateway's bucket.
func (g *gateway) objects(ctx context.Context) (store.Objects, error) {
	return store.NewS3(ctx, store.S3Config{Bucket: s3Bucket, Load: []func(*config.LoadOptions) error{
		config.WithRegion(s3Region), config.WithBaseEndpoint(g.endpoint),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(s3Key, s3Secret, "")),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
	}})
}
