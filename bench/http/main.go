// Command http measures endpoints and collectors of a flow against the same
// handlers written by hand on chi: requests per second and latency, side by side.
// Both servers have the same timeouts, unless -bare is given: then the one by
// hand has none.
//
//	go run ./bench/http
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
	"os"
	"os/exec"
	"strings"
	"time"
)

// bare is the flag of that name.
var bare bool

func main() {
	serve := flag.String("serve", "", "serve one side of a pair, as post/flow (used by the program itself)")
	only := flag.String("pair", "", "name of the only pair to measure; empty means all")
	conns := flag.Int("conns", 16, "connections")
	rounds := flag.Int("rounds", 6, "rounds per side")
	length := flag.Duration("round", time.Second, "how long a round is")
	check := flag.Bool("check", false, "exit with 1 when flow has less than 0.95 of chi's requests per second")
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
	var errs []error
	fmt.Printf("%d connections, %d rounds of %s per side\n", l.conns, rounds, l.length)
	fmt.Printf("%-8s %12s %12s %8s %19s %19s %19s\n", "pair", "flow req/s", "chi req/s", "ratio",
		"p50 flow / chi", "p99 flow / chi", "CPU/req flow / chi")
	for _, p := range pairs {
		if only != "" && only != p.name {
			continue
		}
		res, err := measure(p, l, rounds, profile)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%-8s %12.0f %12.0f %8.3f %9s/%9s %9s/%9s %9s/%9s\n", p.name, res.rate[flowSide], res.rate[chiSide], res.ratio,
			micros(res.p50[flowSide]), micros(res.p50[chiSide]), micros(res.p99[flowSide]), micros(res.p99[chiSide]),
			res.cpu[flowSide].Round(10*time.Nanosecond), res.cpu[chiSide].Round(10*time.Nanosecond))
		if check && res.ratio < 0.95 {
			errs = append(errs, fmt.Errorf("%s: ratio %.3f is below 0.95", p.name, res.ratio))
		}
	}
	return errors.Join(errs...)
}

func micros(d time.Duration) string { return d.Round(time.Microsecond).String() }

const (
	flowSide = iota
	chiSide
)

var sides = [2]string{"flow", "chi"}

// result holds medians over the rounds.
type result struct {
	rate     [2]float64
	p50, p99 [2]time.Duration
	cpu      [2]time.Duration // of the server per request, over all rounds
	ratio    float64
}

func measure(p pair, l load, rounds int, profile string) (res result, err error) {
	var servers [2]*server
	defer func() {
		for _, s := range servers {
			if s != nil {
				_, stopped := s.stop()
				err = errors.Join(err, stopped)
			}
		}
	}()
	warmup := l
	warmup.length = 300 * time.Millisecond
	var seen [2][]sample
	var requests [2]int
	for side := range sides {
		if servers[side], err = startServer(p.name+"/"+sides[side], profile); err != nil {
			return res, err
		}
		s, err := warmup.run(servers[side].addr, p.request)
		if err != nil {
			return res, fmt.Errorf("%s: %w", sides[side], err)
		}
		requests[side] += s.requests
	}
	for round := range rounds {
		for _, side := range [2]int{round % 2, 1 - round%2} { // A B, B A, A B ...
			s, err := l.run(servers[side].addr, p.request)
			if err != nil {
				return res, fmt.Errorf("%s: %w", sides[side], err)
			}
			seen[side] = append(seen[side], s)
			requests[side] += s.requests
		}
	}
	var ratios []float64
	for round := range rounds {
		ratios = append(ratios, seen[flowSide][round].rate/seen[chiSide][round].rate)
	}
	res.ratio = median(ratios)
	for side := range sides {
		res.rate[side] = median(each(seen[side], func(s sample) float64 { return s.rate }))
		res.p50[side] = median(each(seen[side], func(s sample) time.Duration { return s.p50 }))
		res.p99[side] = median(each(seen[side], func(s sample) time.Duration { return s.p99 }))
		cpu, err := servers[side].stop()
		servers[side] = nil
		if err != nil {
			return res, err
		}
		res.cpu[side] = cpu / time.Duration(requests[side])
	}
	return res, nil
}

// A server is a child process.
type server struct {
	addr string
	cmd  *exec.Cmd
	in   io.Closer
}

// startServer runs this program again as one side of a pair. The child prints
// its address, and ends when its standard input does.
func startServer(name, profile string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-serve", name}
	if bare {
		args = append(args, "-bare")
	}
	if profile != "" {
		args = append(args, "-cpuprofile", profile)
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_, stopped := s.stop()
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, stopped))
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

// stop ends the child and returns the CPU time that it took.
func (s *server) stop() (time.Duration, error) {
	err := errors.Join(s.in.Close(), s.cmd.Wait())
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(), err
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
		addr, stop, err := start()
		if err != nil {
			return err
		}
		done, err := startProfile(profile, pairName+"."+side)
		if err != nil {
			return err
		}
		fmt.Println(addr)
		io.Copy(io.Discard, os.Stdin) // until the parent is done
		return errors.Join(stop(), done())
	}
	return fmt.Errorf("no pair %s", pairName)
}
