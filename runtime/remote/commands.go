package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/runtime"
)

// Config is what the commands need of the program that has them.
type Config struct {
	// Admin returns the address to ask when --admin is not given.
	Admin func(*cobra.Command) (string, error)
	// Usage marks an error as a mistake of the user's.
	Usage func(error) error
}

// defaultTimeout is long, as replicas that are added have their Setup run first.
const defaultTimeout = time.Minute

// Commands returns scale, pause and resume.
func Commands(c Config) []*cobra.Command {
	scale := &cobra.Command{
		Use:   "scale [NAME [N|auto]]",
		Short: "Show or change the number of replicas of a processor of a running flow",
		Long: `Show or change the number of replicas of a processor of a running flow.

Without a number it shows how the size is decided, and the last decision: of one
processor, or of all. With a number it fixes the size, for good or with --for for a time;
"auto" gives it back to the autoscaler. The number has to be within the bounds; --min
and --max change these too, alone or with it, until the flow ends. Replicas that are taken
away finish the record that they are at.`,
		Example: "  flow scale bill 4 --for 10m\n  flow scale bill auto\n  flow scale bill --max 32\n  flow scale",
		Args:    c.needs(0, 2, "a processor, and a number of replicas or auto"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.marked(c.scale(cmd, args)) },
	}
	scale.Flags().Duration("for", 0, "how long the number stays fixed, as 10m; default: until it is changed")
	scale.Flags().Int("min", 0, "replicas at least, from now on")
	scale.Flags().Int("max", 0, "replicas at most, from now on")
	pause := &cobra.Command{
		Use: "pause NAME", Short: "Make a consumer of a running flow start no further record",
		Long: `Make a consumer of a running flow start no further record, until resume. What runs
finishes and is written; partitions and leases are kept. With --topic or --partition, only
of these.`,
		Example: "  flow pause bill\n  flow pause bill --topic orders --partition 3",
	}
	resume := &cobra.Command{
		Use: "resume NAME", Short: "Make a paused consumer of a running flow go on",
		Example: "  flow resume bill\n  flow resume bill --topic orders --partition 3",
	}
	for _, cmd := range []*cobra.Command{pause, resume} {
		cmd.Args = c.needs(1, 1, "a consumer")
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.marked(c.pause(cmd, args[0])) }
		cmd.Flags().String("topic", "", "partitions of this topic only")
		cmd.Flags().Int32Slice("partition", nil, "this partition only; may be repeated")
	}
	all := []*cobra.Command{scale, pause, resume}
	for _, cmd := range all {
		cmd.Flags().String("admin", "", "admin address of the flow; default FLOW_ADMIN, or the flow's default")
		cmd.Flags().Bool("json", false, "print the answer as JSON")
		cmd.Flags().Duration("timeout", defaultTimeout, "how long the answer may take; 0 is for ever")
	}
	return all
}

func (c Config) needs(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return c.Usage(fmt.Errorf("%s takes %s: see %s --help", cmd.CommandPath(), usage, cmd.CommandPath()))
		}
		if len(args) > 0 && args[0] == "" {
			return c.Usage(fmt.Errorf("the name of the processor is empty: see %s --help", cmd.CommandPath()))
		}
		return nil
	}
}

// marked marks what the flow refuses.
func (c Config) marked(err error) error {
	var refused refusedError
	if errors.As(err, &refused) {
		return c.Usage(refused.error)
	}
	return err
}

// client reaches the address that a command names. Stop it.
func (c Config) client(cmd *cobra.Command) (to *client, ctx context.Context, stop func(), err error) {
	addr, _ := cmd.Flags().GetString("admin")
	if addr == "" {
		if addr, err = c.Admin(cmd); err != nil {
			return nil, nil, nil, err
		}
	}
	timeout, _ := cmd.Flags().GetDuration("timeout")
	if timeout < 0 {
		return nil, nil, nil, c.Usage(fmt.Errorf("--timeout is %v, want 0 or more", timeout))
	}
	if to, err = newClient(addr, timeout); err != nil {
		return nil, nil, nil, c.Usage(err)
	}
	ctx, stop = signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	return to, ctx, stop, nil
}

func (c Config) scale(cmd *cobra.Command, args []string) error {
	q, err := c.scaling(cmd, args)
	if err != nil {
		return err
	}
	to, ctx, stop, err := c.client(cmd)
	if err != nil {
		return err
	}
	defer stop()
	if q == nil {
		return show(ctx, cmd, to, args)
	}
	var answer runtime.Scaled
	text, err := to.ask(ctx, http.MethodPost, "/scale", q, &answer, func() bool { return answer.Processor == args[0] })
	if err != nil {
		return err
	}
	return say(cmd, text, func(w io.Writer) {
		fmt.Fprintf(w, "%s  scaled %d -> %d, %s\n", answer.Processor, answer.From, answer.Replicas, mode(answer.Autoscale))
	})
}

// scaling is what a command line asks for; nil to show what is.
func (c Config) scaling(cmd *cobra.Command, args []string) (url.Values, error) {
	q := url.Values{}
	if len(args) == 2 {
		if n, err := strconv.Atoi(args[1]); args[1] != "auto" && (err != nil || n < 1) {
			return nil, c.Usage(fmt.Errorf("%q replicas: want a whole number, at least 1, or auto", args[1]))
		}
		q.Set("replicas", args[1])
	}
	for _, name := range []string{"for", "min", "max"} {
		if f := cmd.Flags().Lookup(name); f.Changed {
			q.Set(name, f.Value.String())
		}
	}
	if len(q) == 0 {
		return nil, nil
	}
	if len(args) == 0 {
		return nil, c.Usage(fmt.Errorf("no processor is named: see %s --help", cmd.CommandPath()))
	}
	q.Set("processor", args[0])
	return q, nil
}

// show prints how the sizes are decided.
func show(ctx context.Context, cmd *cobra.Command, to *client, only []string) error {
	var state runtime.Snapshot
	if _, err := to.ask(ctx, http.MethodGet, "/state", nil, &state, func() bool { return state.Flow != "" }); err != nil {
		return err
	}
	found := map[string]*autoscale.Status{}
	var rows []runtime.ProcessorSnapshot
	for _, p := range state.Processors {
		if p.Autoscale != nil && (len(only) == 0 || only[0] == p.Name) {
			found[p.Name], rows = p.Autoscale, append(rows, p)
		}
	}
	if len(rows) == 0 && len(only) > 0 {
		return refusedError{fmt.Errorf("there is no processor %q", only[0])}
	}
	text, err := asJSON(found)
	if err != nil {
		return err
	}
	return say(cmd, text, func(w io.Writer) {
		tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, p := range rows {
			fmt.Fprintf(tab, "%s\t%d replicas\t%s\t%s\n", p.Name, p.Replicas, mode(*p.Autoscale), last(*p.Autoscale))
		}
		_ = tab.Flush()
	})
}

// mode says who decides.
func mode(s autoscale.Status) string {
	bounds := fmt.Sprintf("%d to %d", s.Min, s.Max)
	switch {
	case s.Mode == autoscale.Fixed && s.FixedUntil != nil:
		return "fixed until " + s.FixedUntil.Local().Format(time.TimeOnly) + ", bounds " + bounds
	case s.Mode == autoscale.Fixed:
		return "fixed, bounds " + bounds
	case s.Mode == autoscale.Auto:
		return "auto, " + bounds
	}
	return "does not scale, bounds " + bounds
}

func last(s autoscale.Status) string {
	if s.Last == nil {
		return ""
	}
	return s.Last.Time.Local().Format(time.TimeOnly) + " " + s.Last.Reason
}

func (c Config) pause(cmd *cobra.Command, consumer string) error {
	q := url.Values{"processor": {consumer}}
	if topic := cmd.Flags().Lookup("topic"); topic.Changed {
		if topic.Value.String() == "" { // of a variable that is not set: not all of them
			return c.Usage(fmt.Errorf("--topic is empty: see %s --help", cmd.CommandPath()))
		}
		q.Set("topic", topic.Value.String())
	}
	partitions, _ := cmd.Flags().GetInt32Slice("partition")
	for _, p := range partitions {
		q.Add("partition", strconv.Itoa(int(p)))
	}
	to, ctx, stop, err := c.client(cmd)
	if err != nil {
		return err
	}
	defer stop()
	var answer runtime.Paused
	text, err := to.ask(ctx, http.MethodPost, "/"+cmd.Name(), q, &answer, func() bool { return answer.Processor == consumer })
	if err != nil {
		return err
	}
	return say(cmd, text, func(w io.Writer) {
		done := "goes on"
		if answer.Paused {
			done = "paused"
		}
		if len(answer.Partitions) == 0 {
			fmt.Fprintf(w, "%s  %s\n", answer.Processor, done)
		}
		for _, p := range answer.Partitions {
			fmt.Fprintf(w, "%s  %s  %s\n", answer.Processor, p, done)
		}
	})
}
