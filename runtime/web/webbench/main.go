// Command webbench measures an endpoint of package web against the same handler
// written by hand on chi: requests per second and latency, side by side.
//
//	go run ./runtime/web/webbench
//
// Both servers run as child processes on 127.0.0.1. A load generator in this
// process drives one at a time, in rounds that alternate in the order A B B A,
// and prints per pair of handlers the median of the ratios of neighbouring
// rounds and the medians of p50 and p99. It exits with 1 when -check is given
// and a ratio is below 0.95.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	serve := flag.String("serve", "", "serve one side of a pair, as post/flow (used by the program itself)")
	only := flag.String("pair", "", "name of the only pair to measure; empty means all")
	conns := flag.Int("conns", 16, "connections")
	rounds := flag.Int("rounds", 6, "rounds per side")
	length := flag.Duration("round", time.Second, "how long a round is")
	check := flag.Bool("check", false, "exit with 1 when flow has less than 0.95 of chi's requests per second")
	profile := flag.String("cpuprofile", "", "prefix of files to write the servers' CPU profiles to")
	flag.Parse()

	var err error
	if *serve != "" {
		err = serveSide(*serve, *profile)
	} else {
		err = run(*only, load{conns: *conns, length: *length}, *rounds, *check, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "webbench:", err)
		os.Exit(1)
	}
}

func run(only string, l load, rounds int, check bool, profile string) error {
	var errs []error
	fmt.Printf("%d connections, %d rounds of %s per side\n", l.conns, rounds, l.length)
	fmt.Printf("%-8s %12s %12s %8s %19s %19s\n", "pair", "flow req/s", "chi req/s", "ratio", "p50 flow / chi", "p99 flow / chi")
	for _, p := range pairs {
		if only != "" && only != p.name {
			continue
		}
		res, err := measure(p, l, rounds, profile)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%-8s %12.0f %12.0f %8.3f %9s/%9s %9s/%9s\n", p.name, res.rate[flowSide], res.rate[chiSide], res.ratio,
			short(res.p50[flowSide]), short(res.p50[chiSide]), short(res.p99[flowSide]), short(res.p99[chiSide]))
		if check && res.ratio < 0.95 {
			errs = append(errs, fmt.Errorf("%s: ratio %.3f is below 0.95", p.name, res.ratio))
		}
	}
	return errors.Join(errs...)
}

func short(d time.Duration) string { return d.Round(time.Microsecond).String() }

const (
	flowSide = iota
	chiSide
)

var sides = [2]string{"flow", "chi"}

// result holds medians over the rounds.
type result struct {
	rate     [2]float64
	p50, p99 [2]time.Duration
	ratio    float64
}

func measure(p pair, l load, rounds int, profile string) (result, error) {
	var addrs [2]string
	for side := range sides {
		addr, stop, err := startSide(p.name+"/"+sides[side], profile)
		if err != nil {
			return result{}, err
		}
		defer stop()
		addrs[side] = addr
	}
	short := l
	short.length = 300 * time.Millisecond
	for side := range sides {
		if _, err := short.run(addrs[side], p.request); err != nil {
			return result{}, fmt.Errorf("%s: %w", sides[side], err)
		}
	}
	var seen [2][]sample
	for round := range rounds {
		for _, side := range [2]int{round % 2, 1 - round%2} { // A B, B A, A B ...
			s, err := l.run(addrs[side], p.request)
			if err != nil {
				return result{}, fmt.Errorf("%s: %w", sides[side], err)
			}
			seen[side] = append(seen[side], s)
		}
	}
	var res result
	var ratios []float64
	for round := range rounds {
		ratios = append(ratios, seen[flowSide][round].rate/seen[chiSide][round].rate)
	}
	res.ratio = median(ratios)
	for side := range sides {
		res.rate[side] = median(each(seen[side], func(s sample) float64 { return s.rate }))
		res.p50[side] = median(each(seen[side], func(s sample) time.Duration { return s.p50 }))
		res.p99[side] = median(each(seen[side], func(s sample) time.Duration { return s.p99 }))
	}
	return res, nil
}

// startSide runs this program again as a server, which prints its address and
// ends when its standard input does.
func startSide(name, profile string) (addr string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	args := []string{"-serve", name}
	if profile != "" {
		args = append(args, "-cpuprofile", profile)
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "webbench: server %s: %v\n", name, err)
		}
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start %s: %w", name, err)
	}
	return strings.TrimSpace(line), stop, nil
}

// serveSide is the child process.
func serveSide(name, profile string) error {
	pairName, side, _ := strings.Cut(name, "/")
	for _, p := range pairs {
		if p.name != pairName {
			continue
		}
		start := p.flow
		if side == "chi" {
			start = p.chi
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		stop, err := start(l)
		if err != nil {
			return err
		}
		done, err := startProfile(profile, pairName+"."+side)
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		io.Copy(io.Discard, os.Stdin) // until the parent is done
		return errors.Join(stop(), done())
	}
	return fmt.Errorf("no pair %s", pairName)
}
