// Command flow creates, runs and inspects programs made with Flow.
//
//	flow new NAME       make a project that compiles and passes its test
//	flow run [PKG]      build and run a flow, and again on every change
//	flow check [PKG]    check a flow, and show every option
//	flow graph [PKG]    print a flow's structure
//	flow tail, send     look at records, and write some
//	flow dlq, replay    mend what went wrong
//	flow scale NAME N   change the number of replicas while a flow runs
//	flow pause, resume  hold up a consumer, and let it go on
//	flow deploy KIND    print what a flow is deployed with
//	flow simulate       play a load against the autoscaler
//	flow version [PKG]  print versions
//
// It never reads source code: it builds the package and asks the program, which
// has the same verbs through flow.Main. A deployed program therefore needs no flow
// command.
//
// While it runs a flow, the command owns the addresses and passes requests on to
// the program, so that a rebuilt program can take the place of the old one without
// a lost request. Where a program uses Kafka and no broker is named, it is the broker
// too, with its topics in the folder kafka of the data folder: the only state that it
// keeps.
//
// It exits with 0 when all went well, with 2 for what the user has to correct and
// that was not started, with 1 for other failures, and otherwise with the code of
// the program.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// usageError is a mistake of the user's: it ends with flow.ExitUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends with the code of a program that was run, which has said why.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// command runs the command line and returns the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	return execute(newRoot(), args, stdout, stderr)
}

func execute(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
		return flow.ExitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	if errors.As(err, &usage) {
		return flow.ExitUsage
	}
	return flow.ExitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "flow", Short: "Create, run and inspect event-driven services made with Flow",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%q is not a command: use one of %s, see flow --help", args[0], strings.Join(verbs(cmd), ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newCommand(), runCommand(), checkCommand(), graphCommand(), simulateCommand(), versionCommand())
	root.AddCommand(deployCommand(describe))
	root.AddCommand(recordCommands()...)
	root.AddCommand(controlCommands()...)
	return root
}

func verbs(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" {
			names = append(names, c.Name())
		}
	}
	return names
}

// packageArg takes the one package, default ".", from what stands before "--",
// and the program's arguments from behind it.
func packageArg(cmd *cobra.Command, args []string) (pkg string, rest []string, err error) {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		args, rest = args[:n], args[n:]
	}
	switch len(args) {
	case 0:
		return ".", rest, nil
	case 1:
		return args[0], rest, nil
	}
	return "", nil, usagef("%d packages are given (%s), want one: arguments of the program go behind --, as in %s . -- ARGS",
		len(args), strings.Join(args, " "), cmd.CommandPath())
}
