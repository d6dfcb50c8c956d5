package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Exit codes of Main and of the flow command.
const (
	ExitOK     = 0
	ExitFailed = 1 // the flow failed, or work was abandoned
	ExitUsage  = 2 // a mistake in the flow, a flag or the environment; nothing was started
)

// Main runs the flow as a program: it reads the command line, handles signals and
// exits. The first SIGINT or SIGTERM drains, the second stops at once.
//
// The program has the commands run (the default), check, graph and version, and
// tail, send, replay and dlq to look into what it reads and writes and to mend what
// went wrong there, scale, pause and resume to change a flow that runs, and scaler to
// have processes added and removed by KEDA; each explains itself with --help.
func Main(app *Flow) {
	os.Exit(app.main(os.Args[1:], os.Stdout, os.Stderr))
}

// usageError marks what ends with ExitUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func (f *Flow) main(args []string, stdout, stderr io.Writer) int {
	return f.execute(context.Background(), args, os.Stdin, stdout, stderr)
}

// execute is main with a context whose end is that of a command, as a signal is.
func (f *Flow) execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := f.commands()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code := ExitFailed
	var usage usageError
	if errors.As(err, &usage) {
		code, err = ExitUsage, usage.error
	}
	for _, line := range split(err) {
		fmt.Fprintf(stderr, "error: %v\n", line)
	}
	return code
}

// commands builds the command line of the user's program.
func (f *Flow) commands() *cobra.Command {
	root := &cobra.Command{
		Use: f.name, Short: "Run the flow " + f.name,
		SilenceErrors: true, SilenceUsage: true,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.runCommand(cmd) },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	run := &cobra.Command{
		Use: "run", Short: "Run the flow (the default)", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.runCommand(cmd) },
	}
	for _, cmd := range []*cobra.Command{root, run} {
		cmd.Flags().String("http", "", "address for collectors and endpoints, default "+DefaultHTTPAddr)
		cmd.Flags().String("admin", "", "address for health, metrics and state, default "+DefaultAdminAddr+`; "off" for none`)
		cmd.Flags().String("only", "", "processors to run, separated by commas, as bill,ship; default FLOW_ONLY, or all")
		cmd.Flags().Bool("json", false, "log as JSON")
	}
	root.AddCommand(f.tailCommand(), f.sendCommand(), f.replayCommand(), f.dlqCommand(), f.scalerCommand())
	root.AddCommand(f.controlCommands()...)
	root.AddCommand(run, f.checkCommand(), f.graphCommand(), &cobra.Command{
		Use: "version", Short: "Print the versions of the program and of Flow", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), f.name, Version())
			return err
		},
	})
	return root
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q is not a command: see %s --help", args[0], cmd.Root().Name())}
	}
	return nil
}

// Version describes the program's build: its module's version and Flow's.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const module = "github.com/flowkit-go/flow"
	version := func(v string) string {
		if v == "" || v == "(devel)" {
			return "devel"
		}
		return v
	}
	if info.Main.Path == module {
		return fmt.Sprintf("flow %s, %s", version(info.Main.Version), info.GoVersion)
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return fmt.Sprintf("%s, flow %s, %s", version(info.Main.Version), version(dep.Version), info.GoVersion)
		}
	}
	return fmt.Sprintf("%s, %s", version(info.Main.Version), info.GoVersion)
}

// runCommand runs the flow until a signal or its end.
func (f *Flow) runCommand(cmd *cobra.Command) error {
	for _, flag := range []string{"http", "admin", "only"} {
		if v, _ := cmd.Flags().GetString(flag); v != "" {
			if err := os.Setenv("FLOW_"+envName(flag), v); err != nil {
				return err
			}
		}
	}
	if f.opts.logger == nil {
		f.opts.logger = newLogger(cmd)
	}
	if err := f.Validate(); err != nil {
		return usageError{err}
	}
	user := f.opts.ready
	f.opts.ready = func(a Addresses) {
		if os.Getenv(Announce) != "off" {
			f.announce(cmd.OutOrStdout(), a)
		}
		tellParent(a)
		if user != nil {
			user(a)
		}
	}
	ctx, hard, stop := signals()
	defer stop()
	err := f.RunHard(ctx, hard)
	if errors.Is(err, syscall.EADDRINUSE) {
		return usageError{err}
	}
	return err
}

// newLogger logs as text or JSON to stderr, lines of all levels: log_level decides
// for each processor.
func newLogger(cmd *cobra.Command) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), opts))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), opts))
}

// announce prints where the flow can be reached and what runs in it.
func (f *Flow) announce(w io.Writer, a Addresses) {
	fmt.Fprintf(w, "flow %s\n", f.name)
	if a.HTTP != "" {
		fmt.Fprintf(w, "  http     http://%s\n", a.HTTP)
	}
	if a.Admin != "" {
		fmt.Fprintf(w, "  admin    http://%s  /livez /readyz /metrics /state\n", a.Admin)
	}
	fmt.Fprintln(w)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	only, _ := f.only() // Validate has reported a mistake in it
	for _, n := range f.Graph().Processors {
		if chosen(only, n.Name) {
			fmt.Fprintf(tab, "  %s\n", n.line())
		}
	}
	_ = tab.Flush()
	fmt.Fprintln(w)
}

// ReadyFD names the environment variable with the number of a file descriptor to
// which a program started by `flow run` writes its Addresses as one line of JSON
// once it has started.
const ReadyFD = "FLOW_READY_FD"

// Announce names the environment variable that, when it is "off", keeps a program
// from printing where it can be reached once it has started: `flow run` prints
// that itself, as it owns the addresses.
const Announce = "FLOW_ANNOUNCE"

func tellParent(a Addresses) {
	fd, err := strconv.Atoi(os.Getenv(ReadyFD))
	if err != nil || fd < 3 {
		return
	}
	pipe := os.NewFile(uintptr(fd), "ready")
	_ = json.NewEncoder(pipe).Encode(a)
	_ = pipe.Close()
}

// signals returns a context that the first SIGINT or SIGTERM ends and one that
// the second ends.
func signals() (ctx, hard context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	hard, cancelHard := context.WithCancel(context.Background())
	got := make(chan os.Signal, 2)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, end := range []func(){cancel, cancelHard} {
			select {
			case <-got:
				end()
			case <-over:
				return
			}
		}
	}()
	return ctx, hard, func() {
		signal.Stop(got)
		close(over)
		<-done
		cancel()
		cancelHard()
	}
}

// checkCommand validates and shows the effective options.
func (f *Flow) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the flow without running it, and show every option with where it comes from",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := f.Validate()
			asJSON, _ := cmd.Flags().GetBool("json")
			quiet, _ := cmd.Flags().GetBool("quiet")
			switch {
			case asJSON:
				if err := f.writeCheck(cmd.OutOrStdout(), err); err != nil {
					return err
				}
			case err == nil && !quiet:
				f.printSettings(cmd.OutOrStdout())
			}
			if err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.Flags().Bool("quiet", false, "print mistakes only")
	return cmd
}

// checked is the JSON form of a check.
type checked struct {
	OK     bool     `json:"ok"`
	Errors []string `json:"errors,omitempty"`
	Graph  Graph    `json:"graph"`
}

func (f *Flow) writeCheck(w io.Writer, err error) error {
	c := checked{OK: err == nil, Graph: f.Graph()}
	if err != nil {
		for _, e := range split(err) {
			c.Errors = append(c.Errors, e.Error())
		}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(c)
}

func (f *Flow) printSettings(w io.Writer) {
	g := f.Graph()
	fmt.Fprintf(w, "flow %s: ok, %d processors\n", f.name, len(g.Processors))
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range g.Processors {
		fmt.Fprintf(tab, "\n%s %s\t\t%s\t\n", n.Kind, n.Name, n.At)
		for _, s := range n.Settings {
			fmt.Fprintf(tab, "  %s\t%s\t%s\t%s\n", s.Option, s.Value, s.From, s.Env)
		}
	}
	_ = tab.Flush()
}

func (f *Flow) graphCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "graph", Short: "Print the flow's structure", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, _ := cmd.Flags().GetString("format")
			if err := f.Graph().Write(cmd.OutOrStdout(), format); err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	cmd.Flags().String("format", "text", "text, json, mermaid or dot")
	return cmd
}
