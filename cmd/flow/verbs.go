package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check [PKG]", Short: "Check a flow without running it, and show every option with where it comes from",
		RunE: func(cmd *cobra.Command, args []string) error { return passOn(cmd, args, "json", "quiet") },
	}
	cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.Flags().Bool("quiet", false, "print mistakes only")
	envFileFlag(cmd)
	return cmd
}

func graphCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "graph [PKG]", Short: "Print a flow's structure",
		RunE: func(cmd *cobra.Command, args []string) error { return passOn(cmd, args, "format") },
	}
	cmd.Flags().String("format", "text", strings.Join(flow.GraphFormats(), ", "))
	envFileFlag(cmd)
	return cmd
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version [PKG]", Short: "Print the version of this command, or of a program",
		Long: "Print the version of this command. With a package, build it and print the versions\nof the program and of the Flow that is in it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return passOn(cmd, args)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), flow.Version())
			return err
		},
	}
	envFileFlag(cmd)
	return cmd
}

func envFileFlag(cmd *cobra.Command) {
	cmd.Flags().String("env-file", ".env", "file with KEY=VALUE lines for the program; what the shell sets wins")
}

// environmentOf loads the env file that a command's flags name.
func environmentOf(cmd *cobra.Command) (environment, error) {
	file, _ := cmd.Flags().GetString("env-file")
	return loadEnv(file, cmd.Flags().Changed("env-file"))
}

// passOn builds the package and executes the command of the same name in it, with
// those of flags that were given.
func passOn(cmd *cobra.Command, args []string, flags ...string) error {
	pkg, rest, err := packageArg(cmd, args)
	if err != nil {
		return err
	}
	t, err := newTarget(pkg)
	if err != nil {
		return err
	}
	env, err := environmentOf(cmd)
	if err != nil {
		return err
	}
	var buildFlags []string
	if cmd.Name() != "version" { // which shows what the go command stamps
		buildFlags = append(buildFlags, "-buildvcs=false")
	}
	ctx, built, done, err := buildFor(cmd, t, buildFlags...)
	if err != nil {
		return err
	}
	defer done()
	all := []string{cmd.Name()}
	for _, name := range flags {
		if f := cmd.Flags().Lookup(name); f.Changed {
			all = append(all, "--"+name+"="+f.Value.String())
		}
	}
	program := exec.CommandContext(ctx, built.path, append(all, rest...)...)
	program.Env = env
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	return exitOf(program.Run())
}

// buildFor builds what cmd is about to execute. ctx ends with a signal; done releases it
// and removes what was built.
func buildFor(cmd *cobra.Command, t target, flags ...string) (ctx context.Context, out *build, done func(), err error) {
	b, err := newBuilder(t, flags...)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	done = func() {
		stop()
		b.close()
	}
	out, err = b.build(ctx)
	if err == nil {
		err = out.needVerbs(cmd.CommandPath())
	}
	if err != nil {
		done()
		return nil, nil, nil, explain(cmd, err)
	}
	return ctx, out, done, nil
}

// exitOf turns a program's end into an error with its code.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitError(exitCode(exit.ProcessState))
	}
	return err
}

// exitCode is that of a program; for one that a signal ended, 128 and the
// signal's number as shells have it.
func exitCode(s *os.ProcessState) int {
	if code := s.ExitCode(); code >= 0 {
		return code
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return flow.ExitFailed
}

// explain prints the output of a failed build and returns the line that says what
// to do.
func explain(cmd *cobra.Command, err error) error {
	var failed *buildError
	if !errors.As(err, &failed) {
		return err
	}
	if strings.Contains(failed.output, "\n") || position.MatchString(failed.output) {
		fmt.Fprintln(cmd.ErrOrStderr(), failed.output)
		return usagef("the package cannot be run: %s", failed.hint)
	}
	return usagef("%s: %s", strings.TrimPrefix(failed.output, "go: "), failed.hint)
}

// inspectTimeout bounds a program's answer to check: it does no I/O.
const inspectTimeout = 20 * time.Second

// inspect asks a program for its structure, and whether it is in order.
func (b *build) inspect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, "check", "--json")
	cmd.Env = b.env
	group(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &buildError{output: fmt.Sprintf("%s did not answer to check in %v", b.root.ImportPath, inspectTimeout),
			hint: "call flow.Main in its main function, and nothing before it that takes long"}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	var answer struct {
		OK     bool       `json:"ok"`
		Errors []string   `json:"errors"`
		Graph  flow.Graph `json:"graph"`
	}
	// A program may print lines of its own before flow.Main does.
	text := stdout.String()
	if i := strings.LastIndex("\n"+text, "\n{\n"); i >= 0 {
		text = text[i:]
	}
	if bad := json.Unmarshal([]byte(text), &answer); bad != nil {
		said := strings.TrimPrefix(strings.TrimSpace(stderr.String()), "error: ")
		if said == "" {
			said = fmt.Sprint(errors.Join(err, bad))
		}
		return &buildError{output: b.root.ImportPath + " does not answer to check: " + said, hint: "call flow.Main in its main function"}
	}
	b.graph = answer.Graph
	if !answer.OK {
		return &buildError{output: strings.Join(answer.Errors, "\n"), hint: "correct the flow or its environment"}
	}
	return nil
}
