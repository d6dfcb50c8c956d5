package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// recordCommands are the commands that look into what a program reads and writes.
// The program has them itself: see flow.Main. Where it uses Kafka and no broker is
// named, they use that of a flow run with the same data folder, or start it.
func recordCommands() []*cobra.Command {
	const where = " [PKG]"
	tail := &cobra.Command{
		Use: "tail" + where + " PROCESSOR|PRIMITIVE", Short: "Show the records of a source or sink, and those that come, without taking them",
		Example: "  flow tail bill\n  flow tail ./examples/quakes kafka:orders --from 1h --follow=false --format json",
	}
	tail.Flags().String("from", "", "begin there: earliest, latest, an offset, a time, a day, or a duration as 1h for that long ago")
	tail.Flags().IntP("records", "n", 10, "begin with so many of the last records; with --from, end after so many")
	tail.Flags().Bool("follow", true, "go on with the records that come; otherwise end with what is stored now")
	tail.Flags().String("format", "text", "text, json, value")

	send := &cobra.Command{
		Use: "send" + where + " PROCESSOR|PRIMITIVE [VALUE...]", Short: "Write records to a source or sink",
		Example: "  flow send orders '{\"id\": \"a\", \"cents\": 100}'\n  flow send ./shop kafka:orders --key ada < orders.jsonl",
	}
	send.Flags().String("key", "", "key of the records; default: what the primitive makes of the value")
	send.Flags().StringArray("header", nil, "header as name=value; may be repeated")
	send.Flags().Bool("raw", false, "do not look at the values, and make no keys")

	replay := &cobra.Command{
		Use: "replay" + where + " CONSUMER --from PLACE", Short: "Make a stopped consumer read again, or skip, from a place in its source",
		Example: "  flow replay bill --from earliest\n  flow replay bill --from 3@812 --from 4@790",
	}
	replay.Flags().StringArray("from", nil, "earliest, latest, an offset, a time, a day, a duration as 1h; or partition@offset, which may be repeated")
	replay.Flags().Bool("dry-run", false, "show what would be set and set nothing")

	dlq := &cobra.Command{
		Use: "dlq", Short: "List, show, send back or drop dead letters",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%q is not a command of dlq: use one of list, show, retry, drop", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{Use: "list" + where + " [CONSUMER]", Short: "List dead letters, one per line"}
	list.Flags().Bool("json", false, "print a JSON object per line, with key, value and headers")
	show := &cobra.Command{Use: "show" + where + " CONSUMER POSITION...", Short: "Show dead letters in full"}
	retry := &cobra.Command{Use: "retry" + where + " CONSUMER POSITION...|--all", Short: "Send dead letters back to where they were read"}
	retry.Flags().Bool("keep-time", false, "with the time of the original record; default: the present, as an old record may be too old to be kept")
	drop := &cobra.Command{Use: "drop" + where + " CONSUMER POSITION...|--all", Short: "Mark dead letters as done without sending them back"}
	for _, cmd := range []*cobra.Command{retry, drop} {
		cmd.Flags().Bool("all", false, "all that are listed")
	}
	dlq.AddCommand(list, show, retry, drop)

	for cmd, passed := range map[*cobra.Command][]string{
		tail: {"from", "records", "follow", "format"}, send: {"key", "header", "raw"}, replay: {"from", "dry-run"},
		list: {"json"}, show: nil, retry: {"all", "keep-time"}, drop: {"all"},
	} {
		cmd.Long = cmd.Short + ".\n\nThe program has this command itself and explains more: " + programHelp(cmd)
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return passRecords(cmd, args, passed) }
		cmd.Flags().String("data", "", "folder for the state of embedded queues and tables; default FLOW_DATA or .flow")
		envFileFlag(cmd)
	}
	return []*cobra.Command{tail, send, replay, dlq}
}

// programHelp is how to ask the program.
func programHelp(cmd *cobra.Command) string {
	words := cmd.Name()
	for p := cmd.Parent(); p != nil; p = p.Parent() {
		words = p.Name() + " " + words
	}
	return "APP " + words + " --help."
}

// recordsPackage takes the package from the arguments: the first, where it looks
// like a folder. The names of processors and primitives do not.
func recordsPackage(args []string) (pkg string, rest []string) {
	if len(args) > 0 && (args[0] == "." || args[0] == ".." || filepath.IsAbs(args[0]) ||
		strings.HasPrefix(args[0], "./") || strings.HasPrefix(args[0], "../") || strings.HasPrefix(args[0], `.\`)) {
		return args[0], args[1:]
	}
	return ".", args
}

// passRecords builds the package, sees to it that the broker is there that it
// needs, and executes the command of the same name in it.
func passRecords(cmd *cobra.Command, args, flags []string) error {
	pkg, rest := recordsPackage(args)
	t, err := newTarget(pkg)
	if err != nil {
		return err
	}
	env, err := environmentOf(cmd)
	if err != nil {
		return err
	}
	data, _ := cmd.Flags().GetString("data")
	env, data = dataFolder(env, data)
	ctx, built, done, err := buildFor(cmd, t, "-buildvcs=false")
	if err != nil {
		return err
	}
	defer done()
	built.env = env
	told := newTalk(cmd.ErrOrStderr(), false)
	local := &standIn{dir: data, share: true, complain: func(text string) { told.warn("%s", text) }}
	defer local.close()
	if _, err := local.ask(ctx, built); err != nil {
		return explain(cmd, err)
	}
	var all []string
	for c := cmd; c.HasParent(); c = c.Parent() {
		all = append([]string{c.Name()}, all...)
	}
	for _, name := range flags {
		f := cmd.Flags().Lookup(name)
		if !f.Changed {
			continue
		}
		values := []string{f.Value.String()}
		if many, err := cmd.Flags().GetStringArray(name); err == nil {
			values = many
		}
		for _, v := range values {
			all = append(all, "--"+name+"="+v)
		}
	}
	if len(rest) > 0 {
		all = append(append(all, "--"), rest...)
	}
	program := exec.CommandContext(ctx, built.path, all...)
	program.Env = built.env
	program.Stdin, program.Stdout, program.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	// In a terminal Ctrl-C has reached the program too: it ends by itself.
	program.Cancel = func() error { return interrupt(program, false) }
	program.WaitDelay = toDie
	err = program.Run()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // it has ended well when it was told to
	}
	return exitOf(err)
}

// dataFolder decides about the folder as flow run does, and puts it into env.
func dataFolder(env environment, flag string) (environment, string) {
	s := &session{data: flag}
	s.settle(env)
	return env.with("FLOW_DATA", s.data), s.data
}
