package flow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Turns of many records, some of which take long, writes that are refused in part, dead
// letters, partitions that are revoked, lost and sought: each output is seen once, and in
// order.
func TestExactlyOnceLongTurns(t *testing.T) {
	for seed := range uint64(40) {
		inBubble(t, func(t *testing.T, r *rig) { longTurns(t, r, seed) })
		if t.Failed() {
			t.Logf("seed %d", seed)
			return
		}
	}
}

func longTurns(t *testing.T, r *rig, seed uint64) {
	const partitions, n = 2, 3000
	rnd := rand.New(rand.NewPCG(seed, 3))
	for p := range int32(partitions) {
		r.fill(p, int(p)*10000, int(p)*10000+n)
	}
	calm := false
	r.broker.Control(func(op memory.Op) error {
		if calm {
			return nil
		}
		switch op.Kind {
		case memory.OpCommit, memory.OpClaim:
			time.Sleep(rand.N(30 * time.Millisecond))
			if rand.IntN(15) == 0 {
				return fmt.Errorf("%v fails", op.Kind)
			}
		case memory.OpWrite:
			time.Sleep(rand.N(30 * time.Millisecond))
			switch rand.IntN(60) {
			case 0:
				return errors.New("not now")
			case 1:
				return &primitives.BatchError{Failed: []primitives.RecordError{{Index: rand.IntN(len(op.Records)), Err: errors.New("not this one now")}}}
			}
		}
		return nil
	})
	handle := func(_ context.Context, v int) (int, error) {
		switch {
		case v%97 == 7:
			return 0, flow.Permanent(errors.New("poison"))
		case rand.IntN(150) == 0:
			time.Sleep(rand.N(60 * time.Millisecond))
		}
		return v, nil
	}
	for round := 0; !calm; round++ {
		calm = round == 4
		f := r.start(flow.NewConsumer("p", r.in(partitions), r.out(), handle, flow.ExactlyOnce(), flow.ConcurrentTasks(1+rnd.IntN(2)),
			flow.DeadLetter(r.dead()), flow.CommitEvery(time.Duration(5+rnd.IntN(100))*time.Millisecond, rnd.IntN(200))))
		<-f.ready
		for range 1 + rnd.IntN(5) {
			time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
			p := int32(rnd.IntN(partitions))
			switch mood := rnd.IntN(3); {
			case calm:
			case mood == 0:
				r.broker.Lose("g", "in", p)
				time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
				r.broker.Assign("g", "in", p)
			case mood == 1:
				r.broker.Revoke("g", "in", p)
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
				r.broker.Assign("g", "in", p)
			}
		}
		if calm {
			time.Sleep(5 * time.Minute)
			f.stopped()
			break
		}
		if rnd.IntN(2) == 0 {
			f.hard()
		}
		f.cancel()
		_ = f.wait()
		synctest.Wait()
	}
	written, dead := ints(r.written()), ints(texts(r.broker.Records("dead", 0)))
	equal(t, "seen", len(written)+len(dead), partitions*n)
	equal(t, "seen, each once", len(unique(append(append([]int(nil), written...), dead...))), partitions*n)
	for _, all := range [][]int{written, dead} {
		last := map[int]int{}
		for _, v := range all {
			if was, ok := last[v/10000]; ok && was > v {
				t.Fatalf("%d is seen after %d", v, was)
			}
			last[v/10000] = v
		}
	}
}
