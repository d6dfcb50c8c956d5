package runtime

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/flowkit-go/flow/primitives"
)

// The wake-up for new work may reach a task that has just been retired: it is
// passed on.
func TestRetiredTaskPassesOnItsWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		q := newWorkQueue()
		var first, second atomic.Bool
		got := make(chan *lane, 2)
		wait := func(retired *atomic.Bool) {
			go func() { l, _ := q.next(retired); got <- l }()
			synctest.Wait()
		}
		wait(&first)
		wait(&second)
		first.Store(true)
		l := newLane(c, primitives.Partition{Topic: "in"}, 0)
		q.add(l)
		synctest.Wait()
		if len(got) != 2 {
			t.Error("the second task sleeps though there is work")
			q.wake()
		}
		if a, b := <-got, <-got; a != nil || b != l {
			t.Errorf("the tasks got %v and %v, want nothing and the lane", a, b)
		}
	})
}
