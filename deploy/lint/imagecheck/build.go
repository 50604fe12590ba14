package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const suite = "bookworm"

// build of one Dockerfile; every stage becomes a directory.
type build struct {
	repo, dir string
	stages    map[string]string // name → root
}

// image is what the last stage became.
type image struct {
	root, user string
	env        []string
	volumes    []string
}

// stage while it is built.
type stage struct {
	*build
	root, workdir string
	env, args     []string
	image         image
}

func (b *build) image(ctx context.Context) (*image, error) {
	text, err := os.ReadFile(filepath.Join(b.repo, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, err
	}
	base, err := b.base(ctx)
	if err != nil {
		return nil, err
	}
	b.stages = map[string]string{}
	var last *stage
	for i, s := range stages {
		root := filepath.Join(b.dir, fmt.Sprintf("stage%d", i))
		if _, err := command(ctx, os.Environ(), "cp", "-a", base, root); err != nil {
			return nil, err
		}
		b.stages[s.Name] = root
		last = &stage{build: b, root: root, workdir: "/", env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
		if strings.HasPrefix(s.BaseName, "golang:") {
			if err := last.addGo(ctx); err != nil {
				return nil, err
			}
		}
		say("stage %s from %s", s.Name, s.BaseName)
		for _, c := range s.Commands {
			if err := last.do(ctx, c); err != nil {
				return nil, fmt.Errorf("%v: %w", c, err)
			}
		}
	}
	last.image.root, last.image.env = last.root, last.env
	return &last.image, nil
}

// base is debootstrap's smallest Debian, with this machine's sources.
func (b *build) base(ctx context.Context) (string, error) {
	say("debootstrap %s", suite)
	root := filepath.Join(b.dir, "base")
	if _, err := command(ctx, os.Environ(), "debootstrap", "--variant=minbase", suite, root); err != nil {
		return "", err
	}
	return root, nil
}

// addGo puts this machine's Go where the golang images have it, and the modules that it has already downloaded.
func (s *stage) addGo(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return err
	}
	paths := strings.Fields(string(out))
	if _, err := command(ctx, os.Environ(), "cp", "-a", paths[0], filepath.Join(s.root, "usr/local/go")); err != nil {
		return err
	}
	download := exec.CommandContext(ctx, "go", "mod", "download")
	download.Dir = s.repo
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	modules := filepath.Join(s.root, "modules")
	if _, err := command(ctx, os.Environ(), "cp", "-a", filepath.Join(paths[1], "cache/download"), modules); err != nil {
		return err
	}
	s.env = append(s.env, "GOTOOLCHAIN=local", "GOPATH=/go")
	s.env[0] = "PATH=/go/bin:/usr/local/go/bin:" + strings.TrimPrefix(s.env[0], "PATH=")
	// The network of this machine may need certificates that a base image does not have; go.sum is checked all the same.
	s.args = append(s.args, "GOPROXY=file:///modules", "GOSUMDB=off")
	return nil
}

func (s *stage) do(ctx context.Context, c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			value := a.ValueString()
			if a.Key == "VERSION" {
				value = wantVersion
			}
			s.args = append(s.args, a.Key+"="+value)
		}
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			s.env = append(s.env, kv.Key+"="+kv.Value)
		}
	case *instructions.WorkdirCommand:
		s.workdir = c.Path
		return os.MkdirAll(filepath.Join(s.root, c.Path), 0o755)
	case *instructions.CopyCommand:
		return s.copy(ctx, c)
	case *instructions.RunCommand:
		line := strings.Join(c.CmdLine, " ")
		say("  RUN %.90s", line)
		env := append(append([]string{"HOME=/root", "DEBIAN_FRONTEND=noninteractive"}, s.env...), s.args...)
		_, err := inside(ctx, s.root, "", env, "cp /etc/resolv.conf $R/etc/resolv.conf", "cd "+s.workdir+" && "+line)
		return err
	case *instructions.UserCommand:
		s.image.user = c.User
	case *instructions.VolumeCommand:
		s.image.volumes = append(s.image.volumes, c.Volumes...)
	case *instructions.LabelCommand, *instructions.ExposeCommand, *instructions.HealthCheckCommand, *instructions.CmdCommand:
		// Read by the test beside this program.
	default:
		return fmt.Errorf("imagecheck does not know %s", c.Name())
	}
	return nil
}

// copy from another stage, or from the build context through .dockerignore.
func (s *stage) copy(ctx context.Context, c *instructions.CopyCommand) error {
	target := filepath.Join(s.root, c.DestPath)
	if !filepath.IsAbs(c.DestPath) {
		target = filepath.Join(s.root, s.workdir, c.DestPath)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if c.From != "" {
		for _, src := range c.SourcePaths {
			if _, err := command(ctx, os.Environ(), "cp", "-a", filepath.Join(s.stages[c.From], src), target); err != nil {
				return err
			}
		}
		return nil
	}
	ignored, err := s.ignore()
	if err != nil {
		return err
	}
	for _, src := range c.SourcePaths {
		if err := s.copyContext(src, target, ignored); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) ignore() (*patternmatcher.PatternMatcher, error) {
	f, err := os.Open(filepath.Join(b.repo, ".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return patternmatcher.New(patterns)
}

// copyContext copies a file into the folder target, or what a folder holds, as COPY does.
func (s *stage) copyContext(src, target string, ignored *patternmatcher.PatternMatcher) error {
	from := filepath.Join(s.repo, src)
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.repo, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "bin" && rel == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if skip, err := ignored.MatchesOrParentMatches(rel); err != nil || skip || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(target, below)
		if path == from {
			to = filepath.Join(target, d.Name())
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, info.Mode().Perm())
	})
}
