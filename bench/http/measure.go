package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	flowSide = iota
	chiSide
)

var sides = [2]string{"flow", "chi"}

// measure runs the rounds of a pair. Rounds with the same number are neighbours.
func measure(p pair, l load, rounds int, profile string) (seen [2][]sample, err error) {
	var servers [2]*server
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	for side := range sides {
		if servers[side], err = startServer(p.name+"/"+sides[side], profile); err != nil {
			return seen, err
		}
	}
	for side, s := range servers { // to warm up
		if _, err := s.round(l, p.request); err != nil {
			return seen, fmt.Errorf("%s: %w", sides[side], err)
		}
	}
	for round := range rounds {
		for _, side := range [2]int{round % 2, 1 - round%2} { // A B, B A, A B ...
			s, err := servers[side].round(l, p.request)
			if err != nil {
				return seen, fmt.Errorf("%s: %w", sides[side], err)
			}
			seen[side] = append(seen[side], s)
		}
	}
	return seen, nil
}

// A server is a child process.
type server struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startServer runs this program again as one side of a pair. The child prints
// its address, then answers each line of its standard input with the CPU time
// that it has used so far, and ends when its input does.
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
	s := &server{cmd: cmd, in: in, out: bufio.NewReader(out)}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, s.stop()))
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

// round drives the server once, from the same state: right after a garbage collection.
func (s *server) round(l load, request string) (sample, error) {
	before, err := s.used("collect")
	if err != nil {
		return sample{}, err
	}
	res, err := l.run(s.addr, request)
	if err != nil {
		return res, err
	}
	after, err := s.used("")
	res.cpu = (after - before) / time.Duration(res.requests)
	return res, err
}

// used asks the child for its CPU time.
func (s *server) used(command string) (time.Duration, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return 0, err
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(ns), err
}

func (s *server) stop() error { return errors.Join(s.in.Close(), s.cmd.Wait()) }

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
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); { // until the parent is done
			if lines.Text() == "collect" {
				runtime.GC()
			}
			fmt.Println(cpuTime().Nanoseconds())
		}
		return errors.Join(stop(), done())
	}
	return fmt.Errorf("no pair %s", pairName)
}
