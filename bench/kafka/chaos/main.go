package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	mode    string
	records int
	keys    int
	parts   int
	length  time.Duration
	members int
	every   time.Duration // between two joins, leaves or kills of members
	freeze  time.Duration
	brokers bool // kill them
	seed    uint64
	script  string
	port    int
	verbose bool
}

func main() {
	var m membership
	flag.StringVar(&m.name, "member", "", "run as the member of this name (used by the command itself)")
	flag.StringVar(&m.brokers, "bootstrap", "", "addresses of the brokers, of -member")
	flag.StringVar(&m.in, "in", "", "input topic of -member")
	flag.StringVar(&m.out, "out", "", "output topic of -member")
	flag.StringVar(&m.group, "group", "", "consumer group of -member")
	var o options
	flag.StringVar(&o.mode, "mode", modes[0].name, "what members do: "+strings.Join(modeNames(), ", "))
	flag.IntVar(&o.records, "records", 200_000, "records to send")
	flag.IntVar(&o.keys, "keys", 1000, "keys of the records")
	flag.IntVar(&o.parts, "partitions", 6, "partitions of both topics")
	flag.DurationVar(&o.length, "length", time.Minute, "time in which the records are sent and things fail")
	flag.IntVar(&o.members, "members", 5, "members at most")
	flag.DurationVar(&o.every, "every", 2*time.Second, "time between two joins, leaves and kills of members; 0 for none")
	flag.DurationVar(&o.freeze, "freeze", 15*time.Second, "how long a member is frozen; 0 for not")
	flag.BoolVar(&o.brokers, "brokers", true, "kill each broker once")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is chosen at random")
	flag.StringVar(&o.script, "script", "../../scripts/kafka/kafka", "the script that starts brokers")
	flag.IntVar(&o.port, "port", 29092, "first port of the brokers")
	flag.BoolVar(&o.verbose, "v", false, "say what is done, and what members log")
	asJSON := flag.String("json", "", "file to write the verdict to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if m.name != "" {
		fail(m.run(ctx, o.mode))
		return
	}
	mode, err := modeOf(o.mode)
	fail(err)
	r := &run{options: o, mode: mode}
	v, err := r.run(ctx)
	if v != nil {
		v.print()
		if *asJSON != "" {
			data, bad := json.MarshalIndent(v, "", "  ")
			err = errors.Join(err, bad, os.WriteFile(*asJSON, append(data, '\n'), 0o644))
		}
		if v.violated > 0 {
			err = errors.Join(err, fmt.Errorf("%d violations", v.violated))
		}
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func (v *verdict) print() {
	fmt.Printf("%d records, %d outputs, %d repeated; a restart repeated %d of a partition at most; %d came late from a frozen member\n",
		v.Records, v.Outputs, v.Duplicates, v.Window, v.Late)
	fmt.Printf("a member began anew in a key %d times at most; commits looked at %d times; a partition waited %s at most\n",
		v.Restarts, v.Samples, v.Pause.Round(time.Millisecond))
	if v.FailedLeaves > 0 {
		fmt.Printf("%d members could not leave in good order while brokers were away\n", v.FailedLeaves)
	}
	for _, r := range v.Repetitions {
		fmt.Println(r)
	}
	for _, s := range v.Violations {
		fmt.Println("VIOLATED:", s)
	}
	if v.violated > len(v.Violations) {
		fmt.Printf("and %d more\n", v.violated-len(v.Violations))
	}
}

// A mode is a kind of member.
type mode struct {
	name        string
	run         func(ctx context.Context, m membership) error
	exactlyOnce bool
	window      int64 // records of a partition that a restart may repeat; 0 means what is not committed
}

func modeNames() []string {
	var names []string
	for _, m := range modes {
		names = append(names, m.name)
	}
	return names
}

func modeOf(name string) (mode, error) {
	i := slices.IndexFunc(modes, func(m mode) bool { return m.name == name })
	if i < 0 {
		return mode{}, fmt.Errorf("there is no mode %q; there are %s", name, strings.Join(modeNames(), ", "))
	}
	return modes[i], nil
}
