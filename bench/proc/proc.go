// Package proc runs the servers that are measured: starts them, waits until they answer, and reads from /proc what
// they cost. Linux only.
package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is USER_HZ: the unit of CPU times in /proc, 100 on every Linux.
const clockTick = time.Second / 100

// Command describes a program to start. Its output goes to Log.
type Command struct {
	Path string
	Args []string
	Env  []string // added to this process's, minus Unset
	Dir  string
	Log  string // file, truncated
	// Unset drops variables of this process whose names start with one of these.
	Unset []string
}

// Proc is a started program with its children: they share a process group that Stop ends.
type Proc struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the program has exited
	err  error         // of Wait, after done
}

// Start starts a program.
func Start(c Command) (*Proc, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, out, out
	cmd.Env = append(environ(c.Unset), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Path), err)
	}
	p := &Proc{cmd: cmd, log: c.Log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func environ(unset []string) []string {
	var env []string
next:
	for _, v := range os.Environ() {
		for _, prefix := range unset {
			if strings.HasPrefix(v, prefix) {
				continue next
			}
		}
		env = append(env, v)
	}
	return env
}

// PID of the program.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has exited.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Wait waits for the program to exit by itself; a failure carries the end of its log.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), p.err, p.Tail())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Peak is the program's highest resident size in bytes, after it has exited.
func (p *Proc) Peak() int64 {
	<-p.done
	usage, _ := p.cmd.ProcessState.SysUsage().(*syscall.Rusage) // always, on Linux
	return usage.Maxrss << 10
}

// Stop ends the group: politely, after five seconds by force.
func (p *Proc) Stop() {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		if syscall.Kill(-p.PID(), s) != nil { // no such group: all are gone
			break
		}
		select {
		case <-p.done:
		case <-time.After(2500 * time.Millisecond):
		}
	}
	<-p.done
}

// Tail is the end of the program's log.
func (p *Proc) Tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Ready polls url until it answers 200 and returns how long that took.
func (p *Proc) Ready(ctx context.Context, url string) (time.Duration, error) {
	start := time.Now()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(start), nil
			}
		}
		select {
		case <-p.done:
			return 0, fmt.Errorf("%s ended before it was ready: %v\n%s", filepath.Base(p.cmd.Path), p.err, p.Tail())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s is not ready: %w\n%s", filepath.Base(p.cmd.Path), ctx.Err(), p.Tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Cost is what a process group has taken so far.
type Cost struct {
	CPU time.Duration // user and system, of the live processes
	PSS int64         // bytes resident now, pages shared within the group counted once
}

// Cost reads the present cost of the group.
func (p *Proc) Cost() (Cost, error) {
	pids, err := group(p.PID())
	if err != nil {
		return Cost{}, err
	}
	var c Cost
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		one, err := readCost(dir)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // exited meanwhile
		}
		if err != nil {
			return Cost{}, err
		}
		c.CPU += one.CPU
		c.PSS += one.PSS
	}
	return c, nil
}

// group lists the live processes of a process group.
func group(pgid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if got, err := syscall.Getpgid(pid); err == nil && got == pgid {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func readCost(dir string) (Cost, error) {
	var c Cost
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return c, err
	}
	// The name in parentheses may hold anything; the fields after it are 3 (state) and on; 14 and 15 are the times.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return c, fmt.Errorf("%s/stat: %d fields", dir, len(fields))
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return c, err
		}
		c.CPU += time.Duration(n) * clockTick
	}
	c.PSS, err = kilobytes(filepath.Join(dir, "smaps_rollup"), "Pss:")
	return c, err
}

// kilobytes reads a "Name:   123 kB" line and returns bytes; 0 when there is no such line (a zombie).
func kilobytes(path, name string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, nil
}

// FreePort returns a TCP port of the loopback that was free a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
