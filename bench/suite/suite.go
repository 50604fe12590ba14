// Package suite runs the benchmarks: it builds the indexes, starts the servers and peers, measures them in interleaved
// rounds (A B C A B C …, so that a slow minute of the machine hits all of them) and keeps what it found.
package suite

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/taksuehiro/vectorstore/bench/dataset"
	"github.com/taksuehiro/vectorstore/bench/result"
	"github.com/taksuehiro/vectorstore/internal/vecindex"
)

// Config of a run.
type Config struct {
	Repo    string  // root of the repository
	Cache   string  // data sets, indexes, peers' programs and results; many GB at full size
	Bin     string  // where bin/server and bin/indexer are
	Rounds  int     // of every measurement
	Builds  int     // of every index
	Records int     // of the end-to-end run
	Share   float64 // of the rows of the two data sets, 1 is the published size; below it the measuring times are halved
	Quick   bool    // small data, short times: does everything work, not how fast is it
	Log     io.Writer
	Note    string // printed with the machine

	Against string         // a second folder with a server, for comparisons; empty is none
	Systems *regexp.Regexp // the systems of a contest; one without all of them is not saved
}

// Suite runs benchmarks.
type Suite struct {
	Config
}

// The data sets. The quick ones have the same shape.
func (s *Suite) wide() dataset.Shape { return s.shape("wide", 20_000, 1536, 1000, 2) }
func (s *Suite) tall() dataset.Shape { return s.shape("tall", 100_000, 384, 1000, 1) }

func (s *Suite) shape(name string, n, dims, queries int, seed uint64) dataset.Shape {
	if s.Quick {
		n, queries = n/10, queries/10
	}
	if s.Share > 0 {
		n = int(float64(n) * s.Share)
	}
	return dataset.Shape{Name: name, N: n, Dims: dims, Queries: queries, Seed: seed}
}

// Recall that every approximate system is tuned to at least.
const targetRecall = 0.99

// manyClients of the throughput measurements.
const manyClients = 16

func (s *Suite) logf(format string, a ...any) {
	fmt.Fprintf(s.Log, time.Now().UTC().Format("15:04:05 ")+format+"\n", a...)
}

func (s *Suite) results() string { return Results(s.Cache, s.Quick) }

// Results is where the files of package result are kept.
func Results(cache string, quick bool) string {
	if quick {
		return filepath.Join(cache, "results-quick")
	}
	return filepath.Join(cache, "results")
}

// scratch makes an empty directory for the indexes and stores of one data set.
func (s *Suite) scratch(name string) (string, error) {
	dir := filepath.Join(s.Cache, "work", name)
	if s.Quick {
		dir = filepath.Join(s.Cache, "work-quick", name)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// duration is d, or a tenth of it in a quick run.
func (s *Suite) duration(d time.Duration) time.Duration {
	switch {
	case s.Quick:
		return d / 10
	case s.Share > 0 && s.Share < 1:
		return d / 2
	}
	return d
}

// machine describes where and with what the numbers were made.
func (s *Suite) machine(ctx context.Context) result.Machine {
	m := result.Machine{
		At: time.Now().UTC(), Cores: runtime.NumCPU(), Note: s.Note,
		CPU:    procField("/proc/cpuinfo", "model name"),
		System: strings.Trim(procField("/etc/os-release", "PRETTY_NAME"), `"`),
		Versions: map[string]string{
			"go": runtime.Version(), "faiss (ours, linked)": vecindex.Version(), "kernels": vecindex.SIMD(),
		},
		Command: "make bench",
	}
	if s.Quick {
		m.Command = "make bench-quick"
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Sscan(string(load), &m.Load) // 0 when unreadable
	}
	var kb int64
	fmt.Sscanf(procField("/proc/meminfo", "MemTotal"), "%d kB", &kb) // 0 when unreadable: shown as such
	m.Memory = kb << 10
	if out, err := exec.CommandContext(ctx, "uname", "-r").Output(); err == nil {
		m.System += ", Linux " + strings.TrimSpace(string(out))
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(s.Bin, "server"), "--version").Output(); err == nil {
		m.Versions["server"] = strings.TrimSpace(string(out))
	}
	packages := []string{"python3", "python3-faiss", "python3-fastapi", "python3-starlette", "python3-uvicorn", "python3-ujson", "libopenblas0-pthread"}
	for _, p := range packages {
		if out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", p).Output(); err == nil {
			m.Versions[p] = string(out)
		}
	}
	if out, err := exec.CommandContext(ctx, "node", "--version").Output(); err == nil {
		m.Versions["node"] = strings.TrimSpace(string(out))
	}
	m.Versions["hnswlib-node"], m.Versions["usearch"], m.Versions["chromem-go"] = "3.0.0", "2.25.3", "0.7.0"
	return m
}

// procField returns the value of the first "name: value" or "name=value" line of a file.
func procField(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, "\t :="))
		}
	}
	return ""
}
