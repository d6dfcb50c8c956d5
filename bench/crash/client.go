package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// payload is the content of a record: letters that only its number and the seed
// determine, so that it need not be kept to be compared.
func payload(dst []byte, seed uint64, seq int64, size int) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random := rand.New(rand.NewPCG(seed, uint64(seq)))
	for size > 0 {
		bits := random.Uint64()
		for range min(size, 10) {
			dst = append(dst, letters[bits&63])
			bits >>= 6
		}
		size -= min(size, 10)
	}
	return dst
}

// A client sends records, many in a request, over several connections. What is
// not answered with success is sent again.
type client struct {
	http *http.Client
	conf config
	door door

	acked      atomic.Int64 // records answered with success
	requests   atomic.Int64 // that were answered with success
	unanswered atomic.Int64 // requests without any answer
	refused    atomic.Int64 // requests answered with 503
	again      atomic.Int64 // records in both of these
}

// connections is the number of requests that are sent at the same time.
const connections = 4

func newClient(conf config) *client {
	return &client{conf: conf, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: connections + 1},
		Timeout:   30 * time.Second,
	}}
}

// send sends the records from first to, not including, end, and returns when all
// are acknowledged.
func (c *client) send(ctx context.Context, first, end int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := atomic.Int64{}
	next.Store(first)
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			var body []byte
			for ctx.Err() == nil {
				from := next.Add(int64(c.conf.batch)) - int64(c.conf.batch)
				if from >= end {
					return
				}
				to := min(from+int64(c.conf.batch), end)
				body = c.body(body[:0], from, to)
				if err := c.insist(ctx, body, to-from); err != nil {
					cancel(err)
				}
			}
		})
	}
	senders.Wait()
	return context.Cause(ctx)
}

// body is the JSON of some records.
func (c *client) body(dst []byte, from, to int64) []byte {
	dst = append(dst, '[')
	for seq := from; seq < to; seq++ {
		if seq > from {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"seq":`...), seq, 10)
		dst = append(payload(append(dst, `,"payload":"`...), c.conf.seed, seq, c.conf.size), `"}`...)
	}
	return append(dst, ']')
}

// retryPause is how long a sender waits before it sends a request again.
const retryPause = 5 * time.Millisecond

// insist sends a request until it is answered with success.
func (c *client) insist(ctx context.Context, body []byte, n int64) error {
	for {
		addr, err := c.door.wait(ctx)
		if err != nil {
			return err
		}
		status, err := c.post(ctx, addr, body)
		switch {
		case err == nil && status == http.StatusOK:
			c.requests.Add(1)
			c.acked.Add(n)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			c.unanswered.Add(1)
		case status == http.StatusServiceUnavailable:
			c.refused.Add(1)
		default:
			return fmt.Errorf("POST /records is answered with %d", status)
		}
		c.again.Add(n)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

func (c *client) post(ctx context.Context, addr string, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/records", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body) // an answer that is cut off is none
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// A door is the address of the service while there is one.
type door struct {
	mu   sync.Mutex
	addr string
	open chan struct{} // closed when the address is known; nil when nobody waits
}

// set tells the address; empty while there is none.
func (d *door) set(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr = addr
	if addr != "" && d.open != nil {
		close(d.open)
		d.open = nil
	}
}

// wait returns the address, once there is one.
func (d *door) wait(ctx context.Context) (string, error) {
	for {
		d.mu.Lock()
		addr := d.addr
		if addr == "" && d.open == nil {
			d.open = make(chan struct{})
		}
		open := d.open
		d.mu.Unlock()
		if addr != "" {
			return addr, nil
		}
		select {
		case <-open:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
