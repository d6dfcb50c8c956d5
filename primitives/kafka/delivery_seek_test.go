package kafka

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// one reads the partition out/0, which has n records.
func one(t *testing.T, n int) (m *member, p primitives.Partition, next func() int64, commitErrors func(int)) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest}
	write(t, topic, in(0, 0, n)...)
	m = join(t, topic, 100)
	m.owns(testContext(t), 1)
	p = primitives.Partition{Topic: "out"}
	next = func() int64 {
		t.Helper()
		return committed(t, c.ListenAddrs(), "g", p)
	}
	commitErrors = func(times int) {
		c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if times--; times >= 0 {
				return nil, errors.New("cut"), true
			}
			return nil, nil, false
		})
	}
	return m, p, next, commitErrors
}

// testSeek: a partition that is paused and sought as it is assigned begins where it is
// sought to; later it goes back, and nothing of the lanes before counts any longer. The partition
// has five records.
func testSeek(t *testing.T, c Cluster, name string) {
	ctx := testContext(t)
	p := primitives.Partition{Topic: name}
	m := newMember(t, Topic[[]byte]{Name: name, Group: "g-" + name, Cluster: c, Start: Earliest}, primitivetest.NewIntake(100))
	within := &seeking{Intake: pausing{m.in, m.reader}, done: make(chan error, 1), seek: func() error {
		err := m.Seek(ctx, primitives.Partition{Topic: name, ID: 1}, 1)
		if !errors.Is(err, primitives.ErrNotAssigned) {
			t.Errorf("seek of what is not held: %v", err)
		}
		return m.Seek(ctx, p, 1)
	}}
	m.startWith(within)
	m.owns(ctx, 1)
	first := m.in.Lanes()[0]
	if err := <-within.done; err != nil {
		t.Fatal(err)
	}
	m.Resume([]primitives.Partition{p})
	ds := m.take(ctx, 4)
	if ds[0].Record.Offset != 1 {
		t.Errorf("begins with %d, want 1", ds[0].Record.Offset)
	}
	if n, _ := m.in.Pushed(); n != 4 {
		t.Errorf("%d records have come, want those from 1 on: 4", n)
	}
	if err := m.commit(ctx, ds); err != nil {
		t.Fatal(err)
	}

	m.Resume([]primitives.Partition{p})
	second := ds[0].Lane
	if err := m.Seek(ctx, p, 2); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, c.Brokers, "g-"+name, p); got != 2 {
		t.Errorf("committed %d, want 2", got)
	}
	m.Resume([]primitives.Partition{p}) // it was paused as it was assigned again
	if ds := m.take(ctx, 3); ds[0].Record.Offset != 2 || ds[0].Lane == second {
		t.Errorf("goes on with %d", ds[0].Record.Offset)
	}
	for _, old := range []*primitivetest.Lane{first, second} {
		if _, lost := old.Released(); !lost {
			t.Error("the old lane is not lost")
		}
		late := []primitives.Commit{{Partition: p, Epoch: old.Epoch(), Next: 5}}
		if err := m.Commit(ctx, late); !errors.Is(err, primitives.ErrNotAssigned) {
			t.Errorf("a late commit of the lane before: %v", err)
		}
	}
}

// seeking is an Intake that has something done as a partition is assigned, whose lane is
// known already. It does not wait for the end.
type seeking struct {
	primitives.Intake
	seek func() error
	once sync.Once
	done chan error
}

func (in *seeking) Assign(p primitives.Partition, start int64) primitives.Lane {
	lane := in.Intake.Assign(p, start)
	in.once.Do(func() {
		over := make(chan struct{})
		go func() {
			defer close(over)
			in.done <- in.seek()
		}()
		select {
		case <-over:
		case <-time.After(100 * time.Millisecond):
		}
	})
	return lane
}

func TestDelivery_085_seek(t *testing.T) {
	c := fake(t)
	write(t, Topic[[]byte]{Name: "out", Cluster: at(c)}, in(0, 0, 5)...)
	testSeek(t, at(c), "out")
}

func TestDelivery_085_seek_real(t *testing.T) {
	c := Cluster{Brokers: realBrokers(t)}
	name := create(t, c.Brokers, 1, nil)
	write(t, Topic[[]byte]{Name: name, Cluster: c}, in(0, 0, 5)...)
	testSeek(t, c, name)
}

func TestDelivery_086_seek_to_nowhere(t *testing.T) {
	m, p, next, commitErrors := one(t, 5)
	ctx := testContext(t)
	ds := m.take(ctx, 5)
	if err := m.commit(ctx, ds[:3]); err != nil {
		t.Fatal(err)
	}
	if err := m.Seek(ctx, p, -1); err == nil {
		t.Error("seek to -1 succeeds")
	}
	if lanes := m.in.Lanes(); len(lanes) != 1 || lanes[0] != ds[0].Lane {
		t.Error("seek to -1 has changed the lane")
	}
	commitErrors(2)
	if err := m.Seek(ctx, p, 1); err == nil {
		t.Error("seek succeeds without a commit")
	}
	if again := m.take(ctx, 2); again[0].Record.Offset != 3 {
		t.Errorf("after a seek that failed it goes on with %d, want what is committed: 3", again[0].Record.Offset)
	}
	// Beyond the end it is accepted, and then out of range.
	if err := m.Seek(ctx, p, 1000); err != nil {
		t.Fatal(err)
	}
	if err := m.end(); err == nil || !strings.Contains(err.Error(), "offset 1000 is out of range") {
		t.Errorf("Run: %v, want out of range", err)
	}
	if got := next(); got != 1000 {
		t.Errorf("committed %d, want 1000", got)
	}
}

func TestDelivery_088_pause_and_seek(t *testing.T) {
	m, p, _, _ := one(t, 5)
	ctx := testContext(t)
	m.take(ctx, 5)
	ps := []primitives.Partition{p}
	for _, test := range []struct {
		name string
		do   func() error
		want int64
	}{
		{"seek, pause, resume", func() error {
			m.Pause(ps) // so that it is not too late for the pause
			err := m.Seek(ctx, p, 3)
			m.Pause(ps)
			m.Resume(ps)
			return err
		}, 3},
		{"pause, seek, resume", func() error {
			m.Pause(ps)
			err := m.Seek(ctx, p, 0)
			before, _ := m.in.Pushed()
			m.in.Lanes()
			if now, _ := m.in.Pushed(); now != before {
				t.Error("a paused partition is read after a seek")
			}
			m.Resume(ps)
			return err
		}, 0},
	} {
		if err := test.do(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		ds := m.take(ctx, int(5-test.want))
		if ds[0].Record.Offset != test.want {
			t.Errorf("%s: goes on with %d, want %d", test.name, ds[0].Record.Offset, test.want)
		}
	}
}

// While it is paused, a partition gets nothing after a seek either.
func TestSeekKeepsThePause(t *testing.T) {
	m, p, _, _ := one(t, 5)
	ctx := testContext(t)
	m.take(ctx, 5)
	m.Pause([]primitives.Partition{p})
	if err := m.Seek(ctx, p, 2); err != nil {
		t.Fatal(err)
	}
	var lane *primitivetest.Lane
	if err := m.in.Wait(ctx, func() bool {
		lanes := m.in.Lanes()
		if len(lanes) == 1 {
			lane = lanes[0]
		}
		return lane != nil && lane.Start == 2
	}); err != nil {
		t.Fatal(err)
	}
	m.Resume([]primitives.Partition{p})
	if ds := m.take(ctx, 3); ds[0].Record.Offset != 2 {
		t.Errorf("goes on with %d", ds[0].Record.Offset)
	}
}
