package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/flowkit-go/flow/bench/kafka/cluster"
	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// options are the flags.
type options struct {
	brokers []string
	only    []string // programs
	rounds  int
	records int // of copy and memory
	rate    int // of latency and soak, per second
	length  time.Duration
	wait    time.Duration
	tasks   int
	waiting int // records of waiting
	conns   int
	soak    time.Duration
	parts   int
	verbose bool
}

func main() {
	program := flag.String("program", "", "run one program, as copy/sarama (used by the command itself)")
	var w programs.Work
	flag.StringVar(&w.In, "in", "", "input topic of -program")
	flag.StringVar(&w.Out, "out", "", "output topic of -program")
	flag.StringVar(&w.Group, "group", "", "consumer group of -program")
	var o options
	brokers := flag.String("brokers", os.Getenv("FLOW_KAFKA_BROKERS"), "addresses of the brokers, separated by commas; FLOW_KAFKA_BROKERS")
	jobs := flag.String("job", "copy,latency,waiting,each,collect,memory", "jobs to run, separated by commas; also soak")
	only := flag.String("only", "", "programs to run, separated by commas; empty means all")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds per program")
	flag.IntVar(&o.records, "records", 1_000_000, "records of copy and memory")
	flag.IntVar(&o.rate, "rate", 2000, "records per second of latency and soak")
	flag.DurationVar(&o.length, "length", 6*time.Second, "length of a round of latency, each and collect")
	flag.DurationVar(&o.wait, "wait", 10*time.Millisecond, "time that a handler of waiting waits")
	flag.IntVar(&o.tasks, "tasks", 1000, "handlers at the same time in waiting")
	flag.IntVar(&o.waiting, "waiting-records", 400_000, "records of waiting")
	flag.IntVar(&o.conns, "conns", 64, "connections of collect")
	flag.DurationVar(&o.soak, "soak", 10*time.Minute, "length of soak")
	flag.IntVar(&o.parts, "partitions", 6, "partitions of every topic")
	flag.BoolVar(&o.verbose, "v", false, "say what is going on")
	asJSON := flag.String("json", "", "file to write all figures to")
	smoke := flag.Bool("smoke", false, "one short round of all jobs, to see that it all works; its figures mean nothing")
	check := flag.Bool("check", false, "exit with 1 when Flow misses one of the goals in check.go")
	profile := flag.String("cpuprofile", "", "folder to write a CPU profile of each program's last round to")
	flag.Parse()
	if *smoke {
		o.rounds, o.records, o.length, o.waiting, o.tasks, o.soak = 1, 30_000, 1500*time.Millisecond, 20_000, 200, 10*time.Second
	}
	if *brokers == "" {
		fail(errors.New("which brokers? Start one with scripts/kafka/kafka start, and give -brokers or FLOW_KAFKA_BROKERS"))
	}
	o.brokers = strings.Split(*brokers, ",")
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *program != "" {
		w.Brokers, w.Wait, w.Tasks = o.brokers, o.wait, o.tasks
		fail(runProgram(ctx, *program, w))
		return
	}
	b := &bench{options: o, profiles: *profile, stamp: time.Now().UnixMilli()}
	err := b.run(ctx, strings.Split(*jobs, ","))
	b.print(os.Stdout)
	if *asJSON != "" {
		err = errors.Join(err, b.write(*asJSON))
	}
	if *check {
		err = errors.Join(err, b.check())
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

// bench is one run of the command.
type bench struct {
	options
	profiles string
	stamp    int64 // tells the groups and topics of runs apart
	made     int
	c        *cluster.Cluster
	results  []*result
}

func (b *bench) run(ctx context.Context, jobs []string) (err error) {
	known := map[string]func(context.Context) error{
		"copy": b.copy, "latency": b.latency, "waiting": b.waitingJob, "each": b.each, "collect": b.collect, "memory": b.memory, "soak": b.soakJob,
	}
	for _, job := range jobs {
		if known[job] == nil {
			return fmt.Errorf("there is no job %q", job)
		}
	}
	if b.c, err = cluster.Dial(ctx, b.brokers); err != nil {
		return err
	}
	defer b.c.Close()
	for _, job := range jobs {
		if err := known[job](ctx); err != nil {
			return fmt.Errorf("%s: %w", job, err)
		}
	}
	return nil
}

// turns runs measure for each program of a job, in rounds in which they alternate.
func (b *bench) turns(ctx context.Context, job string, as string, measure func(ctx context.Context, p programs.Program) (figures, error)) error {
	var chosen []programs.Program
	for _, p := range programs.Jobs[job] {
		if len(b.only) == 0 || slices.Contains(b.only, p.Name) {
			chosen = append(chosen, p)
		}
	}
	results := map[string]*result{}
	for _, p := range chosen {
		results[p.Name] = &result{Job: as, Program: p.Name}
		b.results = append(b.results, results[p.Name])
	}
	for round := range b.rounds {
		if round%2 == 1 {
			slices.Reverse(chosen)
		}
		for _, p := range chosen {
			f, err := measure(ctx, p)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", p.Name, round+1, err)
			}
			results[p.Name].Rounds = append(results[p.Name].Rounds, f)
			if b.verbose {
				fmt.Fprintf(os.Stderr, "%s %s %v\n", as, p.Name, f)
			}
		}
		if round%2 == 1 {
			slices.Reverse(chosen)
		}
	}
	return nil
}

// name makes a name that no other round uses.
func (b *bench) name(what string) string {
	b.made++
	return fmt.Sprintf("bench-%s-%d-%d", what, b.stamp, b.made)
}
