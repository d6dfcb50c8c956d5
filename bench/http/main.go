// Command http measures endpoints and collectors of a flow against the same
// handlers written by hand on chi: requests per second, CPU time per request and
// latency, side by side. Both servers have the same timeouts, unless -bare is
// given: then the one by hand has none.
//
//	go run ./bench/http
//
// Both servers run as child processes on 127.0.0.1. A load generator in this
// process drives one at a time, in many short rounds that alternate in the order
// A B B A, each begun with a garbage collection. It prints the median of each
// side, and the median of the ratios of neighbouring rounds, flow to chi, with
// its 95 % confidence interval in brackets. It exits with 1 when -check is given
// and flow has less than 0.95 of chi's requests per second, or a higher p99.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// bare is the flag of that name.
var bare bool

func main() {
	serve := flag.String("serve", "", "serve one side of a pair, as post/flow (used by the program itself)")
	only := flag.String("pair", "", "name of the only pair to measure; empty means all")
	conns := flag.Int("conns", 16, "connections")
	rounds := flag.Int("rounds", 30, "rounds per side")
	length := flag.Duration("round", 300*time.Millisecond, "how long a round is")
	check := flag.Bool("check", false, "exit with 1 when flow has less than 0.95 of chi's requests per second, "+
		"or the whole interval of the ratio of p99 is above 1")
	flag.BoolVar(&bare, "bare", false, "give the server written by hand no timeouts at all, in place of the same ones")
	profile := flag.String("cpuprofile", "", "prefix of files to write the servers' CPU profiles to")
	flag.Parse()

	var err error
	if *serve != "" {
		err = serveSide(*serve, *profile)
	} else {
		err = run(*only, load{conns: *conns, length: *length}, *rounds, *check, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

func run(only string, l load, rounds int, check bool, profile string) error {
	fmt.Printf("%d connections, %d rounds of %s per side\n", l.conns, rounds, l.length)
	fmt.Printf("%-8s %-10s %10s %10s   %s\n", "", "", "flow", "chi", "flow / chi")
	var errs []error
	for _, p := range pairs {
		if only != "" && only != p.name {
			continue
		}
		seen, err := measure(p, l, rounds, profile)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rate := compare(seen, func(s sample) float64 { return s.rate })
		p99 := compare(seen, func(s sample) float64 { return float64(s.p99) })
		print(p.name, "req/s", "%.0f", rate)
		print("", "CPU/req µs", "%.2f", compare(seen, func(s sample) float64 { return float64(s.cpu) / 1e3 }))
		fmt.Printf("%-8s %-10s %10.2f %10.2f\n", "", "    least", float64(least(seen[flowSide]))/1e3, float64(least(seen[chiSide]))/1e3)
		print("", "p50 µs", "%.0f", compare(seen, func(s sample) float64 { return float64(s.p50) / 1e3 }))
		print("", "p99 ms", "%.2f", comparison{p99.flow / 1e6, p99.chi / 1e6, p99.ratio, p99.low, p99.high})
		if check && rate.ratio < 0.95 {
			errs = append(errs, fmt.Errorf("%s: %.3f of chi's requests per second, want 0.95", p.name, rate.ratio))
		}
		if check && p99.low > 1 {
			errs = append(errs, fmt.Errorf("%s: p99 is %.3f (%.3f to %.3f) of chi's", p.name, p99.ratio, p99.low, p99.high))
		}
	}
	return errors.Join(errs...)
}

func print(pair, what, format string, c comparison) {
	fmt.Printf("%-8s %-10s %10s %10s   %.3f [%.3f to %.3f]\n", pair, what,
		fmt.Sprintf(format, c.flow), fmt.Sprintf(format, c.chi), c.ratio, c.low, c.high)
}
