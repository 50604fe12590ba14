package suite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/bench/publish"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// idleTime is how long a server is watched that nobody asks: several polls of ten seconds.
const idleTime = 2 * time.Minute

// Replica measures the start of a server with an empty disk against a plain download of the same bytes, and then what
// the server costs while nobody asks it anything.
func (s *Suite) Replica(ctx context.Context, shape dataset.Shape) error {
	dir, err := s.scratch("replica")
	if err != nil {
		return err
	}
	g, err := s.gateway(ctx, dir)
	if err != nil {
		return err
	}
	defer g.proc.Stop()
	m, err := s.upload(ctx, g, shape, dir)
	if err != nil {
		return err
	}
	out := result.Replica{Machine: s.machine(ctx), Bytes: m.Size(), Tool: "curl --aws-sigv4 + sha256sum, one file after the other"}
	for round := range s.Rounds {
		plain, err := plainDownload(ctx, g, m, filepath.Join(dir, "plain"))
		if err != nil {
			return err
		}
		p, _, ready, err := s.freshServer(ctx, g, dir)
		if err != nil {
			return err
		}
		p.Stop()
		out.Download = append(out.Download, plain.Seconds())
		out.Ready = append(out.Ready, ready.Seconds())
		s.logf("round %d: download and sha256sum %.3f s, start to ready %.3f s", round+1, plain.Seconds(), ready.Seconds())
	}
	if err := result.Save(s.results(), "replica", out); err != nil {
		return err
	}
	return s.idle(ctx, g, dir)
}

// upload publishes a flat snapshot of the set: its index is as large as the vectors.
func (s *Suite) upload(ctx context.Context, g *gateway, shape dataset.Shape, dir string) (store.Manifest, error) {
	set, err := dataset.Open(ctx, s.Cache, shape)
	if err != nil {
		return store.Manifest{}, err
	}
	defer set.Close()
	ix, err := flat(ctx, set, 0, set.N)
	if err != nil {
		return store.Manifest{}, err
	}
	defer ix.Close()
	objects, err := g.objects(ctx)
	if err != nil {
		return store.Manifest{}, err
	}
	return publish.Snapshot(ctx, objects, ix, dir)
}

// plainDownload fetches and hashes the snapshot's files with the tools of any system.
func plainDownload(ctx context.Context, g *gateway, m store.Manifest, dir string) (time.Duration, error) {
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	start := time.Now()
	for _, f := range m.Files {
		path := filepath.Join(dir, f.Name)
		url := g.endpoint + "/" + s3Bucket + "/" + store.NewLayout(publish.Prefix, "").File(m.ID, f.Name)
		out, err := exec.CommandContext(ctx, "curl", "-sS", "--fail", "--aws-sigv4", "aws:amz:"+s3Region+":s3", "-u", s3Key+":"+s3Secret,
			"-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", path, url).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("curl: %w: %s", err, out)
		}
		sum, err := exec.CommandContext(ctx, "sha256sum", path).Output()
		if err != nil {
			return 0, err
		}
		if !strings.HasPrefix(string(sum), f.SHA256) {
			return 0, fmt.Errorf("%s: sha256sum says %.64s, the manifest %s", f.Name, sum, f.SHA256)
		}
	}
	return time.Since(start), nil
}

// freshServer starts a server with an empty disk and waits until it is ready; port+1 is its admin port.
func (s *Suite) freshServer(ctx context.Context, g *gateway, dir string) (*proc.Proc, int, time.Duration, error) {
	local := filepath.Join(dir, "local")
	if err := os.RemoveAll(local); err != nil {
		return nil, 0, 0, err
	}
	port, err := proc.FreePort()
	if err != nil {
		return nil, 0, 0, err
	}
	env := append(ownSettings(port), "VECTORSTORE_S3_BUCKET="+s3Bucket, "VECTORSTORE_LOCAL_DIR="+local)
	start := time.Now()
	p, err := proc.Start(proc.Command{
		Path: filepath.Join(s.Bin, "server"), Unset: ownEnv, Env: append(env, g.env()...), Log: filepath.Join(dir, "server.log"),
	})
	if err != nil {
		return nil, 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := p.Ready(ctx, fmt.Sprintf("http://127.0.0.1:%d/ready", port)); err != nil {
		p.Stop()
		return nil, 0, 0, err
	}
	return p, port, time.Since(start), nil
}

// idle watches a ready server that gets no request.
func (s *Suite) idle(ctx context.Context, g *gateway, dir string) error {
	p, port, _, err := s.freshServer(ctx, g, dir)
	if err != nil {
		return err
	}
	defer p.Stop()
	metrics := fmt.Sprintf("http://127.0.0.1:%d/metrics", port+1)
	if err := sleep(ctx, s.duration(10*time.Second)); err != nil { // what follows a start is not idling
		return err
	}
	before, err := counters(ctx, metrics)
	if err != nil {
		return err
	}
	from, err := p.Cost()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := sleep(ctx, s.duration(idleTime)); err != nil {
		return err
	}
	to, err := p.Cost()
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := counters(ctx, metrics)
	if err != nil {
		return err
	}
	out := result.Idle{Machine: s.machine(ctx), Seconds: took.Seconds(), CPU: (to.CPU - from.CPU).Seconds() / took.Seconds(), Calls: map[string]float64{}}
	for name, v := range after {
		v -= before[name]
		if v == 0 {
			continue
		}
		if strings.HasPrefix(name, "vectorstore_pointer_polls_total") {
			out.Polls += v
		}
		if call, ok := strings.CutPrefix(name, "vectorstore_store_requests_total"); ok {
			out.Calls[call] += v
		}
	}
	s.logf("idle for %.0f s: %.3f %% of a core, %.0f polls, store requests %v", out.Seconds, 100*out.CPU, out.Polls, out.Calls)
	return result.Save(s.results(), "idle", out)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// counters reads the samples of a Prometheus text page by name and labels.
func counters(ctx context.Context, url string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	out := map[string]float64{}
	sc := bufio.NewScanner(io.LimitReader(resp.Body, 8<<20))
	for sc.Scan() {
		line := sc.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			out[line[:i]] = v
		}
	}
	return out, sc.Err()
}
