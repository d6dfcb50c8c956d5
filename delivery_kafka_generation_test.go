package flow_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
)

// A commit is on its way in one generation of the group and arrives in the next one. The
// partition is still held by the same member: its transaction is committed all the same,
// and nothing is begun anew.
func TestDelivery_130_kafka_generation_ends(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		f := k.launch(2, k.once(unchanged, flow.CommitEvery(20*time.Millisecond, 0)))

		var held seen[int]
		var first int32 = -1 // generation of the commits that are held; only the broker's goroutine uses it
		var once sync.Once
		over := make(chan struct{}) // when the group is in a later one
		end := func() { once.Do(func() { close(over) }) }
		defer end()
		k.fake.ControlKey(int16(kmsg.SyncGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			if first >= 0 && req.(*kmsg.SyncGroupRequest).Generation > first {
				end()
			}
			return nil, nil, false
		})
		k.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			commit := req.(*kmsg.TxnOffsetCommitRequest)
			if first < 0 {
				first = commit.Generation
			}
			if commit.Generation == first {
				k.fake.SleepControl(func() { held.add(int(first)); <-over })
			}
			return nil, nil, false
		})
		k.fill(0, 0, 5)
		k.fill(1, 0, 5)
		k.until("both commits are on their way", func() bool { return held.len() >= 2 })
		other := k.launch(1, k.once(unchanged, flow.CommitEvery(20*time.Millisecond, 0)))
		k.settled(5, 5)
		k.seen(numbers(0, 5), numbers(1000, 1005))
		for _, f := range []*running{f, other} {
			f.stopped()
			equal(t, "transactions that failed", f.app.Snapshot().Processors[0].Errors.Voided, 0)
		}
	})
}

// Members come and go while many transactions are committed. None of them fails,
// whether its partition stays or moves, and each record is handled once.
func TestDelivery_130_kafka_members_come_and_go(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const partitions, n = 4, 400
		k.create(partitions, "in")
		k.create(1, "out")
		for p := range int32(partitions) {
			k.fill(p, 0, n)
		}
		var handled seen[int]
		slowly := func(_ context.Context, v int) (int, error) {
			handled.add(v)
			<-time.After(2 * time.Millisecond)
			return v, nil
		}
		start := func(lanes int) *running {
			return k.launch(lanes, k.once(slowly, flow.ConcurrentTasks(partitions), flow.CommitEvery(5*time.Millisecond, 0)))
		}
		stays := start(partitions)
		all := func() bool {
			return !slices.ContainsFunc([]int32{0, 1, 2, 3}, func(p int32) bool { return k.committed(p) < n })
		}
		times := 0
		for ; !all(); times++ {
			comes := start(partitions / 2)
			comes.stopped()
			equal(t, "transactions that failed where it came and went", comes.app.Snapshot().Processors[0].Errors.Voided, 0)
			k.until("its partitions are back", func() bool { return len(stays.processor().Lanes) == partitions })
		}
		stays.stopped()
		equal(t, "transactions that failed where it stayed", stays.app.Snapshot().Processors[0].Errors.Voided, 0)
		k.seen(numbers(0, n), numbers(1000, 1000+n), numbers(2000, 2000+n), numbers(3000, 3000+n))
		equal(t, "handled", handled.len(), partitions*n)
		t.Logf("another member came and went %d times", times)
	})
}
