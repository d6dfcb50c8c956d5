package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateHoldsUntilOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var passed sync.WaitGroup
		for range 3 {
			passed.Go(func() {
				addr, leave, err := g.enter(t.Context())
				if addr != "new" || err != nil {
					t.Errorf("enter = %q, %v", addr, err)
					return
				}
				leave()
			})
		}
		synctest.Wait()
		if g.held != 3 {
			t.Errorf("%d are held, want 3", g.held)
		}
		g.open("new")
		passed.Wait()
		if g.held != 0 || g.inFlight != 0 {
			t.Errorf("held %d, in flight %d after all have left", g.held, g.inFlight)
		}
	})
}

// settled is closed with the last request that had passed, not by those that wait.
func TestGateSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.open("old")
		_, leave1, _ := g.enter(t.Context())
		_, leave2, _ := g.enter(t.Context())
		g.hold()
		var waits sync.WaitGroup
		waits.Go(func() {
			if addr, leave, err := g.enter(t.Context()); err != nil || addr != "new" {
				t.Errorf("enter = %q, %v", addr, err)
			} else {
				leave()
			}
		})
		settled := g.settled()
		leave1()
		leave1() // a second time is of no effect
		synctest.Wait()
		select {
		case <-settled:
			t.Error("settled while a request is under way")
		default:
		}
		leave2()
		<-settled
		<-g.settled() // and at once when there is nothing
		g.open("new")
		waits.Wait()
	})
}

func TestGateBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var all sync.WaitGroup
		for range holdMost {
			all.Go(func() {
				if _, _, err := g.enter(t.Context()); !errors.Is(err, errHeldTooLong) {
					t.Errorf("held for too long: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, _, err := g.enter(t.Context()); !errors.Is(err, errHeldTooMany) {
			t.Errorf("one too many: %v", err)
		}
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took != holdTime {
			t.Errorf("held for %v, want %v", took, holdTime)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := g.enter(ctx); !errors.Is(err, context.Canceled) || g.held != 0 {
			t.Errorf("a client that is gone: %v, %d held", err, g.held)
		}
	})
}

func TestGateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, over := newGate(), errors.New("over")
		var waits sync.WaitGroup
		waits.Go(func() {
			if _, _, err := g.enter(t.Context()); !errors.Is(err, over) {
				t.Errorf("waiting: %v", err)
			}
		})
		synctest.Wait()
		g.refuse(over)
		waits.Wait()
		if _, _, err := g.enter(t.Context()); !errors.Is(err, over) {
			t.Errorf("arriving: %v", err)
		}
		g.hold()
		g.open("next")
		if addr, _, err := g.enter(t.Context()); addr != "next" || err != nil {
			t.Errorf("after it was opened again: %q, %v", addr, err)
		}
	})
}
