package programs

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzLanes has as many goroutines as tasks; a key always goes to the same one.
func franzLanes(ctx context.Context, w Work) error {
	seed := maphash.MakeSeed()
	return franzKeyed(ctx, w, func(run func(*kgo.Record)) (func(*kgo.Record), func()) {
		var workers sync.WaitGroup
		lanes := make([]chan *kgo.Record, w.Tasks)
		for i := range lanes {
			lanes[i] = make(chan *kgo.Record, 64)
			workers.Go(func() {
				for r := range lanes[i] {
					run(r)
				}
			})
		}
		hand := func(r *kgo.Record) { lanes[maphash.Bytes(seed, r.Key)%uint64(len(lanes))] <- r }
		return hand, func() {
			for _, lane := range lanes {
				close(lane)
			}
			workers.Wait()
		}
	})
}

// franzKeys lets any key start that is not being handled: as many goroutines as
// tasks take keys from a queue, and one key is in it once at most.
func franzKeys(ctx context.Context, w Work) error {
	return franzKeyed(ctx, w, func(run func(*kgo.Record)) (func(*kgo.Record), func()) {
		type key struct{ waiting []*kgo.Record }
		var (
			mu      sync.Mutex
			keys    = map[string]*key{}
			ready   = make(chan *key, 1<<17)
			room    = make(chan struct{}, 50_000) // records that wait at most
			workers sync.WaitGroup
		)
		for range w.Tasks {
			workers.Go(func() {
				for k := range ready {
					mu.Lock()
					r := k.waiting[0]
					mu.Unlock()
					run(r)
					mu.Lock()
					if k.waiting = k.waiting[1:]; len(k.waiting) > 0 {
						ready <- k // has room: it holds as many as may wait
					} else {
						delete(keys, string(r.Key))
					}
					mu.Unlock()
					<-room
				}
			})
		}
		hand := func(r *kgo.Record) {
			room <- struct{}{}
			mu.Lock()
			defer mu.Unlock()
			k := keys[string(r.Key)]
			if k == nil {
				k = &key{}
				keys[string(r.Key)] = k
			}
			if k.waiting = append(k.waiting, r); len(k.waiting) == 1 {
				ready <- k
			}
		}
		return hand, func() {
			for range cap(room) { // until nothing waits
				room <- struct{}{}
			}
			close(ready)
			workers.Wait()
		}
	})
}

// franzKeyed copies records that start hands to goroutines. Records end in any order,
// so each is an open burst of its own.
func franzKeyed(ctx context.Context, w Work, start func(run func(*kgo.Record)) (hand func(*kgo.Record), end func())) error {
	cl, err := franzClient(w, marking()...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	open := franzOpen{client: cl}
	var bursts sync.Map // of *kgo.Record to *franzBurst
	hand, end := start(func(r *kgo.Record) {
		b, _ := bursts.LoadAndDelete(r)
		_, value, err := goccy.apply(r.Value, w.Wait)
		if err != nil {
			cancel(err)
			return
		}
		cl.Produce(context.Background(), &kgo.Record{Key: r.Key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(err)
				return
			}
			open.acked(b.(*franzBurst))
		})
	})
	for ctx.Err() == nil {
		fetches := cl.PollRecords(ctx, 10_000)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				cancel(e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			bursts.Store(r, open.begin(r, 1))
			hand(r)
		})
		cl.AllowRebalance()
	}
	end()
	return franzClose(ctx, cl)
}
