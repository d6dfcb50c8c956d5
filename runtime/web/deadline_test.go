package web

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineContext(t *testing.T) {
	type key struct{}
	parent := func(t *testing.T) (context.Context, context.CancelCauseFunc) {
		return context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	}
	cause := errors.New("cause")
	tests := map[string]func(t *testing.T, c *deadlineContext, cancel context.CancelCauseFunc){
		"ends at the deadline": func(t *testing.T, c *deadlineContext, _ context.CancelCauseFunc) {
			start := time.Now()
			<-c.Done()
			if took := time.Since(start); took != time.Minute || c.Err() != context.DeadlineExceeded {
				t.Errorf("%v after %s", c.Err(), took)
			}
		},
		"Err alone": func(t *testing.T, c *deadlineContext, cancel context.CancelCauseFunc) {
			if err := c.Err(); err != nil {
				t.Errorf("at first: %v", err)
			}
			<-time.After(time.Minute)
			first := c.Err()
			cancel(cause)
			if first != context.DeadlineExceeded || c.Err() != first || context.Cause(c) != first {
				t.Errorf("%v, then %v with cause %v", first, c.Err(), context.Cause(c))
			}
		},
		"ends with the request": func(t *testing.T, c *deadlineContext, cancel context.CancelCauseFunc) {
			cancel(cause)
			if c.Err() != context.Canceled || context.Cause(c) != cause {
				t.Errorf("%v with cause %v", c.Err(), context.Cause(c))
			}
		},
		"children": func(t *testing.T, c *deadlineContext, cancel context.CancelCauseFunc) {
			child, stop := context.WithCancel(c)
			defer stop()
			called := make(chan struct{})
			context.AfterFunc(child, func() { close(called) })
			cancel(cause)
			<-child.Done()
			<-called
			if context.Cause(child) != cause || child.Value(key{}) != "value" {
				t.Errorf("cause %v, value %v", context.Cause(child), child.Value(key{}))
			}
		},
		"stopped before somebody waits": func(t *testing.T, c *deadlineContext, _ context.CancelCauseFunc) {
			c.stop()
			<-c.Done()
		},
		"an earlier deadline counts": func(t *testing.T, c *deadlineContext, _ context.CancelCauseFunc) {
			later := withDeadline(c, time.Now().Add(time.Hour))
			defer later.stop()
			if d, _ := later.Deadline(); !d.Equal(c.deadline) {
				t.Errorf("deadline %s, want %s", d, c.deadline)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := parent(t)
				defer cancel(nil)
				c := withDeadline(ctx, time.Now().Add(time.Minute))
				defer c.stop()
				test(t, c, cancel)
			})
		})
	}
}

func TestRouteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, _ struct{}) (string, error) {
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(time.Hour):
				return "done", nil
			}
		}
		short, none := must(Endpoint("GET /short", wait)), must(Endpoint("GET /none", wait))
		short.Timeout, none.Timeout = time.Second, -1
		s, _ := newTestServer(t, Config{}, short, none, must(Endpoint("GET /default", wait)))
		for path, want := range map[string]struct {
			status int
			took   time.Duration
		}{"/short": {504, time.Second}, "/default": {504, DefaultTimeout}, "/none": {200, time.Hour}} {
			start := time.Now()
			if w := send(s, "GET", path, ""); w.Code != want.status || time.Since(start) != want.took {
				t.Errorf("%s: %d after %s: %s", path, w.Code, time.Since(start), w.Body)
			}
		}
	})
}
