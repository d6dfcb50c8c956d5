package producer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// script runs a command of the script that has started the brokers, as "kill-node", "2".
func script(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(os.Getenv("FLOW_KAFKA_SCRIPT"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// three returns the brokers of a real cluster of three nodes that can be killed,
// or skips the test.
func three(t testing.TB) []string {
	t.Helper()
	addrs := real(t)
	if os.Getenv("FLOW_KAFKA_NODES") != "3" || os.Getenv("FLOW_KAFKA_SCRIPT") == "" {
		t.Skip("needs three nodes: FLOW_KAFKA_NODES=3, and FLOW_KAFKA_SCRIPT to kill them with")
	}
	return addrs
}

func TestRealRoundTrip(t *testing.T) {
	addrs := real(t)
	topic := createTopic(t, addrs, 6)
	p := open(t, client(t, addrs), Config{Topic: topic})
	want := writeMany(t, p, 8, 200, 50)
	checkNumbered(t, readAll(t, addrs, topic), want)
}

// TestRealBrokersKilled writes while brokers are killed, frozen and started
// again, one after the other: nothing is lost, reordered or there twice.
func TestRealBrokersKilled(t *testing.T) {
	addrs := three(t)
	topic := createTopic(t, addrs, 6)
	p := open(t, client(t, addrs), Config{Topic: topic})
	want, took := writeUntil(t, p, func() {
		for n := 1; n <= 3; n++ {
			script(t, "kill-node", fmt.Sprint(n))
			wait(3 * time.Second)
			script(t, "start-node", fmt.Sprint(n))
			wait(3 * time.Second)
		}
		script(t, "stop-node", "2")
		wait(time.Second)
		script(t, "start-node", "2")
		wait(3 * time.Second)
	})
	total := 0
	for _, n := range want {
		total += n
	}
	t.Logf("%d records, the slowest batch took %s, epochs raised %d times", total, took, epochs(p))
	checkNumbered(t, readAll(t, addrs, topic), want)
	if e := epochs(p); e != 0 {
		t.Errorf("epochs were raised %d times: no sequence is lost where replicas are in sync", e)
	}
}

// frozen is longer than a broker may be away before its partitions get other leaders.
const frozen = 15 * time.Second

// A broker that hangs with its connections open.
func TestRealBrokerFrozen(t *testing.T) {
	addrs := three(t)
	topic := createTopic(t, addrs, 6)
	p := open(t, client(t, addrs), Config{Topic: topic})
	want, took := writeUntil(t, p, func() {
		script(t, "pause-node", "1")
		wait(frozen)
		script(t, "resume-node", "1")
		wait(4 * time.Second)
	})
	t.Logf("the slowest batch took %s", took)
	if took >= frozen {
		t.Errorf("the slowest batch took %s, as long as the broker was frozen: the others have other leaders by then", took)
	}
	checkNumbered(t, readAll(t, addrs, topic), want)
}

// wait lets brokers run: what they do in this time can't be asked for.
func wait(d time.Duration) { <-time.After(d) }

// writeUntil lets four callers write until chaos has returned.
func writeUntil(t *testing.T, p *Producer, chaos func()) (want map[string]int, slowest time.Duration) {
	t.Helper()
	var stop atomic.Bool
	var longest atomic.Int64
	var mu sync.Mutex
	want = map[string]int{}
	var g group
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			n := map[string]int{}
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for !stop.Load() {
				<-tick.C
				var batch []primitives.Record
				for k := range 5 {
					key := fmt.Sprintf("c%d-%d", c, k)
					batch = append(batch, record(key, n[key]))
					n[key]++
				}
				start := time.Now()
				g.wg.Add(1)
				p.Write(context.Background(), batch, func(err error) {
					defer g.wg.Done()
					took := int64(time.Since(start))
					for was := longest.Load(); took > was && !longest.CompareAndSwap(was, took); was = longest.Load() {
					}
					if err != nil {
						g.mu.Lock()
						g.errs = append(g.errs, err)
						g.mu.Unlock()
					}
				})
			}
			mu.Lock()
			defer mu.Unlock()
			for key, count := range n {
				want[key] = count
			}
		})
	}
	chaos()
	stop.Store(true)
	wg.Wait()
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	return want, time.Duration(longest.Load())
}

// TestRealTransactionsWhileBrokersAreKilled commits transactions of several ids
// while brokers are killed: what was committed is seen once and in order, and
// nothing of those that were not.
func TestRealTransactionsWhileBrokersAreKilled(t *testing.T) {
	addrs := three(t)
	topic := createTopic(t, addrs, 4)
	p := open(t, client(t, addrs), Config{Topic: topic})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var stop atomic.Bool
	var mu sync.Mutex
	want := map[string]int{}
	var voids atomic.Int32
	var wg sync.WaitGroup
	for i := range 4 {
		key := fmt.Sprintf("t%d", i)
		x := claim(t, p, key+"-"+topic)
		wg.Go(func() {
			n := 0
			for !stop.Load() {
				tx, err := x.Begin(ctx)
				if err != nil {
					t.Errorf("%s: begin: %v", key, err)
					return
				}
				done := make(chan error, 1)
				tx.Write(ctx, p, numbered(key, n, n+7), func(err error) { done <- err })
				err = errors.Join(<-done)
				if err == nil && n%3 == 2 {
					if err := tx.Abort(ctx); err != nil {
						t.Logf("%s: abort: %v", key, err)
					}
					if voids.Add(1)%2 == 0 {
						continue
					}
					tx, err = x.Begin(ctx)
					if err != nil {
						t.Errorf("%s: begin: %v", key, err)
						return
					}
					tx.Write(ctx, p, numbered(key, n, n+7), func(err error) { done <- err })
					err = <-done
				}
				if cerr := tx.Commit(ctx, nil, nil); cerr != nil {
					if errors.Is(cerr, primitives.ErrInDoubt) || errors.Is(cerr, primitives.ErrLost) {
						t.Errorf("%s: commit: %v", key, cerr)
						return
					}
					t.Logf("%s: void: %v", key, cerr)
					voids.Add(1)
					continue
				} else if err != nil {
					t.Errorf("%s: committed with a failed write: %v", key, err)
				}
				n += 7
			}
			mu.Lock()
			want[key] = n
			mu.Unlock()
		})
	}
	for n := 1; n <= 3; n++ {
		script(t, "kill-node", fmt.Sprint(n))
		wait(3 * time.Second)
		script(t, "start-node", fmt.Sprint(n))
		wait(3 * time.Second)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("committed %v, void %d", want, voids.Load())
	checkNumbered(t, readCommitted(t, addrs, topic), want)
}
