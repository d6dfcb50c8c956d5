package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"
)

func main() {
	if roles := os.Getenv(roleVar); roles != "" {
		serve(roles)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program and returns its exit code: 1 when anything is lost or
// goes wrong, 2 for a wrong flag.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var conf config
	flags := flag.NewFlagSet("crash", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Int64Var(&conf.records, "records", 100_000, "records to send")
	flags.IntVar(&conf.size, "size", 1000, "bytes of a record's payload")
	flags.IntVar(&conf.batch, "batch", 50, "records in a request")
	flags.IntVar(&conf.kills, "kills", 10, "how often the process is killed")
	flags.Uint64Var(&conf.seed, "seed", 0, "of the random moments and contents; 0 draws one")
	flags.StringVar(&conf.dir, "dir", "", "folder for the queue and the table, which is kept; default a temporary one, which is kept on failure")
	flags.DurationVar(&conf.deadline, "deadline", 5*time.Minute, "time after which the run has failed")
	verbose := flags.Bool("verbose", false, "print what happens, and the service's log")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *verbose {
		conf.verbose = stderr
	}
	if conf.seed == 0 {
		conf.seed = rand.Uint64N(1_000_000) + 1
	}
	if err := conf.validate(); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 2
	}
	given := conf.dir != ""
	if !given {
		var err error
		if conf.dir, err = os.MkdirTemp("", "flow-crash-"); err != nil {
			fmt.Fprintf(stderr, "error: %v\n", err)
			return 1
		}
	}
	err := crash(ctx, conf, stdout)
	if err == nil {
		if !given {
			err = os.RemoveAll(conf.dir)
		}
		if err == nil {
			fmt.Fprintln(stdout, "\nnothing is lost")
			return 0
		}
	}
	fmt.Fprintf(stderr, "error: %v\nseed %d, the files are in %s\n", err, conf.seed, conf.dir)
	return 1
}

// errLost is returned when the table is not what was sent.
var errLost = errors.New("records are lost or altered")

// crash does one run, compares and prints the summary.
func crash(ctx context.Context, conf config, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, conf.deadline, fmt.Errorf("not done within the deadline of %v", conf.deadline))
	defer cancel()
	if rows, err := countRows(ctx, conf.dir); err != nil || rows > 0 {
		return errors.Join(fmt.Errorf("%s holds %d records already: give another folder with --dir", conf.dir, rows), err)
	}
	began := time.Now()
	r := &runner{
		conf: conf, client: newClient(conf), result: &result{},
		random: rand.New(rand.NewPCG(conf.seed, uint64(conf.records))),
	}
	err := r.run(ctx)
	r.result.took = time.Since(began)
	if err != nil {
		return err
	}
	if r.result.verdict, err = verify(ctx, conf); err != nil {
		return fmt.Errorf("compare the table: %w", err)
	}
	r.result.print(out, conf, r.client)
	switch {
	case r.result.lost():
		return errLost
	case r.result.kills != conf.kills:
		return fmt.Errorf("the process was killed %d times, want %d", r.result.kills, conf.kills)
	}
	return nil
}
