package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goccy/go-json"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// collect measures HTTP servers that answer when the record is acknowledged.
func (b *bench) collect(ctx context.Context) error {
	return b.turns(ctx, programs.Collect, "collect", func(ctx context.Context, p programs.Program) (figures, error) {
		w := programs.Work{Out: b.name("out")}
		if err := b.c.Create(ctx, w.Out, b.parts); err != nil {
			return nil, err
		}
		c, err := b.start(programs.Collect, p.Name, w)
		if err != nil {
			return nil, err
		}
		defer c.kill()
		addr, err := c.out.ReadString('\n')
		if err != nil {
			return nil, errors.Join(err, c.failed())
		}
		l := load{addr: strings.TrimSpace(addr), conns: b.conns}
		if _, err := l.run(ctx, 500*time.Millisecond); err != nil { // warming up
			return nil, err
		}
		warm := l.sent.Load()
		times, err := l.run(ctx, b.length)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, c.errs)
		}
		used, err := c.stop()
		if err != nil {
			return nil, err
		}
		// every request that was answered with success is in the topic, once
		seen, err := b.verify(ctx, w.Out, int(l.sent.Load()))
		if err != nil {
			return nil, err
		}
		if seen.repeated > 0 {
			return nil, fmt.Errorf("%d records are in the topic twice", seen.repeated)
		}
		slices.Sort(times)
		at := func(part float64) float64 {
			return float64(times[int(float64(len(times)-1)*part)]) / float64(time.Millisecond)
		}
		f := figures{
			"rate": float64(l.sent.Load()-warm) / b.length.Seconds(), "p50_ms": at(0.5), "p99_ms": at(0.99),
			"cpu_us_per_request": float64(used.cpu.Microseconds()) / float64(l.sent.Load()),
		}
		return f, b.c.Remove(ctx, w.Out)
	})
}

// load is a closed loop: each connection sends its next request when it has the answer
// to the last one.
type load struct {
	addr  string
	conns int
	sent  atomic.Int64 // requests answered with success, which are numbered from 0
}

func (l *load) run(ctx context.Context, length time.Duration) ([]time.Duration, error) {
	var wg sync.WaitGroup
	times, errs := make([][]time.Duration, l.conns), make([]error, l.conns)
	end := time.Now().Add(length)
	for i := range l.conns {
		wg.Go(func() { times[i], errs[i] = l.drive(ctx, i, end) })
	}
	wg.Wait()
	all := slices.Concat(times...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("no request was answered")
	}
	return all, nil
}

// drive is one connection, which has customers of its own, so that their records have an
// order. It knows as much of HTTP as the servers need: answers have a Content-Length and come whole.
func (l *load) drive(ctx context.Context, id int, end time.Time) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var request []byte
	answer := make([]byte, 4096)
	for ctx.Err() == nil && time.Now().Before(end) {
		seq := l.sent.Add(1) - 1
		o := programs.NewOrder(seq, customers)
		o.Customer = "c-" + strconv.Itoa(id)
		body, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		request = fmt.Appendf(request[:0], "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := readAnswer(conn, answer); err != nil {
			return nil, err
		}
		times = append(times, time.Since(sent))
	}
	return times, nil
}

func readAnswer(conn net.Conn, buf []byte) error {
	for n := 0; ; {
		got, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += got
		head := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answer: %s", buf[:n])
		}
		_, rest, ok := bytes.Cut(buf[:head+2], []byte("\r\nContent-Length: "))
		if !ok {
			return fmt.Errorf("answer without Content-Length: %s", buf[:n])
		}
		digits, _, _ := bytes.Cut(rest, []byte("\r"))
		length, err := strconv.Atoi(string(digits))
		if err != nil {
			return err
		}
		switch want := head + 4 + length; {
		case n == want:
			return nil
		case n > want || want > len(buf):
			return fmt.Errorf("answer of %d bytes, want %d", n, want)
		}
	}
}
