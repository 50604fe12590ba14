package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/taksuehiro/vectorstore/bench/load"
	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/bench/publish"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// Million runs the real binaries on Records records, a million unless the run says otherwise: catalogue to promoted snapshot, a server on it, and the swap to
// the next snapshot (1 % of the records edited) under load.
func (s *Suite) Million(ctx context.Context) error {
	dir, err := s.scratch("million")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // tens of GB
	run := &endToEnd{s: s, dir: dir, out: result.Million{Machine: s.machine(ctx), Records: s.Records}}
	if s.Quick {
		run.out.Records = 20_000
	}
	for _, f := range []func(context.Context) error{run.first, run.serve, run.swap} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return result.Save(s.results(), "million", run.out)
}

type endToEnd struct {
	s   *Suite
	dir string
	out result.Million

	manifest store.Manifest
	server   *proc.Proc
	addr     string
}

func (e *endToEnd) store() string { return filepath.Join(e.dir, "store") }

func (e *endToEnd) env() []string {
	return []string{
		"VECTORSTORE_STORE_DIR=" + e.store(), "VECTORSTORE_LOCAL_DIR=" + filepath.Join(e.dir, "local"),
		"EMBEDDING_PROVIDER=local", "EMBEDDING_MODEL=local-ngram-v1", "LOG_FORMAT=json", "ADMIN_ADDR=127.0.0.1:0",
	}
}

// write puts a revision of the catalogue in place.
func (e *endToEnd) write(rev int) error {
	path := filepath.Join(e.store(), publish.Prefix, "vendors.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := vendorstest.Write(f, vendorstest.Options{N: e.out.Records, Seed: 1, Rev: rev, Changed: 0.01}); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e.out.SourceBytes = info.Size()
	return os.Rename(path+".new", path)
}

// reconcile runs one pass of the indexer and returns its duration and highest resident size.
func (e *endToEnd) reconcile(ctx context.Context) (time.Duration, int64, error) {
	start := time.Now()
	p, err := proc.Start(proc.Command{
		Path: filepath.Join(e.s.Bin, "indexer"), Args: []string{"reconcile", "--once"}, Unset: ownEnv, Env: e.env(),
		Log: filepath.Join(e.dir, "indexer.log"),
	})
	if err != nil {
		return 0, 0, err
	}
	defer p.Stop()
	if err := p.Wait(ctx); err != nil {
		return 0, 0, err
	}
	return time.Since(start), p.Peak(), nil
}

func (e *endToEnd) first(ctx context.Context) error {
	if err := e.write(1); err != nil {
		return err
	}
	took, peak, err := e.reconcile(ctx)
	if err != nil {
		return err
	}
	e.out.Seconds, e.out.IndexerPeak = took.Seconds(), peak
	objects, err := store.NewDir(e.store())
	if err != nil {
		return err
	}
	p, _, err := store.ReadPointer(ctx, objects, store.NewLayout(publish.Prefix, ""), "")
	if err != nil {
		return err
	}
	e.manifest = p.Manifest
	e.out.Dims, e.out.Kind = p.Spec.Embedding.Dims, p.Index.Kind
	e.out.VectorBytes = int64(e.out.Records) * int64(e.out.Dims) * 4
	for _, name := range []string{snapshot.FileIndex, snapshot.FileDocuments, snapshot.FileOffsets} {
		f, _ := p.Manifest.File(name)
		e.out.SnapshotBytes += f.Size
	}
	e.s.logf("%d records of %d MB to a promoted %s snapshot of %d MB in %s, indexer's peak %d MB (vectors %d MB)", e.out.Records,
		e.out.SourceBytes>>20, e.out.Kind, e.out.SnapshotBytes>>20, took.Round(time.Millisecond), peak>>20, e.out.VectorBytes>>20)
	return nil
}

func (e *endToEnd) serve(ctx context.Context) error {
	port, err := proc.FreePort()
	if err != nil {
		return err
	}
	e.addr = fmt.Sprintf("127.0.0.1:%d", port)
	start := time.Now()
	e.server, err = proc.Start(proc.Command{
		Path: filepath.Join(e.s.Bin, "server"), Unset: ownEnv, Log: filepath.Join(e.dir, "server.log"),
		Env: append(e.env(), "LISTEN_ADDR="+e.addr, "DRAIN_TIME=0s", "POLL_INTERVAL=1s"),
	})
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := e.server.Ready(wait, "http://"+e.addr+"/ready"); err != nil {
		e.server.Stop()
		return err
	}
	e.out.ServerReady = time.Since(start).Seconds()
	t := e.queries()
	if err := load.Each(ctx, t, 4, func(_, status int, body []byte) error {
		if status != http.StatusOK {
			return fmt.Errorf("status %d: %.200s", status, body)
		}
		return nil
	}); err != nil {
		e.server.Stop()
		return err
	}
	c, err := e.server.Cost()
	if err != nil {
		e.server.Stop()
		return err
	}
	e.out.ServerRSS = c.PSS
	e.s.logf("server ready after %.2f s, resident %d MB", e.out.ServerReady, c.PSS>>20)
	return nil
}

// queries by text: the local embedder is part of what is used.
func (e *endToEnd) queries() load.Target {
	words := []string{"冷凍倉庫の温度監視", "生成AI 議事録", "請求書 電子化", "配送ルート最適化", "製造業 予知保全", "顧客管理 クラウド", "セキュリティ 診断", "人事 評価 SaaS"}
	t := load.Target{Addr: e.addr}
	for i, w := range words {
		body, err := json.Marshal(map[string]any{"query": fmt.Sprintf("%s %d", w, i), "k": 10, "mode": "semantic"})
		if err != nil {
			panic(err) // strings and ints only
		}
		t.Requests = append(t.Requests, load.Request(e.addr, "/search", body))
	}
	return t
}

// swap publishes the second revision while four clients search without a pause.
func (e *endToEnd) swap(ctx context.Context) error {
	defer e.server.Stop()
	if err := e.write(2); err != nil {
		return err
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	type answer struct {
		r   load.Result
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := load.While(loading, e.queries(), 4)
		done <- answer{r, err}
	}()
	took, peak, err := e.reconcile(ctx)
	if err != nil {
		return err
	}
	e.out.Second = took.Seconds()
	e.out.IndexerPeak = max(e.out.IndexerPeak, peak)
	promoted := time.Now()
	for id := e.manifest.ID; id == e.manifest.ID; {
		if id, err = served(ctx, e.addr); err != nil {
			return err
		}
		if time.Since(promoted) > 10*time.Minute {
			return fmt.Errorf("the server still serves %s\n%s", id, e.server.Tail())
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	e.out.SwapSeconds = time.Since(promoted).Seconds()
	if err := sleep(ctx, 2*time.Second); err != nil { // the old snapshot is freed under load too
		return err
	}
	stop()
	a := <-done
	if a.err != nil {
		return a.err
	}
	e.out.SwapRequests, e.out.SwapFailed, e.out.SwapRate = a.r.Requests, a.r.Failed, a.r.Rate()
	e.out.SwapP99, e.out.SwapMax = a.r.Quantile(0.99).Seconds(), a.r.Quantile(1).Seconds()
	e.s.logf("second revision in %.1f s, served %.1f s later; %d requests, %d failed (%v), p99 %.1f ms, max %.1f ms", e.out.Second,
		e.out.SwapSeconds, a.r.Requests, a.r.Failed, a.r.Error, 1000*e.out.SwapP99, 1000*e.out.SwapMax)
	return nil
}

// served asks a server which snapshot it serves.
func served(ctx context.Context, addr string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Snapshot-Id"), nil
}
