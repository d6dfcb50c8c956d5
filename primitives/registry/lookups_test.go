package registry

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

func TestLookupsAskOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lookups[int, string]
		asked := 0
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				v, err := l.get(7, func() (string, error) {
					asked++ // by one caller only, or the race detector says so
					time.Sleep(time.Second)
					return "seven", nil
				})
				if v != "seven" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
			})
		}
		all.Wait()
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
	})
}

func TestLookupsRememberFailuresForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		after time.Duration
	}{
		"away":   {primitives.RetryAfter(pause, errors.New("away")), pause},
		"absent": {errors.New("not found"), absent + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l lookups[string, int]
				asked := 0
				ask := func() (int, error) {
					if asked++; asked == 1 {
						return 0, c.err
					}
					return 5, nil
				}
				for range 10 {
					if _, err := l.get("k", ask); !errors.Is(err, c.err) {
						t.Fatalf("got %v, want %v", err, c.err)
					}
				}
				if asked != 1 {
					t.Errorf("asked %d times at once, want once", asked)
				}
				time.Sleep(c.after)
				for range 10 {
					if v, err := l.get("k", ask); v != 5 || err != nil {
						t.Fatalf("after %v: %d, %v", c.after, v, err)
					}
				}
				if asked != 2 {
					t.Errorf("asked %d times, want twice", asked)
				}
			})
		})
	}
}

func TestLookupsSurviveAPanic(t *testing.T) {
	var l lookups[int, int]
	func() {
		defer func() { _ = recover() }()
		_, _ = l.get(1, func() (int, error) { panic("x") })
	}()
	if v, err := l.get(1, func() (int, error) { return 2, nil }); v != 2 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

func TestLookupsForgetManyFailures(t *testing.T) {
	var l lookups[int, int]
	for i := range 3 * maxAsking {
		if _, err := l.get(i, func() (int, error) { return 0, errors.New("garbage") }); err == nil {
			t.Fatal("no error")
		}
	}
	if len(l.asking) > maxAsking {
		t.Errorf("%d failures are remembered, want at most %d", len(l.asking), maxAsking)
	}
}
