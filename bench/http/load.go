package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is a closed loop: each connection sends its next request when it has the
// answer to the last one.
type load struct {
	conns  int
	length time.Duration
}

// A sample is what one round gave.
type sample struct {
	requests int
	rate     float64 // requests per second
	p50, p99 time.Duration
	cpu      time.Duration // of the server, per request
}

// run sends request over and over. Anything but a 200 is an error.
func (l load) run(addr, request string) (sample, error) {
	var wg sync.WaitGroup
	latencies := make([][]time.Duration, l.conns)
	errs := make([]error, l.conns)
	start := time.Now()
	end := start.Add(l.length)
	for i := range l.conns {
		wg.Go(func() { latencies[i], errs[i] = drive(addr, []byte(request), end) })
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return sample{}, err
	}
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return sample{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	return sample{
		requests: len(all),
		rate:     float64(len(all)) / took.Seconds(),
		p50:      all[len(all)/2],
		p99:      all[len(all)*99/100],
	}, nil
}

// drive is one connection. It knows as much of HTTP as its two servers need:
// answers have a Content-Length and come whole.
func drive(addr string, request []byte, end time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	latencies := make([]time.Duration, 0, 1<<15)
	buf := make([]byte, 16<<10)
	for sent := time.Now(); sent.Before(end); {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := readAnswer(conn, buf); err != nil {
			return nil, err
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(sent))
		sent = now
	}
	return latencies, nil
}

var (
	ok            = []byte("HTTP/1.1 200 ")
	endOfHead     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

func readAnswer(conn net.Conn, buf []byte) error {
	for n := 0; ; {
		got, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += got
		head := bytes.Index(buf[:n], endOfHead)
		if head < 0 {
			continue
		}
		if !bytes.HasPrefix(buf, ok) {
			return fmt.Errorf("answer: %s", buf[:n])
		}
		at := bytes.Index(buf[:head], contentLength)
		if at < 0 {
			return fmt.Errorf("answer without Content-Length: %s", buf[:n])
		}
		digits, _, _ := bytes.Cut(buf[at+len(contentLength):head+2], []byte("\r"))
		length, err := strconv.Atoi(string(digits))
		if err != nil {
			return err
		}
		switch want := head + len(endOfHead) + length; {
		case n == want:
			return nil
		case n > want || want > len(buf):
			return fmt.Errorf("answer of %d bytes, want %d", n, want)
		}
	}
}
