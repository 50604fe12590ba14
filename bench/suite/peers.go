package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/proc"
	"github.com/taksuehiro/vectorstore/bench/result"
)

// python is Debian's own: python3-faiss belongs to it and not to another interpreter in PATH.
const python = "/usr/bin/python3"

// debianPackages that the peers need.
var debianPackages = []string{
	"python3-faiss", "python3-fastapi", "python3-starlette", "python3-uvicorn", "python3-ujson", "python3-uvloop", "python3-httptools",
}

// Prepare installs and builds the peers' programs: Debian packages, npm packages by the lockfile, Go programs.
func (s *Suite) Prepare(ctx context.Context) error {
	if err := s.installDebian(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{s.installNode, s.buildPrograms, s.linkKernels} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Suite) installDebian(ctx context.Context) error {
	var missing []string
	for _, p := range debianPackages {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}", p).Output()
		if err != nil || string(out) != "ii " {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	s.logf("installing %v", missing)
	command := []string{"apt-get", "install", "-y", "-qq", "--no-install-recommends"}
	if os.Getuid() != 0 {
		command = append([]string{"sudo"}, command...)
	}
	command = append(command, missing...)
	return s.run(ctx, "", nil, command[0], command[1:]...)
}

// installNode runs npm ci in the cache, when it has not run for this lockfile.
func (s *Suite) installNode(ctx context.Context) error {
	dir := filepath.Join(s.Cache, "node")
	fresh := true
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json", "peer.mjs", "build.mjs", "serve.mjs"} {
		data, err := os.ReadFile(filepath.Join(s.Repo, "bench/peers/node", name))
		if err != nil {
			return err
		}
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if string(old) == string(data) {
			continue
		}
		fresh = fresh && filepath.Ext(name) == ".mjs"
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); fresh && err == nil {
		return nil
	}
	s.logf("npm ci in %s", dir)
	return s.run(ctx, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
}

func (s *Suite) buildPrograms(ctx context.Context) error {
	bin := filepath.Join(s.Cache, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := s.run(ctx, filepath.Join(s.Repo, "bench"), nil, "go", "build", "-o", filepath.Join(bin, "floor"), "./cmd/floor"); err != nil {
		return err
	}
	return s.run(ctx, filepath.Join(s.Repo, "bench/peers/chromem"), nil, "go", "build", "-o", filepath.Join(bin, "chromem"), ".")
}

// linkKernels makes a shared object of our distance kernels. Preloaded into Debian's python3-faiss with
// VECTORSTORE_SIMD=avx2 it stands in for a wheel that is compiled for AVX2.
func (s *Suite) linkKernels(ctx context.Context) error {
	objects, err := filepath.Glob(filepath.Join(s.Repo, ".native/obj/kernels/*.o"))
	if err != nil || len(objects) == 0 {
		return fmt.Errorf("no kernels in .native: run make native (%v)", err)
	}
	return s.run(ctx, "", nil, "g++", append([]string{"-shared", "-o", s.kernels()}, objects...)...)
}

func (s *Suite) kernels() string { return filepath.Join(s.Cache, "bin", "libkernels.so") }

// preload is the environment that replaces FAISS's distances by our AVX2 ones.
func (s *Suite) preload(yes bool) []string {
	if !yes {
		return nil
	}
	return []string{"LD_PRELOAD=" + s.kernels(), "VECTORSTORE_SIMD=avx2"}
}

// run runs a program to its end; what it says goes to the log.
func (s *Suite) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, s.Log, s.Log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// builtJSON is what the peers' build scripts print.
type builtJSON struct {
	BuildS   float64        `json:"build_s"`
	Bytes    int64          `json:"bytes"`
	Param    int            `json:"param"`
	Curve    []result.Point `json:"curve"`
	BatchQPS float64        `json:"batch_qps"`
}

// script runs a build script and reads the object that it prints.
func (s *Suite) script(ctx context.Context, dir, out string, env []string, name string, args ...string) (result.Built, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, s.Log
	cmd.Env = append(os.Environ(), env...)
	data, err := cmd.Output()
	if err != nil {
		return result.Built{}, fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	var b builtJSON
	if err := json.Unmarshal(data, &b); err != nil {
		return result.Built{}, fmt.Errorf("%s %s printed %.80q: %w", name, args[0], data, err)
	}
	return result.Built{Seconds: result.Samples{b.BuildS}, Bytes: b.Bytes, Param: b.Param, Curve: b.Curve, BatchQPS: b.BatchQPS, Path: out}, nil
}

func (s *Suite) faissBuild(set *dataset.Set, dir, kind string, fast bool) func(context.Context) (result.Built, error) {
	out := filepath.Join(dir, fmt.Sprintf("faiss-%s-%t", kind, fast))
	return func(ctx context.Context) (result.Built, error) {
		env := s.preload(fast)
		if kind == "flat" {
			env = append(env, "OPENBLAS_NUM_THREADS=1") // for the batch of 64
		}
		return s.script(ctx, "", out, env, python, filepath.Join(s.Repo, "bench/peers/python/build.py"),
			set.Dir, strconv.Itoa(set.Dims), kind, out, fmt.Sprint(targetRecall))
	}
}

func (s *Suite) nodeBuild(set *dataset.Set, dir, library string) func(context.Context) (result.Built, error) {
	out := filepath.Join(dir, library)
	return func(ctx context.Context) (result.Built, error) {
		return s.script(ctx, filepath.Join(s.Cache, "node"), out, nil, "node", "build.mjs",
			library, set.Dir, strconv.Itoa(set.Dims), out, fmt.Sprint(targetRecall))
	}
}

// uvicorn serves app with two workers on the fast loop and parser.
func (s *Suite) uvicorn(app string, fast bool) func(result.Built, int) proc.Command {
	return func(b result.Built, port int) proc.Command {
		return proc.Command{
			Path: python, Dir: filepath.Join(s.Repo, "bench/peers/python"),
			Args: []string{"-B", "-m", "uvicorn", app + ":app", "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--workers", "2",
				"--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"},
			Env: append(s.preload(fast), "BENCH_INDEX="+b.Path, "BENCH_PARAM="+strconv.Itoa(b.Param)),
		}
	}
}

func (s *Suite) node(library string, dims int) func(result.Built, int) proc.Command {
	return func(b result.Built, port int) proc.Command {
		return proc.Command{
			Path: "node", Dir: filepath.Join(s.Cache, "node"),
			Args: []string{"serve.mjs", library, b.Path, strconv.Itoa(dims), strconv.Itoa(b.Param), strconv.Itoa(port)},
		}
	}
}

func (s *Suite) floor(args ...string) func(result.Built, int) proc.Command {
	return func(_ result.Built, port int) proc.Command {
		return proc.Command{Path: filepath.Join(s.Cache, "bin/floor"), Args: append([]string{strconv.Itoa(port)}, args...)}
	}
}

func (s *Suite) chromem(set *dataset.Set) func(result.Built, int) proc.Command {
	return func(_ result.Built, port int) proc.Command {
		return proc.Command{Path: filepath.Join(s.Cache, "bin/chromem"), Args: []string{set.Dir, strconv.Itoa(set.Dims), strconv.Itoa(port)}}
	}
}
