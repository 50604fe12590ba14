// Package wire holds what both binaries share: their common settings, how a command line is parsed, how logs look,
// and the constructors that turn settings into a store and an embedder. Only cmd imports it.
package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// Exit codes of both binaries. The indexer's others are reconcile's.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Build is stamped by the linker into each main package.
type Build struct{ Version, Commit string }

func (b Build) String() string { return b.Version + " (" + b.Commit + ")" }

// Output is standard output, which carries a command's result. It remembers the first write that failed: a result that
// did not arrive is a failure, whichever command printed it and whether it looked.
type Output struct {
	to  io.Writer
	err error
}

// NewOutput returns the Output of a process that writes to w.
func NewOutput(w io.Writer) *Output { return &Output{to: w} }

func (o *Output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// Exit is the process's exit code after code: ExitFailed, said in one line, when the result of what was done well
// did not arrive.
func (o *Output) Exit(code int, name string, stderr io.Writer) int {
	if o.err == nil || code != ExitDone {
		return code
	}
	return Exit(fmt.Errorf("the result was not written: %w", o.err), name, stderr)
}

// exited carries kong's wish to end the process (after --help or --version) up to Parse.
type exited int

// Parse fills cli from args and the environment. ok is false when the program should end now with code:
// after --help and --version (0), or after a usage error, which Parse has printed in one line (2).
func Parse(cli any, args []string, name, description string, b Build, stdout *Output, stderr io.Writer) (ctx *kong.Context, code int, ok bool) {
	unsetEmpty(os.Environ())
	parser, err := kong.New(cli,
		kong.Name(name),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Vars{"version": b.String()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Exit(func(c int) { panic(exited(c)) }),
	)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return nil, ExitUsage, false
	}
	defer func() {
		if r := recover(); r != nil {
			c, isExit := r.(exited)
			if !isExit {
				panic(r)
			}
			ctx, code, ok = nil, int(c), false
		}
	}()
	ctx, err = parser.Parse(args)
	if stdout.err != nil { // --help did not arrive, which is no mistake in the arguments
		return nil, ExitDone, false
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", name, nameVariable(parser.Model.Node, oneLine(err)))
		return nil, ExitUsage, false
	}
	return ctx, ExitDone, true
}

// nameVariable puts the variable's name before that of a flag which an error speaks of: most settings come from the
// environment, and whoever set one there never wrote the flag.
func nameVariable(node *kong.Node, msg string) string {
	for _, f := range node.Flags {
		flag := "--" + f.Name
		if i := strings.Index(msg, flag); i >= 0 && len(f.Envs) > 0 && !strings.Contains(msg, f.Envs[0]) {
			if rest := msg[i+len(flag):]; rest == "" || strings.ContainsAny(rest[:1], " =:,") {
				return f.Envs[0] + " (" + flag + ")" + rest
			}
		}
	}
	for _, child := range node.Children {
		if named := nameVariable(child, msg); named != msg {
			return named
		}
	}
	return msg
}

// unsetEmpty makes an empty variable count as unset, as a task definition writes "no value".
func unsetEmpty(environ []string) {
	for _, kv := range environ {
		if k, v, found := strings.Cut(kv, "="); found && v == "" && k != "" {
			_ = os.Unsetenv(k)
		}
	}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// SettingError says which variable holds a wrong value.
func SettingError(variable, reason string, args ...any) error {
	return fmt.Errorf("%s: "+reason, append([]any{variable}, args...)...)
}

// Coded is an error that ends the process with its own exit code.
type Coded struct {
	Code int
	Err  error
}

func (c *Coded) Error() string { return c.Err.Error() }
func (c *Coded) Unwrap() error { return c.Err }

// Exit prints err in one line and returns the process's exit code.
func Exit(err error, name string, stderr io.Writer) int {
	if err == nil {
		return ExitDone
	}
	code := ExitFailed
	if c, ok := errors.AsType[*Coded](err); ok {
		code = c.Code
	}
	if msg := oneLine(err); msg != "" {
		fmt.Fprintf(stderr, "%s: %s\n", name, msg)
	}
	return code
}

// Log is how a process logs.
type Log struct {
	Level  string `name:"log-level" env:"LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"Least severe level that is logged: debug, info, warn or error."`
	Format string `name:"log-format" env:"LOG_FORMAT" default:"auto" enum:"auto,json,text" help:"json or text; auto is text on a terminal, json elsewhere."`
}

// Logger writes to w, which is standard error in every command.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // the enum admits only names that slog knows
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "text" || l.Format == "auto" && IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// IsTerminal tells whether w is an interactive terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
