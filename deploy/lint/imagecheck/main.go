// Imagecheck builds the image of a Dockerfile without Docker, in debootstrap chroots, and tries what was built: both
// programs as the image's user on a read-only root file system, and a TLS connection to a server whose certificate
// authority is in the image's store. It needs root, debootstrap and Debian's mirror.
//
// It stands in for Docker only as far as this Dockerfile goes: FROM, ARG, ENV, WORKDIR, COPY, RUN; the bases are
// Debian bookworm, and for golang:… this machine's Go on top.
//
//	usage: imagecheck <repository>
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image-check:", err)
		os.Exit(1)
	}
}

// say where we are, with the time since the start.
var began = time.Now()

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "image-check %4.0fs: %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: imagecheck <repository>")
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes chroots")
	}
	repo, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "image-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &build{repo: repo, dir: dir}
	img, err := b.image(ctx)
	if err != nil {
		return err
	}
	say("image built: %s", size(img.root))
	if err := img.check(ctx); err != nil {
		return err
	}
	say("ok")
	return nil
}

func size(dir string) string {
	out, err := exec.Command("du", "-shx", dir).Output()
	if err != nil {
		return err.Error()
	}
	return strings.Fields(string(out))[0]
}

// command runs a program and returns what it printed; its error holds the end of that.
func command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		tail := out[max(0, len(out)-4000):]
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail)
	}
	return string(out), nil
}

// inside runs a shell script in a chroot with /proc and /dev, in a mount namespace of its own: nothing stays mounted.
// mounts is shell that runs before the chroot, with $R as the root.
func inside(ctx context.Context, root, user string, env []string, mounts, script string) (string, error) {
	userspec := ""
	if user != "" {
		userspec = "--userspec=" + user
	}
	outer := `set -e; R=$1; mount -t proc proc "$R/proc"; mount --rbind /dev "$R/dev"; ` + mounts +
		`; shift; exec chroot ` + userspec + ` "$R" /usr/bin/env -i "$@"`
	argv := append([]string{"--mount", "--", "/bin/sh", "-c", outer, "sh", root}, env...)
	argv = append(argv, "/bin/sh", "-c", script)
	return command(ctx, os.Environ(), "unshare", argv...)
}
