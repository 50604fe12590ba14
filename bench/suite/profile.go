package suite

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/load"
)

// profileTime is how long each profile samples.
const profileTime = 8 * time.Second

// Profile takes CPU profiles of the server under load, for `go tool pprof`: one per kind and encoding. It is no part
// of the report.
func (s *Suite) Profile(ctx context.Context) error {
	set, err := dataset.Open(ctx, s.Cache, s.tall())
	if err != nil {
		return err
	}
	defer set.Close()
	dir, err := s.scratch("profile")
	if err != nil {
		return err
	}
	for _, kind := range []string{"hnsw", "flat"} {
		sv := &server{name: "own-" + kind, build: s.ownBuild(set, dir, kind), start: s.ownServer}
		if err := s.buildAll(ctx, []*server{sv}); err != nil {
			return err
		}
		if err := s.startServer(ctx, sv, dir); err != nil {
			return err
		}
		for name, encode := range map[string]func([]float32) []byte{"json": jsonBody, "base64": base64Body} {
			if err := s.profile(ctx, sv, requests(set, sv.addr, encode), kind+"-"+name); err != nil {
				sv.proc.Stop()
				return err
			}
		}
		sv.proc.Stop()
	}
	return nil
}

func (s *Suite) profile(ctx context.Context, sv *server, t load.Target, name string) error {
	out := filepath.Join(s.results(), "profile-"+name+".pprof")
	loading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan load.Result, 1)
	go func() {
		r, _ := load.While(loading, t, manyClients) // the target is not empty
		done <- r
	}()
	var port int
	if _, err := fmt.Sscanf(sv.addr, "127.0.0.1:%d", &port); err != nil {
		return err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%.0f", port+1, s.duration(profileTime).Seconds()+1)
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		f.Close()
		return err
	}
	stop()
	r := <-done
	s.logf("%s: %.0f q/s while profiling, %d failed: go tool pprof -top %s", name, r.Rate(), r.Failed, out)
	return f.Close()
}
